"""The views' rules: a spike, more noise, a level that leaves, a forecast that fails and a day that
is unlike others each show in a figure of their own, and one outlier fills none of them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyd.detection.views import Expected, Seen, View, Views

ONE = np.array([0])
LARGEST = 5.0
NAN = float("nan")
OWN = list(View)[: View.RELATION]
"""the views of a channel for itself"""

Array = NDArray[np.float64]


def look(
    views: Views,
    value: float,
    expected: float = 20.0,
    settling: bool = False,
    ahead: float = 20.0,
    usual: float = 20.0,
    related: float = NAN,
) -> Seen:
    """What one reading shows."""
    said, others = np.array([value]), np.array([related])
    wanted = np.zeros((len(Expected), 1))
    wanted[Expected.NEXT], wanted[Expected.AHEAD], wanted[Expected.USUAL] = expected, ahead, usual
    largest = np.full((len(View), 1), LARGEST)
    return views.look(ONE, said, wanted, others, np.array([settling]), largest)


def learn(views: Views, value: float, seen: Seen, learns: bool, spared: bool = False) -> None:
    views.learn(ONE, np.array([value]), seen, np.array([learns]), np.array([spared]))


def live(views: Views, values: Array, learns: bool = True, settling: bool = False) -> Array:
    """(views, readings) what readings show, as a channel goes on that is expected to say 20."""
    shown = []
    for value in values.tolist():
        seen = look(views, value, settling=settling)
        learn(views, value, seen, learns)
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


def test_a_forecast_that_fails_shows_ahead() -> None:
    """It is the distance from what was said long before, however well the next value was known;
    NaN while nothing was said."""
    views = quiet()
    for said in (17.0, 23.0):
        assert look(views, 20.0, ahead=said).views[View.AHEAD, 0] == 3.0
    seen = look(views, 20.0, ahead=NAN)
    assert np.isnan(seen.views[View.AHEAD, 0]) and seen.known[0]
    others = [view for view in OWN if view != View.AHEAD]
    assert np.isfinite(seen.views[others]).all()


def test_a_day_unlike_others_shows_as_unusual() -> None:
    """It is the distance from what is usual at this time, of one reading and of their running mean,
    in which one outlier counts as no more than the largest ordinary distance."""
    views = quiet()
    before = look(views, 20.0).views[View.UNUSUAL_MEAN, 0]
    wild = look(views, 1e9).views
    assert wild[View.UNUSUAL, 0] == 1e9 - 20.0
    assert wild[View.UNUSUAL_MEAN, 0] <= before + LARGEST / 12.0 + 0.1
    for _ in range(100):
        seen = look(views, 20.0, usual=16.0)
        learn(views, 20.0, seen, False)
    shown = seen.views[:, 0]
    assert shown[[View.UNUSUAL, View.UNUSUAL_MEAN]] == pytest.approx(4.0, abs=0.01)
    assert shown[View.RESIDUAL] == 0.0


def test_what_is_off_to_either_side_is_usual_on_average() -> None:
    """The running mean keeps the sign."""
    views = quiet()
    shown = live(views, np.resize([24.0, 16.0], 200))
    assert shown[View.UNUSUAL, -1] == 4.0
    assert shown[View.UNUSUAL_MEAN, -1] < 0.5


def test_the_long_term_level_follows_only_what_is_normal() -> None:
    """Under alert it stays; a level that is accepted becomes the long-term one."""
    views = quiet()
    before = look(views, 20.0).baseline[0]
    live(views, np.full(2000, 24.0), learns=False)
    assert before == look(views, 20.0).baseline[0]
    live(views, np.full(4000, 24.0))
    assert look(views, 24.0).baseline[0] == pytest.approx(24.0, abs=0.05)


def test_what_is_spared_leaves_the_running_figures() -> None:
    """A glitch that is set aside is counted, and nothing else."""
    views = quiet()
    before = look(views, 20.0)
    learn(views, 24.0, look(views, 24.0), learns=False, spared=True)
    assert before.views.tobytes() == look(views, 20.0).views.tobytes()
    assert [501.0] == views.count(ONE).tolist()


def test_what_can_not_be_compared_is_not_missed() -> None:
    """Without an expectation, and just after a gap, there is no residual, the noise stays, and the
    running level begins where the channel is."""
    views = quiet()
    noise = look(views, 20.0, settling=True).noise[0]
    for seen in (
        look(views, 90.0, expected=NAN, ahead=NAN, usual=NAN),
        look(views, 90.0, settling=True),
    ):
        assert [False] == seen.known.tolist()
        shown = seen.views[[View.RESIDUAL, View.LEVEL, View.UNUSUAL], 0]
        assert [0.0, 0.0, 0.0] == shown.tolist()
        assert np.isnan(seen.views[View.AHEAD, 0])
        assert [90.0] == seen.level.tolist()
        assert noise == seen.noise[0] and np.isfinite(seen.unusual).all()


def test_the_relation_is_what_the_asset_says() -> None:
    """Its size counts; NaN where nothing is said."""
    views = quiet()
    for related, expected in ((-2.5, 2.5), (2.5, 2.5), (NAN, NAN)):
        shown = look(views, 20.0, related=related).views[View.RELATION]
        assert [expected] == pytest.approx(shown.tolist(), nan_ok=True)


def test_the_views_are_in_channel_units() -> None:
    """A thousand times the values show a thousand times as much, at any offset."""
    rows, settling = ONE, np.array([False])
    drawn = np.random.default_rng(3).normal(0.0, 1.0, (100, 4))
    shown = []
    for unit, offset in ((1.0, 0.0), (1000.0, 5e4)):
        views = Views(1)
        largest = np.full((len(View), 1), 2.0 * unit)
        for at, (value, *said) in enumerate(unit * drawn + offset):
            wanted = np.array(said if at else [NAN] * len(Expected))[:, None]
            reading = np.array([value])
            seen = views.look(rows, reading, wanted, np.array([NAN]), settling, largest)
            learn(views, value, seen, learns=True)
        shown.append(seen.views[OWN, 0] / unit)
    assert shown[1] == pytest.approx(shown[0], rel=1e-6)


def test_a_look_changes_nothing() -> None:
    """What is seen twice is the same; learning is what counts a reading."""
    views = quiet(100)
    one, other = look(views, 30.0), look(views, 30.0)
    assert one.views.tobytes() == other.views.tobytes()
    assert [100.0] == views.count(ONE).tolist()
    learn(views, 30.0, one, learns=False)
    assert [101.0] == views.count(ONE).tolist()


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    """A row that is used again shows what a new one would."""
    used, new = quiet(), Views(1)
    used.reset(ONE)
    values = np.random.default_rng(2).normal(5.0, 1.0, 50)
    assert live(used, values).tobytes() == live(new, values).tobytes()
