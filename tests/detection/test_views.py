"""The views' rules: a spike, more noise, and a level that leaves each show in a figure of their
own, and one outlier fills none of them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyd.detection.views import Expected, Seen, View, Views

ONE = np.array([0])
LARGEST = 5.0
NAN = float("nan")

Array = NDArray[np.float64]


def look(
    views: Views,
    value: float,
    expected: float = 20.0,
    ahead: float = 20.0,
    usual: float = 20.0,
    settling: bool = False,
    related: float = NAN,
) -> Seen:
    """What one reading shows."""
    wanted = np.full((len(Expected), 1), np.nan)
    wanted[Expected.NEXT], wanted[Expected.AHEAD], wanted[Expected.USUAL] = expected, ahead, usual
    return views.look(
        ONE,
        np.array([value]),
        wanted,
        np.array([related]),
        np.array([settling]),
        np.full((len(View), 1), LARGEST),
    )


def live(
    views: Views,
    values: Array,
    learns: bool = True,
    settling: bool = False,
    expected: float = 20.0,
    usual: float = 20.0,
) -> Array:
    """(views, readings) what readings show, as a channel goes on that is expected to say 20."""
    shown = []
    for value in values.tolist():
        seen = look(views, value, settling=settling, expected=expected, usual=usual)
        views.learn(ONE, np.array([value]), seen, np.array([learns]), np.array([False]))
        shown.append(seen.views[:, 0])
    return np.stack(shown, axis=1)


def quiet(readings: int = 500) -> Views:
    """A channel that says 20, give or take one."""
    views = Views(1)
    live(views, np.random.default_rng(0).normal(20.0, 1.0, readings))
    return views


def test_the_residual_is_what_was_missed() -> None:
    """It is the distance from what was expected, on either side."""
    views = quiet()
    assert [3.5, 3.5] == [look(views, value).views[View.RESIDUAL, 0] for value in (23.5, 16.5)]


def test_more_noise_shows_as_noise() -> None:
    """It is the running mean of what was missed, about 0.8 of the standard deviation; one outlier
    counts as no more than the largest ordinary residual."""
    views = quiet()
    noise = live(views, np.random.default_rng(1).normal(20.0, 2.0, 200))[View.NOISE]
    assert noise[100:].mean() == pytest.approx(2.0 * 0.8, abs=0.2)
    before = live(views, np.full(50, 20.0))[View.NOISE, -1]
    assert live(views, np.array([1e9]))[View.NOISE, 0] <= before + LARGEST / 16.0


def test_a_level_that_leaves_shows_as_level() -> None:
    """It is the distance of the running level from the long-term one; one outlier counts as no more
    than the largest ordinary residual."""
    views = quiet()
    assert live(views, np.array([1e9]), learns=False)[View.LEVEL, 0] < 1.0 + LARGEST / 8.0
    live(views, np.full(50, 20.0), learns=False)
    moved = live(views, np.full(60, 24.0), learns=False)[View.LEVEL]
    assert (np.diff(moved[5:]) > 0.0).all()
    assert moved[-1] == pytest.approx(4.0, abs=0.3)


def test_the_long_term_level_follows_only_what_is_normal() -> None:
    """Under alert it stays; a level that is accepted becomes the long-term one."""
    views = quiet()
    before = look(views, 20.0).baseline[0]
    live(views, np.full(2000, 24.0), learns=False)
    assert before == look(views, 20.0).baseline[0]
    live(views, np.full(4000, 24.0))
    assert look(views, 24.0).baseline[0] == pytest.approx(24.0, abs=0.05)


def test_what_can_not_be_compared_is_not_missed() -> None:
    """Without an expectation, and just after a gap, there is no residual, the noise stays, and the
    running level begins where the channel is."""
    views = quiet()
    noise = look(views, 20.0, settling=True).noise[0]
    for seen in (look(views, 90.0, expected=NAN), look(views, 90.0, settling=True)):
        assert [False] == seen.known.tolist()
        assert [0.0, 0.0] == seen.views[[View.RESIDUAL, View.LEVEL], 0].tolist()
        assert [90.0] == seen.level.tolist()
        assert noise == seen.noise[0]


def test_what_was_said_long_before_is_compared_too() -> None:
    """A reading's distance from the forecast 24 readings before counts; NaN where there was
    none."""
    views = quiet()
    assert [6.5] == look(views, 20.0, ahead=13.5).views[View.AHEAD].tolist()
    for seen in (look(views, 20.0, ahead=NAN), look(views, 90.0, settling=True)):
        assert np.isnan(seen.views[View.AHEAD]).all()


def test_an_unusual_time_of_day_shows() -> None:
    """What is expected next may be unusual for the time of the day: its distance counts, and the
    running mean of it, in which ups and downs cancel and one outlier counts as no more than the
    largest ordinary one."""
    views = quiet()
    assert [3.0] == look(views, 20.0, usual=17.0).views[View.UNUSUAL].tolist()
    live(views, np.full(80, 20.0))
    once = live(views, np.array([1e9]))[[View.UNUSUAL, View.UNUSUAL_MEAN], 0]
    assert once[0] > 9e8 and once[1] == pytest.approx(LARGEST / 12.0, abs=0.05)
    up_and_down = live(views, 20.0 + np.resize([3.0, -3.0], 100))[View.UNUSUAL_MEAN]
    assert up_and_down[50:].max() < 0.3
    shown = live(views, np.full(60, 24.0), expected=24.0)
    assert shown[View.UNUSUAL_MEAN, -1] == pytest.approx(4.0, abs=0.1)
    assert 0.0 == shown[View.RESIDUAL, -1]


def test_a_spared_reading_leaves_the_running_figures() -> None:
    """A glitch that is no part of what is normal moves neither noise nor level."""
    views = quiet()
    before = look(views, 20.0)
    seen = look(views, 1e6)
    views.learn(ONE, np.array([1e6]), seen, np.array([False]), np.array([True]))
    after = look(views, 20.0)
    assert before.views.tobytes() == after.views.tobytes()
    assert before.baseline.tolist() == after.baseline.tolist()


def test_the_relation_is_what_the_asset_says() -> None:
    """Its size counts; NaN where nothing is said."""
    views = quiet()
    for related, expected in ((-2.5, 2.5), (2.5, 2.5), (NAN, NAN)):
        seen = look(views, 20.0, related=related)
        assert [expected] == pytest.approx(seen.views[View.RELATION].tolist(), nan_ok=True)


def test_a_look_changes_nothing() -> None:
    """What is seen twice is the same; learning is what counts a reading."""
    views = quiet(100)
    one, other = look(views, 30.0), look(views, 30.0)
    assert one.views.tobytes() == other.views.tobytes()
    assert [100.0] == views.count(ONE).tolist()
    views.learn(ONE, np.array([30.0]), one, np.array([False]), np.array([False]))
    assert [101.0] == views.count(ONE).tolist()


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    """A row that is used again shows what a new one would."""
    used, new = quiet(), Views(1)
    used.reset(ONE)
    values = np.random.default_rng(2).normal(5.0, 1.0, 50)
    assert live(used, values).tobytes() == live(new, values).tobytes()
