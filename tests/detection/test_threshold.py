"""The tails' rules: thresholds keep a promised rate of events, in the units of what they see, and
learn only from what counts as normal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyd.detection.threshold import Tails, TailTraits

TRAITS = (
    TailTraits(shape=0.15, lightest=-0.05, excess=0.3, caution=0.5, rate=0.01, patience=100.0),
    TailTraits(shape=-0.1, lightest=-0.3, excess=0.15, caution=0.0, rate=0.001, patience=1000.0),
)
VIEWS = len(TRAITS)
RISK = 1e-4
Array = NDArray[np.float64]


def learn(
    tails: Tails, rows: NDArray[np.intp], values: Array, floor: float = 0.0, risk: float = RISK
) -> None:
    """One value of all views of each channel in `rows`, all of them normal."""
    every = np.ones(rows.size, np.bool_)
    views = np.broadcast_to(values, (VIEWS, rows.size))
    tails.learn(rows, views, np.full(rows.size, floor), np.full(rows.size, risk), every)


def taught(values: Array, floor: float = 0.0, risk: float = RISK) -> Tails:
    """Channels that have seen `values` (readings, channels)."""
    tails = Tails(values.shape[1], TRAITS)
    rows = np.arange(values.shape[1])
    for each in values:
        learn(tails, rows, each, floor, risk)
    return tails


def noise(readings: int, channels: int, seed: int = 0) -> Array:
    return np.abs(np.random.default_rng(seed).standard_normal((readings, channels)))


def thresholds(tails: Tails, channels: int) -> Array:
    return tails.thresholds(np.arange(channels))


def test_nothing_is_known_at_first() -> None:
    """A channel that has shown nothing has no threshold, and has learnt from nothing."""
    tails = Tails(3, TRAITS)
    assert [[0.0] * 3] * VIEWS == thresholds(tails, 3).tolist()
    assert [[0.0] * 3] * VIEWS == tails.counts(np.arange(3)).tolist()


def test_the_promised_rate_is_kept() -> None:
    """Of readings that are all normal, no more exceed the threshold than was promised, and a
    threshold isn't so far out that nothing ever could."""
    channels, readings, risk = 400, 1500, 1e-3
    values = noise(2 * readings, channels)
    tails = taught(values[:readings], risk=risk)
    limit = thresholds(tails, channels)[0]
    exceeded = (values[readings:] > limit).sum() / (channels * readings)
    assert 0.0 < exceeded <= risk


@settings(derandomize=True, database=None, deadline=None, max_examples=20)
@given(st.floats(1e-6, 1e6), st.integers(0, 2**32))
def test_a_threshold_is_in_the_units_of_what_it_sees(unit: float, seed: int) -> None:
    """A thousand times the values have a thousand times the threshold."""
    values = noise(150, 3, seed)
    plain, scaled = thresholds(taught(values), 3), thresholds(taught(unit * values), 3)
    assert scaled == pytest.approx(unit * plain, rel=1e-6)


def test_a_rarer_promise_is_further_out() -> None:
    """The fewer false alarms are promised, the higher the threshold."""
    values = noise(500, 4)
    limits = [thresholds(taught(values, risk=risk), 4) for risk in (1e-2, 1e-4, 1e-6)]
    assert (limits[0] < limits[1]).all() and (limits[1] < limits[2]).all()


def test_heavier_tails_are_further_out() -> None:
    """Channels of the same spread that now and then go far need more room."""
    rng = np.random.default_rng(0)
    heavy = np.abs(rng.standard_t(3, (2000, 20))) / np.sqrt(3.0)
    bell = noise(2000, 20)
    further = thresholds(taught(heavy), 20)[0].mean() / thresholds(taught(bell), 20)[0].mean()
    assert further > 1.5


def test_what_was_lately_normal_is_below_the_threshold() -> None:
    """A peak that has passed as normal moves the threshold beyond itself."""
    values = noise(1000, 1)
    values[-2] = 500.0
    tails = taught(values)
    assert (thresholds(tails, 1) >= 1.1 * 500.0 * 0.99).all()


def test_a_peak_that_still_rises_is_not_normal_yet() -> None:
    """A drift can't lift the threshold above itself before it has ended."""
    values = noise(2000, 1)
    tails, rows = taught(values), np.array([0])
    before = thresholds(tails, 1)[1, 0]
    for value in np.linspace(3.0, 3.0 * before, 60):
        learn(tails, rows, np.array([value]))
    assert thresholds(tails, 1)[1, 0] < value


def test_no_threshold_is_below_what_can_be_resolved() -> None:
    """A channel that never misses still has room for the instrument's resolution."""
    tails = taught(np.zeros((500, 1)), floor=0.25)
    assert (thresholds(tails, 1) >= 0.25).all()


@pytest.mark.parametrize("channels", [1, 2])
def test_an_unknown_view_learns_nothing(channels: int) -> None:
    """NaN in one view leaves that view as it is, whatever the others learn and however many
    channels there are in the batch."""
    rows, every = np.arange(channels), np.ones(channels, np.bool_)
    tails = taught(noise(100, channels))
    limits, counts = tails.thresholds(rows), tails.counts(rows)
    views = np.stack([np.full(channels, 9.0), np.full(channels, np.nan)])
    for _ in range(5):
        tails.learn(rows, views, np.zeros(channels), np.full(channels, RISK), every)
    assert limits[1].tolist() == tails.thresholds(rows)[1].tolist()
    assert counts[1].tolist() == tails.counts(rows)[1].tolist()
    assert (counts[0] + 5.0).tolist() == tails.counts(rows)[0].tolist()


def test_only_what_counts_as_normal_is_learnt() -> None:
    """A reading under alert moves nothing; its neighbours in the batch learn."""
    rows = np.arange(3)
    tails = taught(noise(100, 3))
    limits = tails.thresholds(rows)
    learns = np.array([True, False, True])
    views = np.full((VIEWS, 3), 50.0)
    tails.learn(rows, views, np.zeros(3), np.full(3, RISK), learns)
    assert [[101.0, 100.0, 101.0]] * VIEWS == tails.counts(rows).tolist()
    assert limits[:, 1].tolist() == tails.thresholds(rows)[:, 1].tolist()
    tails.learn(rows, views, np.zeros(3), np.full(3, RISK), ~learns & learns)
    assert [[101.0, 100.0, 101.0]] * VIEWS == tails.counts(rows).tolist()


@pytest.mark.parametrize("cut", [2, 5])
def test_channels_learn_each_for_itself(cut: int) -> None:
    """A batch teaches each channel what it would have learnt alone."""
    values = noise(200, 5)
    tails = Tails(5, TRAITS)
    for each in values:
        for rows in np.array_split(np.arange(5), cut):
            learn(tails, rows, each[rows])
    assert thresholds(tails, 5) == pytest.approx(thresholds(taught(values), 5), rel=1e-9)


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    """A reset leaves no threshold, and leaves the others alone."""
    values = noise(200, 2)
    tails = taught(values)
    limits = thresholds(tails, 2)
    tails.reset(np.array([0]))
    assert [0.0] * VIEWS == thresholds(tails, 2)[:, 0].tolist()
    assert limits[:, 1].tolist() == thresholds(tails, 2)[:, 1].tolist()
    for each in values:
        learn(tails, np.array([0]), each[:1])
    assert thresholds(tails, 2)[:, 0] == pytest.approx(limits[:, 0], rel=1e-9)
