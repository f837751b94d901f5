"""The tail of a Poisson distribution: what so many alerts say about a promise."""

import math

import pytest

from anomalyd.detection.poisson import poisson_tail


@pytest.mark.parametrize(
    ("count", "mean", "expected"),
    [
        (0, 3.0, 1.0),
        (1, 3.0, 1.0 - math.exp(-3.0)),
        (2, 0.5, 1.0 - 1.5 * math.exp(-0.5)),
        (0, 0.0, 1.0),
        (1, 0.0, 0.0),
    ],
)
def test_the_tail_is_what_is_left(count: int, mean: float, expected: float) -> None:
    """Of so many or more where so many are expected; where none are, one is impossible."""
    assert pytest.approx(expected, abs=1e-12) == poisson_tail(count, mean)
