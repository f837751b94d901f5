"""The corpus is what its seed says, and is like what sensors say."""

from __future__ import annotations

import numpy as np

from anomalyd.model.synthetic import corpus


def test_the_same_seed_gives_the_same_signals() -> None:
    """Two draws with one seed are equal to the last bit, with two seeds they are not."""
    first, again, other = corpus(7, 20, 300), corpus(7, 20, 300), corpus(8, 20, 300)
    assert np.array_equal(first.values, again.values)
    assert np.array_equal(first.period, again.period)
    assert not np.array_equal(first.values, other.values)


def test_a_longer_corpus_begins_with_the_shorter_one() -> None:
    """More series are added, none is changed."""
    assert np.array_equal(corpus(7, 5, 300).values, corpus(7, 20, 300).values[:5])


def test_it_holds_every_kind_of_sensor() -> None:
    """Cycles, steady noise, quantised and saturated instruments, machines that stand still."""
    drawn = corpus(3, 400, 1024)
    values = drawn.values
    assert bool(np.isfinite(values).all())
    still = (np.diff(values) == 0.0).mean(axis=1)
    at_limit = (values == values.max(axis=1, keepdims=True)).mean(axis=1)
    levels = np.array([np.unique(series).size for series in values])
    assert bool((drawn.period > 0).any() and (drawn.period == 0).any())
    assert bool((still > 0.5).any() and (still == 0.0).any())
    assert bool((at_limit > 0.1).any())
    assert bool((levels < 50).any() and (levels == 1024).any())
