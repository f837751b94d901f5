"""The overview's rules: highest score and range of every channel, in a fixed number of slots
however long the time is and in whatever order it comes."""

import numpy as np
import pytest

from anomalyd.runtime.overview import SLOTS, Overview

START_S = 1_748_772_000.0


def seen(times: list[float], values: list[float], batch: int) -> Overview:
    overview = Overview()
    for at in range(0, len(times), batch):
        part = np.array(times[at : at + batch]), np.array(values[at : at + batch])
        rows = np.zeros(part[0].size, dtype=np.intp)
        overview.name(rows, ["flow"] * rows.size)
        overview.add(rows, *part)
    return overview


@pytest.mark.parametrize("batch", [1, 7, 3000])
def test_the_range_of_every_moment_survives_however_it_comes(batch: int) -> None:
    times = [START_S + step for step in range(3000)]
    values = [float(np.sin(step / 100)) for step in range(3000)]
    values[1234] = 50.0
    middles, low, high = seen(times, values, batch).shape(0)
    assert SLOTS / 2 <= middles.size <= SLOTS
    assert (low.min(), high.max()) == (min(values), 50.0)
    assert abs(middles[high.argmax()] - times[1234]) <= np.diff(middles).max()
    assert (low <= high).all()


def test_earlier_times_may_come_later() -> None:
    """A long file may have one channel after the other."""
    middles, low, _ = seen([START_S + 1000.0, START_S, START_S + 500.0], [1.0, 2.0, 3.0], 1).shape(
        0
    )
    assert low.tolist() == [2.0, 3.0, 1.0]
    assert middles == pytest.approx([START_S, START_S + 500, START_S + 1000], abs=20)


def test_highest_score_ignores_what_was_not_scored() -> None:
    overview = Overview()
    rows = np.array([0, 2, 0, 2])
    overview.name(rows, ["a", "c", "a", "c"])
    overview.count(rows, np.array([0.5, np.nan, 0.7, np.nan]))
    overview.count(rows[:1], np.array([np.nan]))
    assert overview.score[0] == 0.7 and np.isnan(overview.score[2])
    assert overview.readings.tolist()[:3] == [3, 0, 2]
    assert overview.names == {0: "a", 2: "c"}
