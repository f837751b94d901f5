"""The tails' rules: a surprise is a rank, a threshold keeps the rate that it promises, both in the
units of what they see, and they learn only from what counts as normal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyd.detection.threshold import QUEUED, Tails, position

STEEPEST = (12.0, 8.0)
CLIMBS = (False,) * len(STEEPEST)
VIEWS = len(STEEPEST)
TINY = 1e-12

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


def every(rows: Rows, figures: Array | float) -> Array:
    """The same figures for all views."""
    return np.broadcast_to(figures, (VIEWS, rows.size)).astype(np.float64)


def positions(rows: Rows, values: Array | float, floor: float = TINY) -> Array:
    """(views, B) where the values are on the axis of all bins."""
    return position(np.maximum(every(rows, values), floor))


def learn(tails: Tails, rows: Rows, values: Array | float, floor: float = TINY) -> None:
    """One value of all views of each channel in `rows`, all of them normal."""
    tails.learn(rows, positions(rows, values, floor), np.ones(rows.size, np.bool_))


def teach(tails: Tails, rows: Rows, values: Array, floor: float = TINY) -> None:
    """(readings, B) values."""
    for each in values:
        learn(tails, rows, each, floor)


def taught(values: Array, floor: float = TINY) -> Tails:
    """Channels that have seen `values` (readings, channels)."""
    tails = Tails(values.shape[1], STEEPEST, CLIMBS)
    teach(tails, np.arange(values.shape[1]), values, floor)
    return tails


def noise(readings: int, channels: int, seed: int = 0) -> Array:
    return np.abs(np.random.default_rng(seed).standard_normal((readings, channels)))


def thresholds(tails: Tails, channels: int, surprise: float = 4.0) -> Array:
    """(views, channels) values that are so surprising."""
    rows = np.arange(channels)
    return tails.values(rows, every(rows, surprise))


def surprises(tails: Tails, channels: int, value: float, floor: float = TINY) -> Array:
    """(views, channels) how surprising this value is."""
    rows = np.arange(channels)
    return tails.surprises(rows, positions(rows, value, floor))


def test_nothing_is_known_at_first() -> None:
    """A channel that has shown nothing has no threshold, and has learnt from nothing."""
    tails = Tails(3, STEEPEST, CLIMBS)
    assert [[0.0] * 3] * VIEWS == thresholds(tails, 3).tolist()
    assert [[0.0] * 3] * VIEWS == tails.counts(np.arange(3)).tolist()


@pytest.mark.parametrize("surprise", [1.0, 2.0])
def test_a_surprise_is_a_rank(surprise: float) -> None:
    """Where values have been seen, as many exceed the threshold as were promised: one in ten has a
    surprise of 1, one in a hundred of 2."""
    values = noise(4000, 100)
    limit = thresholds(taught(values[:2000]), 100, surprise)[0]
    exceeded = (values[2000:] > limit).mean()
    assert exceeded == pytest.approx(10.0**-surprise, rel=0.25)


def test_the_promised_rate_is_not_exceeded() -> None:
    """Of what is rarer than anything seen there is no more than was promised."""
    values = noise(3000, 400)
    limit = thresholds(taught(values[:500]), 400, 4.0)
    assert ((values[500:, None] > limit).mean(axis=(0, 2)) <= 1e-4).all()


def test_a_threshold_is_the_value_of_its_surprise() -> None:
    """Thresholds and surprises are each other's inverse, within and beyond what has been seen."""
    rows, tails = np.arange(5), taught(noise(1000, 5))
    for surprise in (0.5, 1.0, 2.0, 4.0, 8.0):
        at = thresholds(tails, 5, surprise)
        said = tails.surprises(rows, position(at))
        assert said == pytest.approx(surprise, abs=0.15)


@settings(derandomize=True, database=None, deadline=None, max_examples=30)
@given(st.floats(1e-6, 1e6), st.integers(0, 2**32))
def test_a_threshold_is_in_the_units_of_what_it_sees(unit: float, seed: int) -> None:
    """In any other unit, what is seen has the threshold in that unit and the same surprise."""
    values = noise(150, 3, seed)
    plain, scaled = taught(values), taught(unit * values)
    assert thresholds(scaled, 3) == pytest.approx(unit * thresholds(plain, 3), rel=1e-3)
    for value in (0.5, 2.0, 20.0):
        said = surprises(scaled, 3, unit * value)
        assert said == pytest.approx(surprises(plain, 3, value), rel=1e-3)


def test_a_rarer_promise_is_further_out() -> None:
    """The fewer false alarms are promised, the higher the threshold."""
    tails = taught(noise(500, 4))
    limits = [thresholds(tails, 4, surprise) for surprise in (0.5, 2.0, 3.0, 4.0, 6.0)]
    assert (np.diff(limits, axis=0) > 0.0).all()


