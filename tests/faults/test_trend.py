"""Sen's slope over blocks: finds what grows, and nothing in what only wanders."""

import numpy as np

from tests.faults.trend import slope


def test_what_grows_is_found_and_what_stands_is_not() -> None:
    times = np.linspace(0.0, 1.0, 540)
    noise = np.random.default_rng(1).normal(0.0, 1.0, times.size)
    grows, stands = (slope(times, noise + rate * times, 9) for rate in (10.0, 0.0))
    assert grows.grows
    assert grows.low < 10.0 < grows.high
    assert stands.low < 0.0 < stands.high
    assert "indistinguishable from 0" == stands.verdict
    assert "falls" == slope(times, noise - 10.0 * times, 9).verdict


def test_what_repeats_in_every_block_is_no_trend() -> None:
    """A retraining takes memory for a while, every time."""
    times = np.linspace(0.0, 1.0, 900, endpoint=False)
    noise = np.random.default_rng(2).normal(0.0, 0.1, times.size)
    assert not slope(times, noise + 300.0 * (times * 9.0 % 1.0 < 0.3), 9).grows
