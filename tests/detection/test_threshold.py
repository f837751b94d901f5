"""The tails' rules: a surprise is a rank, so promised rates are kept whatever the units, and only
what counts as normal is learnt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyd.detection.threshold import MEMORY, Tails

STEEPEST = (8.0, 14.0)
VIEWS = len(STEEPEST)
REFRESHED = 16
Array = NDArray[np.float64]
Rows = NDArray[np.intp]


def learn(tails: Tails, rows: Rows, values: Array, floor: float = 0.0) -> None:
    """One value of all views of each channel in `rows`, all of them normal."""
    views = np.broadcast_to(values, (VIEWS, rows.size))
    tails.learn(rows, views, np.full_like(views, floor + 1e-9), np.ones(rows.size, np.bool_))


def taught(values: Array, floor: float = 0.0, tails: Tails | None = None) -> Tails:
    """Channels that have seen `values` (readings, channels)."""
    tails = tails or Tails(values.shape[1], STEEPEST)
    rows = np.arange(values.shape[1])
    for at, each in enumerate(values):
        learn(tails, rows, each, floor)
        if at % REFRESHED == 0:
            tails.refresh(rows)
    tails.refresh(rows)
    return tails


def noise(readings: int, channels: int, seed: int = 0) -> Array:
    return np.abs(np.random.default_rng(seed).standard_normal((readings, channels)))


def surprises(tails: Tails, values: Array, floor: float = 0.0) -> Array:
    """(channels,) of the first view."""
    views = np.broadcast_to(values, (VIEWS, values.size))
    floors = np.full_like(views, floor + 1e-9)
    return np.asarray(tails.surprises(np.arange(values.size), views, floors)[0])


def values_of(tails: Tails, channels: int, surprise: float) -> Array:
    """(views, channels)."""
    return tails.values(np.arange(channels), np.full((VIEWS, channels), surprise))


def test_nothing_is_known_at_first() -> None:
    """A channel that has shown nothing has no threshold, and has learnt from nothing."""
    tails = Tails(3, STEEPEST)
    assert [[0.0] * 3] * VIEWS == values_of(tails, 3, 2.0).tolist()
    assert [[0.0] * 3] * VIEWS == tails.counts(np.arange(3)).tolist()


@pytest.mark.parametrize("surprise", [1.0, 2.0, 3.0])
def test_the_promised_rate_is_kept(surprise: float) -> None:
    """Of values that are all normal, a share of 10^-surprise is that surprising: hardly more, and
    not much fewer."""
    channels, readings = 200, 1200
    values = noise(2 * readings, channels)
    tails = taught(values[:readings])
    exceeded = np.mean([surprises(tails, each) >= surprise for each in values[readings:]])
    assert 0.3 < exceeded / 10.0**-surprise <= 1.2


def test_beyond_what_was_seen_the_rate_is_kept_too() -> None:
    """What should come once in 20 times of what was seen comes no more often than that."""
    channels, readings = 200, 500
    values = noise(4 * readings, channels, seed=3)
    tails = taught(values[:readings])
    exceeded = np.mean([surprises(tails, each) >= 4.0 for each in values[readings:]])
    assert exceeded <= 2.0 * 10.0**-4.0


@settings(derandomize=True, database=None, deadline=None, max_examples=20)
@given(st.floats(1e-6, 1e6), st.integers(0, 2**32), st.floats(0.0, 10.0))
def test_a_surprise_has_no_unit(unit: float, seed: int, value: float) -> None:
    """A thousand times the values are as surprising, and have a thousand times the threshold."""
    values, asked = noise(150, 3, seed) + 1e-3, np.full(3, value + 0.01)
    plain, scaled = taught(values), taught(unit * values)
    assert surprises(scaled, unit * asked) == pytest.approx(surprises(plain, asked), abs=1e-3)
    wanted = unit * values_of(plain, 3, 3.0)
    assert values_of(scaled, 3, 3.0) == pytest.approx(wanted, rel=1e-3)


@settings(derandomize=True, database=None, deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.floats(0.3, 12.0), st.integers(60, 700))
def test_values_and_surprises_are_each_others_inverse(
    seed: int, surprise: float, readings: int
) -> None:
    """The value with a surprise has it, to within what half a reading says."""
    tails = taught(noise(readings, 3, seed))
    asked = values_of(tails, 3, surprise)[0]
    assert surprises(tails, asked) == pytest.approx(np.full(3, surprise), abs=0.15)


def test_larger_values_surprise_more() -> None:
    """A surprise never falls with the value, is never negative, and grows without end."""
    tails = taught(noise(700, 1))
    rising = np.array([surprises(tails, np.array([each]))[0] for each in np.geomspace(1e-4, 1e12)])
    assert rising[0] >= 0.0
    assert (np.diff(rising) >= 0.0).all()
    assert rising[-1] > 30.0


def test_heavier_tails_are_further_out() -> None:
    """Channels of the same spread that now and then go far need more room."""
    rng = np.random.default_rng(0)
    heavy = np.abs(rng.standard_t(3, (2000, 20))) / np.sqrt(3.0)
    tails, bell = taught(heavy), taught(noise(2000, 20))
    assert values_of(tails, 20, 5.0).mean() > 1.5 * values_of(bell, 20, 5.0).mean()


def test_what_has_passed_as_normal_surprises_less() -> None:
    """A peak that was learnt is beyond the end of the tail no more."""
    values = noise(1000, 1)
    before = surprises(taught(values), np.array([8.0]))[0]
    values[-2] = 8.0
    after = surprises(taught(values), np.array([8.0]))[0]
    assert before > after + 1.0
    assert after <= np.log10(1001.0)


def test_old_values_are_forgotten() -> None:
    """A channel that has become quieter is judged by what it is now."""
    rows = np.arange(1)
    tails = taught(10.0 * noise(400, 1))
    loud = values_of(tails, 1, 2.0)[0, 0]
    for at, each in enumerate(noise(round(4 * MEMORY), 1)):
        learn(tails, rows, each)
        if at % 256 == 0:
            tails.refresh(rows)
    tails.refresh(rows)
    assert values_of(tails, 1, 2.0)[0, 0] < 0.35 * loud


def test_no_threshold_is_below_what_can_be_resolved() -> None:
    """A channel that never misses still has room for the instrument's resolution, and what can't
    be resolved is as surprising as nothing."""
    tails = taught(np.zeros((500, 1)), floor=0.25)
    assert (values_of(tails, 1, 3.0) >= 0.25).all()
    assert surprises(tails, np.zeros(1), 0.25)[0] == surprises(tails, np.array([0.25]), 0.25)[0]


@settings(derandomize=True, database=None, deadline=None, max_examples=40)
@given(st.lists(st.floats(0.0, 1e37), min_size=1, max_size=60))
def test_figures_are_finite_whatever_comes(sizes: list[float]) -> None:
    """Nothing, the smallest and the largest that instruments say: always a surprise, always a
    threshold."""
    tails = taught(np.array(sizes)[:, None])
    for value in (0.0, 1e-300, 1.0, 1e37):
        surprise = surprises(tails, np.array([value]))
        assert np.isfinite(surprise).all() and (surprise >= 0.0).all()
    limits = values_of(tails, 1, 6.0)
    assert np.isfinite(limits).all() and (limits > 0.0).all()


@pytest.mark.parametrize("channels", [1, 2])
def test_an_unknown_view_learns_nothing(channels: int) -> None:
    """NaN in one view leaves that view as it is, whatever the others learn and however many
    channels there are in the batch."""
    rows, every = np.arange(channels), np.ones(channels, np.bool_)
    tails = taught(noise(100, channels))
    limits, counts = values_of(tails, channels, 2.0), tails.counts(rows)
    views = np.stack([np.full(channels, 9.0), np.full(channels, np.nan)])
    for _ in range(5):
        tails.learn(rows, views, np.full_like(views, 1e-9), every)
    tails.refresh(rows)
    assert limits[1].tolist() == values_of(tails, channels, 2.0)[1].tolist()
    assert counts[1].tolist() == tails.counts(rows)[1].tolist()
    assert (counts[0] + 5.0).tolist() == tails.counts(rows)[0].tolist()


def test_only_what_counts_as_normal_is_learnt() -> None:
    """A reading under alert moves nothing; its neighbours in the batch learn."""
    rows = np.arange(3)
    tails = taught(noise(100, 3))
    limits = values_of(tails, 3, 2.0)
    learns, views = np.array([True, False, True]), np.full((VIEWS, 3), 50.0)
    tails.learn(rows, views, np.full_like(views, 1e-9), learns)
    assert [[101.0, 100.0, 101.0]] * VIEWS == tails.counts(rows).tolist()
    assert limits[:, 1].tolist() == values_of(tails, 3, 2.0)[:, 1].tolist()
    tails.learn(rows, views, np.full_like(views, 1e-9), np.zeros(3, np.bool_))
    assert [[101.0, 100.0, 101.0]] * VIEWS == tails.counts(rows).tolist()


@pytest.mark.parametrize("cut", [2, 5])
def test_channels_learn_each_for_itself(cut: int) -> None:
    """A batch teaches each channel what it would have learnt alone."""
    values = noise(200, 5) * 10.0 ** np.arange(5)
    tails = Tails(5, STEEPEST)
    for each in values:
        for rows in np.array_split(np.arange(5), cut):
            learn(tails, rows, each[rows])
            tails.refresh(rows)
    together = Tails(5, STEEPEST)
    for each in values:
        learn(together, np.arange(5), each)
        together.refresh(np.arange(5))
    assert values_of(together, 5, 4.0).tolist() == values_of(tails, 5, 4.0).tolist()


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    """A reset leaves no threshold, and leaves the others alone."""
    values = noise(200, 2)
    tails = taught(values)
    limits = values_of(tails, 2, 3.0)
    tails.reset(np.array([0]))
    assert [0.0] * VIEWS == values_of(tails, 2, 3.0)[:, 0].tolist()
    assert limits[:, 1].tolist() == values_of(tails, 2, 3.0)[:, 1].tolist()
    for at, each in enumerate(1e6 * values):
        learn(tails, np.array([0]), each[:1])
        if at % REFRESHED == 0:
            tails.refresh(np.array([0]))
    tails.refresh(np.array([0]))
    assert values_of(tails, 2, 3.0)[:, 0] == pytest.approx(1e6 * limits[:, 0], rel=1e-3)
