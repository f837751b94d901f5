"""What is kept: whole stretches within the budget, the same of all channels with one interval, and
everything around what was not normal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.detection.reading import Flags
from anomalyd.runtime.thinning import AFTER, BEFORE, intervals_s, kept

START_S = 1_748_772_000.0
DAY_S = 86400.0


def day(interval_s: float, budget: int, seed: int = 0, jitter: float = 0.0) -> Flags:
    times = START_S + np.arange(0.0, DAY_S, interval_s)
    times += np.random.default_rng(1).uniform(0.0, jitter * interval_s, times.size)
    counts = np.array([times.size])
    learnt = np.ones(times.size, dtype=np.bool_)
    return kept(times, learnt, counts, intervals_s(times, counts), budget, seed)


def runs(keep: Flags) -> list[int]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], keep, [False])).astype(np.int8)))
    return [int(each) for each in np.diff(edges)[::2]]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]),
    st.integers(512, 20_000),
    st.integers(0, 99),
    st.floats(0.0, 0.5),
)
def test_a_day_keeps_to_its_budget(
    interval_s: float, budget: int, seed: int, jitter: float
) -> None:
    """To 5 % and a block, which a day may cut; and a good part of the budget is used."""
    keep = int(day(interval_s, budget, seed, jitter).sum())
    all_of_it = DAY_S / interval_s
    assert keep <= budget / 0.94 + 2 * 512
    assert keep >= min(0.25 * budget, all_of_it) - 2 * 512


def test_stretches_are_whole() -> None:
    """Hundreds of readings without one left out, but for the two that the day cuts."""
    found = runs(day(1.0, 8640))
    assert all(256 <= each for each in found[1:-1])
    assert len(found) > 10


def test_a_slow_channel_keeps_everything() -> None:
    assert day(10.0, 8640).all()


def test_another_seed_keeps_others() -> None:
    assert not np.array_equal(day(1.0, 8640, seed=0), day(1.0, 8640, seed=1))
    assert np.array_equal(day(1.0, 8640, seed=1), day(1.0, 8640, seed=1))


def test_channels_with_one_interval_keep_the_same_stretches() -> None:
    """Measured a little differently each: the channels of an asset must stay together."""
    times = START_S + np.arange(20_000.0)
    shifted = times + 0.3 + 0.05 * np.sin(times)
    both, counts = np.concatenate((times, shifted)), np.array([times.size] * 2)
    learnt = np.ones(both.size, dtype=np.bool_)
    one, other = np.split(kept(both, learnt, counts, np.array([1.0003, 0.97]), 4000, 0), 2)
    assert np.mean(one != other) < 0.001


@pytest.mark.parametrize("at", [0, 100, 700, 999])
def test_what_was_not_normal_is_kept_with_what_is_around_it(at: int) -> None:
    """Of its own channel; whatever the budget says."""
    times = np.tile(START_S + np.arange(1000.0), 3)
    counts, learnt = np.full(3, 1000), np.ones(3000, dtype=np.bool_)
    plain = kept(times, learnt, counts, np.ones(3), 512, 7)
    learnt[1000 + at] = False
    added = np.flatnonzero(kept(times, learnt, counts, np.ones(3), 512, 7) & ~plain)
    around = np.arange(max(at - BEFORE, 0), min(at + AFTER + 1, 1000)) + 1000
    assert np.setdiff1d(around, np.flatnonzero(plain)).tolist() == added.tolist()


def test_intervals_are_the_channels_own_medians() -> None:
    times = np.array([0.0, 1.0, 2.0, 9.0, 5.0, 0.0, 7.0])
    assert [1.0, 1.0, 7.0] == intervals_s(times, np.array([4, 1, 2])).tolist()
