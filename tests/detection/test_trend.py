"""The forecaster's view of a window: scale-free, blind to what isn't filled, right on lines."""

from __future__ import annotations

import numpy as np

from anomalyd.detection.reading import Floats
from anomalyd.detection.trend import look

WIDTH, HORIZON = 64, 32
FULL = np.array([WIDTH])
LINE, PARABOLA = 3, 4


def test_a_line_and_a_parabola_go_on_as_they_are() -> None:
    """Least squares on what has no noise is exact."""
    at: Floats = np.arange(1.0 - WIDTH, HORIZON + 1.0)
    for index, course in ((LINE, 3.0 * at), (PARABOLA, 0.1 * at * at + at)):
        trend = look(course[None, :WIDTH], FULL, HORIZON)
        ahead = trend.unit[0] * np.sinh(trend.ahead[0, :, index].astype(float))
        np.testing.assert_allclose(course[WIDTH:], ahead, rtol=1e-4, atol=1e-3)


def test_scale_and_offset_change_nothing() -> None:
    """Powers of two, so that not a bit differs but by the rounding of sums."""
    window = np.random.default_rng(1).normal(size=(1, WIDTH)).cumsum(axis=1)
    first, other = look(window, FULL, HORIZON), look(8.0 * window + 1024.0, FULL, HORIZON)
    np.testing.assert_allclose(first.features, other.features, atol=1e-5)
    np.testing.assert_allclose(first.ahead, other.ahead, atol=1e-5)
    np.testing.assert_allclose(8.0 * first.unit, other.unit)


def test_what_is_not_filled_is_not_seen() -> None:
    """What a ring held before a channel began is nothing."""
    window = np.random.default_rng(1).normal(size=(1, WIDTH))
    dirty = window.copy()
    dirty[:, :40] = 1e9
    filled = np.array([WIDTH - 40])
    first, other = look(window, filled, HORIZON), look(dirty, filled, HORIZON)
    np.testing.assert_array_equal(first.features, other.features)
    np.testing.assert_array_equal(first.ahead, other.ahead)


def test_a_channel_that_never_moved_has_no_unit() -> None:
    """And no figure in its features is broken."""
    trend = look(np.full((1, WIDTH), 5.0), FULL, HORIZON)
    assert [0.0] == trend.unit.tolist()
    assert np.isfinite(trend.features).all()
    assert np.isfinite(trend.ahead).all()
