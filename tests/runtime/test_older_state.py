"""The rule of older states: what an older version kept in another shape is read, bit for bit."""

from __future__ import annotations

import numpy as np

from anomalyd.detection.square import MEMBERS, Squares
from anomalyd.runtime.older_state import renewed

ASSETS = 3


def test_square_matrices_get_their_corner() -> None:
    """As they were, (assets, MEMBERS, MEMBERS); those of this version stay as they are."""
    whole = np.random.default_rng(1).normal(size=(ASSETS, MEMBERS, MEMBERS))
    found = renewed({"asset/covariance": whole, "asset/mean": whole[:, 0]})
    assert {"asset/covariance.corner", "asset/covariance.rest", "asset/mean"} == set(found)
    squares = Squares(ASSETS, np.float64)
    for part, name in zip(squares.parts, ("corner", "rest"), strict=True):
        part[:] = found[f"asset/covariance.{name}"]
    assert np.array_equal(whole, squares.take(np.arange(ASSETS), MEMBERS))
    assert found == renewed(found)
