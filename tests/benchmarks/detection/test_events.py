"""Whole alarms against whole events: counts by hand."""

import numpy as np
import pytest

from tests.benchmarks.detection.events import Tally, best_at, episodes, runs, tally


def flags(text: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array([letter == "x" for letter in text])


def test_runs_begin_and_end_anywhere() -> None:
    assert [[0, 1], [3, 3], [5, 6]] == runs(flags("xx.x.xx")).tolist()
    assert [] == runs(flags("...")).tolist()


def test_a_gap_of_so_many_quiet_rows_is_bridged_and_a_longer_one_is_not() -> None:
    assert [[0, 3], [7, 7]] == episodes(flags("x..x...x"), gap=2).tolist()


def test_an_alarm_that_touches_an_event_is_no_false_one() -> None:
    label = flags("....xx......xx..")
    alarm = flags("x..xx....x......")
    expected = Tally(events=2, found=1, false_alarms=2, normal_rows=12, normal_in_alarm=3)
    assert expected == tally(label, alarm, gap=0)


def test_rows_bridged_between_alarms_are_in_alarm() -> None:
    found = tally(flags("......xx"), flags("x..x...."), gap=5)
    assert Tally(1, 0, 1, 6, 4) == found


def test_figures_of_pooled_series() -> None:
    pooled = Tally(2, 1, 2, 15_000, 30) + Tally(2, 2, 1, 5_000, 10)
    assert (0.75, 0.5, 1.5, 0.002) == (
        pooled.recall,
        pooled.precision,
        pooled.per_10k,
        pooled.time_in_alarm,
    )


def test_the_best_threshold_keeps_the_rate() -> None:
    label = np.zeros(10_000, dtype=np.bool_)
    label[[100, 200, 300]] = True
    score = np.zeros(10_000)
    score[[100, 200, 300]] = [9.0, 7.0, 2.0]
    score[[5000, 6000, 7000]] = [8.0, 4.0, 3.0]
    assert (2, 1) == (
        best_at([label], [score], 0, 1.1).found,
        best_at([label], [score], 0, 1.1).false_alarms,
    )
    assert 1 == best_at([label], [score], 0, 0.5).found


@pytest.mark.parametrize("quiet", [np.zeros(50), np.full(50, 1.0)])
def test_no_threshold_finds_anything_in_a_flat_score(
    quiet: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    label = np.arange(50) == 10
    assert 0 == best_at([label], [quiet], 0, 1.0).found
