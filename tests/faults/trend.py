"""Whether a figure that was sampled over time grows: Sen's slope of its means over blocks.

Samples a few seconds apart are far from independent (a retraining lasts minutes), so they are
averaged over blocks as long as what repeats; those are taken as independent. The slope is the
median of the slopes of all pairs of blocks, its interval follows from Kendall's variance: P. K.
Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968), section 3.
No normal distribution is assumed, and one odd block moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_Z95 = 1.959964


class Slope(NamedTuple):
    """Per unit of time, with its 95 % interval."""

    median: float
    low: float
    high: float
    blocks: int

    @property
    def grows(self) -> bool:
        """It is above 0, and not by chance."""
        return self.low > 0.0

    @property
    def verdict(self) -> str:
        if self.grows:
            return "grows"
        return "falls" if self.high < 0.0 else "indistinguishable from 0"


def slope(
    times: NDArray[np.float64],
    values: NDArray[np.float64],
    blocks: int,
    middle: Callable[[NDArray[np.float64]], np.float64] = np.mean,
) -> Slope:
    """Of samples (N,) at `times` (N,), rising, cut into so many blocks of equal duration; `middle`:
    what stands for a block."""
    edges = np.linspace(times[0], times[-1], blocks + 1)
    places = np.clip(np.searchsorted(edges, times, "right") - 1, 0, blocks - 1)
    used = np.unique(places)
    at = np.array([times[places == each].mean() for each in used])
    means = np.array([middle(values[places == each]) for each in used])
    first, second = np.triu_indices(used.size, 1)
    found = np.sort((means[second] - means[first]) / (at[second] - at[first]))
    n = used.size
    spread = _Z95 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18.0)
    low = max(int(np.floor((found.size - spread) / 2.0)), 0)
    high = min(int(np.ceil((found.size + spread) / 2.0)), found.size - 1)
    return Slope(float(np.median(found)), float(found[low]), float(found[high]), n)
