"""Realised over promised: the interval is that of a Poisson count."""

import pytest

from tests.benchmarks.detection.normal import poisson_interval


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 3.69), (1, 0.025, 5.57), (10, 4.80, 18.39), (100, 81.4, 121.6)],
)
def test_the_interval_is_close_to_the_exact_one(count: int, low: float, high: float) -> None:
    found = poisson_interval(count)
    assert pytest.approx((low, high), rel=0.03, abs=0.05) == found
