"""The courses that the forecaster learns from: reproducible, finite, and in order."""

from __future__ import annotations

import numpy as np

from anomalyd.model.synthetic_trends import trends


def test_the_same_seed_gives_the_same_courses() -> None:
    """And another one others."""
    first, again, other = trends(1, 100, 64, 32), trends(1, 100, 64, 32), trends(2, 100, 64, 32)
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(first.window, other.window)


def test_more_courses_begin_with_the_fewer_ones() -> None:
    """A larger corpus is the smaller one and more."""
    few, many = trends(1, 10, 64, 32), trends(1, 5000, 64, 32)
    np.testing.assert_array_equal(few.window, many.window[:10])


def test_extremes_enclose_each_other_and_only_grow() -> None:
    """Every figure is finite, too."""
    courses = trends(1, 4096, 64, 32)
    assert all(np.isfinite(each).all() for each in courses)
    assert (courses.trough <= courses.peak).all()
    assert (np.diff(courses.peak, axis=1) >= 0).all()
    assert (np.diff(courses.trough, axis=1) <= 0).all()
