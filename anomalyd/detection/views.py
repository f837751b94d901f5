"""The views: what is looked at to tell a channel's faults, from its residual and its asset.

A spike, more noise than usual, a level that has left its range, and a channel that no longer moves
with its machine show in different figures. All stay in channel units: a change of the predicted
spread can't explain a fault away. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from anomalyd.detection.reading import Flags, Floats, Rows

_NOISE_READINGS, _LEVEL_READINGS, _BASELINE_READINGS = 16.0, 8.0, 600.0


class View(IntEnum):
    """In the order of the arrays."""

    RESIDUAL = 0
    """|value - expected|"""
    NOISE = 1
    """its running mean over 16 readings"""
    LEVEL = 2
    """distance of the running level from the long-term one"""
    RELATION = 3
    """distance from what the other channels of the asset say"""


@dataclass(frozen=True, slots=True)
class Seen:
    """The views of one reading of each of B channels; arrays (B,) unless said otherwise."""

    views: Floats
    """(views, B) >= 0, channel units; relation in standard deviations, NaN while unknown"""
    noise: Floats
    level: Floats
    baseline: Floats
    """the long-term level, before this reading"""
    known: Flags
    """there was an expectation to compare with"""


class Views:
    """Running figures of `capacity` channels."""

    def __init__(self, capacity: int) -> None:
        self._count = np.zeros(capacity)
        self._noise, self._level, self._baseline = (np.zeros(capacity) for _ in range(3))

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        for column in (self._count, self._noise, self._level, self._baseline):
            column[rows] = 0.0

    def count(self, rows: Rows) -> Floats:
        """(B,) readings taken of each channel."""
        return self._count[rows].copy()

    def look(
        self,
        rows: Rows,
        values: Floats,
        expected: Floats,
        related: Floats,
        settling: Flags,
        largest: Floats,
    ) -> Seen:
        """What one reading of each channel in `rows` (unique) shows; changes nothing.

        `expected`: (B,) NaN where there is no prediction. `related`: (B,) residual against the
        asset, NaN where there is none. `settling`: (B,) the channel has just come back from a gap.
        `largest`: (B,) the residual's threshold, or infinity: one outlier may not fill the running
        figures, so what exceeds it counts as it.
        """
        known = ~np.isnan(expected) & ~settling
        missed = np.where(known, values - expected, 0.0)
        tamed = np.clip(missed, -largest, largest)
        noise, level, baseline = self._noise[rows], self._level[rows], self._baseline[rows]
        noise = noise + np.where(known, np.abs(tamed) - noise, 0.0) / _NOISE_READINGS
        level = level + (values - missed + tamed - level) / _LEVEL_READINGS
        level = np.where(known, level, values)
        off_level = np.where(known, np.abs(level - baseline), 0.0)
        views = np.stack([np.abs(missed), noise, off_level, np.abs(related)])
        return Seen(views, noise, level, baseline, known)

    def learn(self, rows: Rows, values: Floats, seen: Seen, learns: Flags, spared: Flags) -> None:
        """Take what was seen; the long-term level follows only where `learns`, the running figures
        where not `spared`."""
        count = self._count[rows]
        rate = np.maximum(1.0 / _BASELINE_READINGS, 1.0 / (count + 1.0))
        followed = seen.baseline + rate * (values - seen.baseline)
        self._baseline[rows] = np.where(learns, followed, seen.baseline)
        self._noise[rows] = np.where(spared, self._noise[rows], seen.noise)
        self._level[rows] = np.where(spared, self._level[rows], seen.level)
        self._count[rows] = count + 1.0
