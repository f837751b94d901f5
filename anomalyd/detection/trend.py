"""What a window of a channel's past says of where it is going, in units of its own movement.

The forecaster's eyes: features that don't know the channel's scale or offset, and a few plain
extrapolations (lines and a parabola through the newest readings) for the network to weigh. Called
by the forecaster on the pipeline's thread and by training; pure functions of their arguments.

Movements are told as asinh(movement / unit): linear for small ones, logarithmic for large ones.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Floats

Float32s = NDArray[np.float32]

FEATURES = 4
EXTRAPOLATIONS = 6
"""level, three lines, a parabola, and how far ahead"""
_LEVEL_READINGS = 6


class Trend(NamedTuple):
    """B windows as the network sees them."""

    last: Floats
    """(B,) the newest value"""
    unit: Floats
    """(B,) how much the window moves; 0 where it doesn't"""
    features: Float32s
    """(B, W, FEATURES)"""
    ahead: Float32s
    """(B, H, EXTRAPOLATIONS)"""


def look(windows: Floats, filled: NDArray[np.int64], horizon: int) -> Trend:
    """Read windows (B, W), oldest first, of which the newest `filled` (B,) count."""
    width = windows.shape[1]
    there = np.arange(width) >= width - filled[:, None]
    last = windows[:, -1]
    moved = np.where(there, windows - last[:, None], 0.0)
    steps = np.where(there[:, :-1], np.diff(moved, axis=1), 0.0)
    mean = moved.sum(axis=1) / filled
    spread = (np.abs(moved - mean[:, None]) * there).sum(axis=1) / filled
    pace = np.abs(steps).sum(axis=1) / np.maximum(filled - 1, 1)
    unit = spread + pace
    safe, safe_pace = (np.where(each > 0.0, each, 1.0)[:, None] for each in (unit, pace))
    features = np.empty((*windows.shape, FEATURES), dtype=np.float32)
    features[..., 0] = np.arcsinh(moved / safe)
    features[:, 0, 1] = 0.0
    features[:, 1:, 1] = np.arcsinh(steps / safe_pace)
    features[..., 2] = there
    features[..., 3] = np.log(safe_pace / safe)
    return Trend(last, unit, features, _ahead(moved, filled, safe, horizon))


def _ahead(moved: Floats, filled: NDArray[np.int64], unit: Floats, horizon: int) -> Float32s:
    extrapolate = _extrapolations(moved.shape[1], horizon)[filled]
    paths = np.einsum("behw,bw->bhe", extrapolate, moved, optimize=True)
    ahead = np.empty((moved.shape[0], horizon, EXTRAPOLATIONS), dtype=np.float32)
    ahead[..., :-1] = np.arcsinh(paths / unit[..., None])
    ahead[..., -1] = np.arange(1, horizon + 1) / horizon
    return ahead


@lru_cache(maxsize=4)
def _extrapolations(width: int, horizon: int) -> Floats:
    """(W + 1, EXTRAPOLATIONS - 1, H, W): for each number of readings, least squares as one matrix
    from the window to each continuation."""
    maps = np.zeros((width + 1, EXTRAPOLATIONS - 1, horizon, width))
    at, to = np.arange(width) - (width - 1.0), np.arange(1.0, horizon + 1)
    shapes = ((_LEVEL_READINGS, 0), (width // 8, 1), (width // 3, 1), (width, 1), (width, 2))
    for filled in range(1, width + 1):
        for index, (readings, degree) in enumerate(shapes):
            used = min(max(readings, 3), filled)
            fits = min(degree, used - 1)
            powers = np.arange(fits + 1)
            design = at[-used:, None] ** powers
            maps[filled, index, :, -used:] = (to[:, None] ** powers) @ np.linalg.pinv(design)
    return maps
