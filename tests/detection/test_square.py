"""The squares' rule: matrices come back as they went in, and narrow ones touch no more than their
corner."""

import numpy as np
import pytest

from anomalyd.detection.square import FEW, MEMBERS, Squares

CAPACITY = 5
ASSETS = np.array([3, 1])


@pytest.mark.parametrize("width", [FEW, MEMBERS])
def test_what_is_put_is_taken(width: int) -> None:
    """Every figure has its place, whatever the width; the other assets keep their zeros."""
    squares = Squares(CAPACITY, np.float64)
    figures = np.arange(1.0, 1.0 + ASSETS.size * width * width).reshape(ASSETS.size, width, width)
    squares.put(ASSETS, figures)
    assert np.array_equal(figures, squares.take(ASSETS, width))
    diagonals = np.diagonal(figures, axis1=1, axis2=2)
    assert np.array_equal(diagonals, squares.diagonals(ASSETS, width))
    assert not squares.take(np.array([0, 2, 4]), MEMBERS).any()


def test_a_narrow_matrix_is_the_corner_of_a_wide_one() -> None:
    """An asset that gets more members than the corner has seats keeps what is known."""
    squares = Squares(CAPACITY, np.float32)
    squares.put(ASSETS, np.ones((ASSETS.size, FEW, FEW)))
    whole = squares.take(ASSETS, MEMBERS)
    assert FEW * FEW * ASSETS.size == whole.sum()
    assert whole[:, :FEW, :FEW].all()
    assert not squares.parts[1].any()


def test_a_reset_leaves_zeros() -> None:
    """Of these assets alone."""
    squares = Squares(CAPACITY, np.float64)
    squares.put(np.arange(CAPACITY), np.ones((CAPACITY, MEMBERS, MEMBERS)))
    squares.reset(ASSETS)
    assert not squares.take(ASSETS, MEMBERS).any()
    assert squares.take(np.array([0, 2, 4]), MEMBERS).all()
