"""The corpus is what its seed says, and is like what sensors say."""

from __future__ import annotations

import numpy as np
import pytest

from anomalyd.detection.reading import Floats
from anomalyd.model.synthetic import DAY_S, Corpus, corpus


@pytest.fixture(scope="module")
def drawn() -> Corpus:
    return corpus(3, 400, 1024)


def test_the_same_seed_gives_the_same_signals() -> None:
    """Two draws with one seed are equal to the last bit, with two seeds they are not."""
    first, again, other = corpus(7, 20, 300), corpus(7, 20, 300), corpus(8, 20, 300)
    assert all(map(np.array_equal, first, again))
    assert not np.array_equal(first.values, other.values)


def test_a_longer_corpus_begins_with_the_shorter_one() -> None:
    """More series are added, none is changed."""
    shorter, longer = corpus(7, 5, 300), corpus(7, 20, 300)
    assert all(np.array_equal(few, many[:5]) for few, many in zip(shorter, longer, strict=True))


def test_it_holds_every_kind_of_sensor(drawn: Corpus) -> None:
    """Cycles, steady noise, quantised and saturated instruments, machines that stand still."""
    values = drawn.values
    assert bool(np.isfinite(values).all())
    still = (np.diff(values) == 0.0).mean(axis=1)
    at_limit = (values == values.max(axis=1, keepdims=True)).mean(axis=1)
    levels = np.array([np.unique(series).size for series in values])
    assert bool((drawn.period > 0).any() and (drawn.period == 0).any())
    assert bool((still > 0.5).any() and (still == 0.0).any())
    assert bool((at_limit > 0.1).any())
    assert bool((levels < 50).any() and (levels == 1024).any())


def test_some_follow_the_time_of_day(drawn: Corpus) -> None:
    """About three in ten; by the clock they repeat better than half a day off it."""
    assert bool((drawn.interval_s > 0.0).all())
    daily = np.isclose(drawn.period * drawn.interval_s, DAY_S)
    assert 0.2 < daily.mean() < 0.4
    by_the_clock = []
    for values, readings in zip(drawn.values[daily], drawn.period[daily].astype(int), strict=True):
        if 2 * readings < values.size:
            by_the_clock.append(_alike(values, readings) > _alike(values, readings // 2))
    assert np.mean(by_the_clock) > 0.75


def _alike(values: Floats, lag: int) -> float:
    """Minus the mean change over so many readings."""
    return -float(np.abs(values[lag:] - values[:-lag]).mean())