def test_a_larger_value_is_no_less_surprising() -> None:
    """Surprise grows with the value, without bound, and is never negative."""
    tails = taught(noise(500, 4))
    said = np.array([surprises(tails, 4, value) for value in np.geomspace(1e-9, 1e30, 200)])
    assert (said[0] == 0.0).all() and (np.diff(said, axis=0) >= 0.0).all()
    assert np.isfinite(said).all() and (said[-1] > 50.0).all()


def test_heavier_tails_are_further_out() -> None:
    """Channels of the same spread that now and then go far need more room."""
    rng = np.random.default_rng(0)
    heavy = np.abs(rng.standard_t(3, (2000, 20))) / np.sqrt(3.0)
    bell = noise(2000, 20)
    further = thresholds(taught(heavy), 20)[0].mean() / thresholds(taught(bell), 20)[0].mean()
    assert further > 1.5


def test_a_slow_view_has_more_room() -> None:
    """No steeper slope is believed than its view allows, and none from few values."""
    limits = thresholds(taught(noise(3000, 20)), 20, 6.0)
    assert (limits[1] > limits[0]).all()
    young = thresholds(taught(noise(100, 20)), 20, 6.0)
    assert young[0].mean() > limits[0].mean()


def test_no_threshold_is_below_what_can_be_resolved() -> None:
    """A channel that never misses still has room for the instrument's resolution."""
    tails = taught(np.zeros((500, 1)), floor=0.25)
    assert (thresholds(tails, 1) >= 0.25).all()
    assert (surprises(tails, 1, 0.0, 0.25) == surprises(tails, 1, 0.25, 0.25)).all()


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_channel_may_change_its_size(factor: float) -> None:
    """What is normal for long at another size, larger or smaller, is what counts in the end."""
    rows, values = np.array([0]), noise(8000, 1)
    tails = taught(values[:2000])
    teach(tails, rows, factor * values[2000:])
    expected = thresholds(taught(values), 1, 0.3)
    assert thresholds(tails, 1, 0.3) == pytest.approx(factor * expected, rel=0.5)


@pytest.mark.parametrize("channels", [1, 2])
def test_an_unknown_view_learns_nothing(channels: int) -> None:
    """NaN in one view leaves that view as it is, whatever the others learn and however many
    channels there are in the batch."""
    rows, normal = np.arange(channels), np.ones(channels, np.bool_)
    tails = taught(noise(6 * QUEUED, channels))
    limits, counts = thresholds(tails, channels), tails.counts(rows)
    views = np.stack([np.full(channels, 1.0), np.full(channels, np.nan)])
    for _ in range(QUEUED):
        tails.learn(rows, position(views), normal)
    assert limits[1].tolist() == thresholds(tails, channels)[1].tolist()
    assert counts[1].tolist() == tails.counts(rows)[1].tolist()
    assert (counts[0] + QUEUED).tolist() == tails.counts(rows)[0].tolist()


def test_only_what_counts_as_normal_is_learnt() -> None:
    """A reading under alert moves nothing; its neighbours in the batch learn."""
    rows, tails = np.arange(3), taught(noise(6 * QUEUED, 3))
    limits = thresholds(tails, 3)
    learns = np.array([True, False, True])
    for _ in range(QUEUED):
        tails.learn(rows, positions(rows, 1.0), learns)
    assert [[112.0, 96.0, 112.0]] * VIEWS == tails.counts(rows).tolist()
    assert limits[:, 1].tolist() == thresholds(tails, 3)[:, 1].tolist()
    tails.learn(rows, positions(rows, 1.0), ~learns & learns)
    assert [[112.0, 96.0, 112.0]] * VIEWS == tails.counts(rows).tolist()


@pytest.mark.parametrize("cut", [2, 5])
def test_channels_learn_each_for_itself(cut: int) -> None:
    """A batch teaches each channel what it would have learnt alone."""
    values = noise(200, 5)
    tails = Tails(5, STEEPEST, CLIMBS)
    for rows in np.array_split(np.arange(5), cut):
        teach(tails, rows, values[:, rows])
    assert thresholds(tails, 5).tolist() == thresholds(taught(values), 5).tolist()


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    """A reset leaves no threshold, and leaves the others alone."""
    values = noise(200, 2)
    tails = taught(values)
    limits = thresholds(tails, 2)
    tails.reset(np.array([0]))
    assert [0.0] * VIEWS == thresholds(tails, 2)[:, 0].tolist()
    assert limits[:, 1].tolist() == thresholds(tails, 2)[:, 1].tolist()
    teach(tails, np.array([0]), values[:, :1])
    assert limits.tolist() == thresholds(tails, 2).tolist()
