"""Stillness' rules: stuck is standing still for far longer than this channel ever did."""

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.quality import Stillness

ONE = np.array([0])
Values = list[float] | NDArray[np.float64]


def live(stillness: Stillness, values: Values, learns: bool = True) -> list[float]:
    """The score of each value, as a channel goes on."""
    scores = []
    for value in values:
        each = np.array([float(value)])
        scores.append(float(stillness.score(ONE, each)[0]))
        stillness.learn(ONE, each, np.array([learns]))
    return scores


def noise(readings: int, longest: int = 1) -> list[float]:
    """A sensor that says each value `longest` times."""
    values = np.random.default_rng(0).normal(20.0, 1.0, -(-readings // longest))
    repeated: list[float] = np.repeat(values, longest)[:readings].tolist()
    return repeated


def test_a_lively_channel_that_stands_still_is_stuck() -> None:
    """After 30 equal readings a channel whose every reading was new is suspect, and the longer it
    stands the more so."""
    stillness = Stillness(1)
    live(stillness, noise(1000))
    scores = live(stillness, [20.0] * 60)
    assert [0.0] * 29 == scores[:29]
    assert [run / 30 for run in range(30, 61)] == scores[29:]


def test_it_is_over_with_the_first_change() -> None:
    """A value that differs is not stuck."""
    stillness = Stillness(1)
    live(stillness, noise(1000))
    assert [0.0] == live(stillness, [*[20.0] * 60, 21.0])[-1:]


def test_a_slow_channel_may_stand_as_long_as_it_is_used_to() -> None:
    """A quantised or slow sensor's own runs say how long is suspect: four times the longest."""
    stillness = Stillness(1)
    live(stillness, noise(8000, longest=20))
    scores = live(stillness, [20.0] * 80)
    assert [0.0] * 79 == scores[:79]
    assert scores[79] == 1.0


def test_a_channel_that_never_changed_is_not_stuck() -> None:
    """A constant is a constant; so is a channel that has not been seen to change for long."""
    assert {0.0} == set(live(Stillness(1), [5.0] * 5000))
    assert {0.0} == set(live(Stillness(1), [*noise(100), *[5.0] * 60]))


def test_a_standstill_under_alert_is_not_normal() -> None:
    """A run that ends under alert teaches nothing: the next one is as suspect."""
    stillness = Stillness(1)
    live(stillness, noise(1000))
    live(stillness, [20.0] * 200, learns=False)
    live(stillness, noise(50), learns=False)
    assert live(stillness, [20.0] * 30)[-1] == 1.0


def test_a_standstill_that_was_accepted_is_normal_for_a_while() -> None:
    """A run that ends without an alert is part of what the channel does; it isn't remembered for
    ever."""
    stillness = Stillness(1)
    live(stillness, noise(5000))
    live(stillness, [20.0] * 200)
    live(stillness, noise(300))
    assert {0.0} == set(live(stillness, [20.0] * 200))
    live(stillness, noise(5000))
    assert live(stillness, [20.0] * 30)[-1] == 1.0


def test_a_look_changes_nothing() -> None:
    """Scoring a value leaves no trace."""
    stillness = Stillness(1)
    live(stillness, noise(1000))
    for _ in range(100):
        stillness.score(ONE, np.array([20.0]))
    assert [0.0] * 29 == live(stillness, [20.0] * 29)


def test_channels_stand_still_each_for_itself() -> None:
    """A neighbour's changes, and what was in the row before, don't count."""
    stillness, both = Stillness(2), np.array([0, 1])
    for value in noise(1000):
        stillness.learn(both, np.array([value, value]), np.array([True, True]))
    stillness.reset(np.array([1]))
    for value in noise(30):
        scores = stillness.score(both, np.array([20.0, value]))
        stillness.learn(both, np.array([20.0, value]), np.array([True, True]))
    assert [1.0, 0.0] == scores.tolist()
    assert {0.0} == {
        float(stillness.score(np.array([1]), np.array([value]))[0]) for value in (1, 2)
    }
