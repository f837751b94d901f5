"""The episodes' rules: readings before, during and after an alert, the extremes of a long one, the
highest score; the highest-scored when there are too many."""

import msgspec
import numpy as np
import pytest

from anomalyd.detection.reading import Floats
from anomalyd.runtime.alerts import Alert, Transition
from anomalyd.runtime.episodes import (
    AFTER,
    BEFORE,
    MOST_EPISODES,
    MOST_READINGS,
    MOST_TRACES,
    Episodes,
)
from tests.runtime.transitions import transition

START_S = 1_748_772_000.0004


def trace(first: int, size: int, value: float = 1.0, score: float = 0.5) -> Floats:
    """Readings, one a second."""
    readings = np.full((size, 6), value)
    readings[:, 0] = START_S + np.arange(first, first + size)
    readings[:, 5] = score
    return readings


def told(what: Transition, at: int, value: float, score: float, name: str = "c0") -> Alert:
    return transition(what, name, value, score, START_S + at)


def add(episodes: Episodes, readings: Floats, *alerts: Alert, row: int = 0) -> None:
    rows = np.full(len(readings), row, dtype=np.intp)
    episodes.add(rows, readings, alerts, {row: f"c{row}"})


def test_readings_before_during_and_after_are_kept() -> None:
    episodes = Episodes()
    add(episodes, trace(0, 500))
    add(episodes, trace(500, 1, 9.0, 2.0), told("raised", 500, 9.0, 2.0))
    add(episodes, trace(501, 30, 9.0, 4.0), told("updated", 510, 9.0, 4.0))
    add(episodes, trace(531, 1), told("cleared", 531, 1.0, 0.5))
    for at in range(532, 1000, 13):
        add(episodes, trace(at, 13, score=50.0))
    (episode,) = episodes.all
    assert (episode.raised_s, episode.score, episode.severity) == (START_S + 500, 4.0, "warning")
    assert episode.trace is not None
    expected = np.arange(500 - BEFORE, 532 + AFTER)
    assert np.array_equal(episode.trace[:, 0], START_S + expected)


def test_all_in_one_batch_is_the_same() -> None:
    episodes = Episodes()
    readings = np.concatenate((trace(0, 300), trace(300, 9, 7.0, 2.0), trace(309, 300)))
    raised, cleared = told("raised", 300, 7.0, 2.0), told("cleared", 320, 1.0, 0.5)
    add(episodes, readings, raised, cleared)
    (episode,) = episodes.all
    assert episode.trace is not None
    assert np.array_equal(episode.trace, readings[300 - BEFORE : 321 + AFTER])


def test_a_long_alert_is_thinned_and_keeps_its_extremes() -> None:
    episodes = Episodes()
    add(episodes, trace(0, 1, 9.0, 2.0), told("raised", 0, 9.0, 2.0))
    for at in range(1, 40_001, 4000):
        readings = trace(at, 4000, 5.0, 2.0)
        readings[123, 1], readings[2345, 1] = at, -at
        add(episodes, readings)
    (episode,) = episodes.all
    assert episode.trace is not None and len(episode.trace) <= MOST_READINGS
    assert episode.trace[:, 1].max() == 36_001 and episode.trace[:, 1].min() == -36_001
    assert (np.diff(episode.trace[:, 0]) > 0).all()


def test_where_there_are_too_many_the_highest_scored_stay() -> None:
    episodes = Episodes()
    for row in range(2 * MOST_EPISODES):
        score = 1.0 + row % 997
        raised = told("raised", row, 9.0, score, f"c{row}")
        add(episodes, trace(row, 1, 9.0, score), raised, row=row)
        assert len(episodes.all) <= MOST_EPISODES
        assert sum(each.trace is not None for each in episodes.all) <= MOST_TRACES
    assert max(each.score for each in episodes.all if each.trace is not None) == 997.0


def test_an_alert_about_a_limit_is_found_though_its_score_is_its_own() -> None:
    """The reading's score says how odd it is, the early warning's how sure it is."""
    episodes = Episodes()
    warning = msgspec.structs.replace(told("raised", 500, 9.0, 1.05), kind="forecast", limit=12.0)
    add(episodes, trace(0, 500))
    add(episodes, trace(500, 1, 9.0, 0.3), warning)
    assert ["forecast"] == [episode.kind for episode in episodes.all]


def test_a_silence_is_an_episode_though_none_of_its_readings_is_there() -> None:
    """Its last reading came earlier, or with another score; what came before it is shown."""
    for before in (1, 2):
        episodes = Episodes()
        add(episodes, trace(0, 20))
        if before == 2:
            add(episodes, trace(20, 1, value=9.0))
        episodes.add(
            np.full(3, 1, dtype=np.intp),
            trace(60, 3),
            [told("raised", 18 + before, 9.0, 1.0)],
            {0: "c0", 1: "c1"},
        )
        add(episodes, trace(70, 5))
        (episode,) = episodes.all
        assert 0 == episode.row
        assert pytest.approx(START_S + 18 + before, abs=1e-3) == episode.raised_s
        assert episode.trace is not None
        assert 70.0 + START_S in episode.trace[:, 0]
        assert np.all(np.diff(episode.trace[:, 0]) > 0)
