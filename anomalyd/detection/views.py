"""The views: what is looked at to tell a channel's faults, from its forecasts and its asset.

A spike, more noise than usual, a level that has left its range, a day unlike others, and a channel
that no longer moves with its machine show in different figures. All stay in channel units: a change
of the predicted spread can't explain a fault away. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from anomalyd.detection.reading import Flags, Floats, Rows

_NOISE_READINGS, _LEVEL_READINGS, _BASELINE_READINGS, _UNUSUAL_READINGS = 16.0, 8.0, 600.0, 12.0


class View(IntEnum):
    """In the order of the arrays."""

    RESIDUAL = 0
    """|value - expected|"""
    NOISE = 1
    """its running mean over 16 readings"""
    LEVEL = 2
    """distance of the running level from the long-term one"""
    AHEAD = 3
    """distance from what was forecast 24 readings before"""
    UNUSUAL = 4
    """distance from what is usual at this time of the day"""
    UNUSUAL_MEAN = 5
    """|running mean of it, over 12 readings|"""
    RELATION = 6
    """distance from what the other channels of the asset say"""


class Expected(IntEnum):
    """Rows of what a predictor says of the next value."""

    NEXT = 0
    """from the value before"""
    AHEAD = 1
    """said 24 readings before"""
    USUAL = 2
    """at this time of the day"""


@dataclass(frozen=True, slots=True)
class Seen:
    """The views of one reading of each of B channels; arrays (B,) unless said otherwise."""

    views: Floats
    """(views, B) >= 0, channel units; relation in standard deviations, NaN while unknown"""
    noise: Floats
    level: Floats
    unusual: Floats
    baseline: Floats
    """the long-term level, before this reading"""
    known: Flags
    """there was an expectation to compare with"""


class Views:
    """Running figures of `capacity` channels."""

    def __init__(self, capacity: int) -> None:
        self._count = np.zeros(capacity)
        self._noise, self._level, self._unusual, self._baseline = np.zeros((4, capacity))

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        for column in (self._count, self._noise, self._level, self._unusual, self._baseline):
            column[rows] = 0.0

    def count(self, rows: Rows) -> Floats:
        """(B,) readings taken of each channel."""
        return self._count[rows].copy()

    def noise(self, rows: Rows) -> Floats:
        """(B,) running mean of the residual's size."""
        return np.asarray(self._noise[rows])

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

        `expected`: (expected, B) NaN where there is no prediction. `related`: (B,) residual
        against the asset, NaN where there is none. `settling`: (B,) the channel has just come back
        from a gap. `largest`: (views, B) each view's threshold, or infinity: one outlier may not
        fill the running figures, so what exceeds it counts as it.
        """
        known = ~np.isnan(expected[Expected.NEXT]) & ~settling
        missed = np.where(known, values - expected[Expected.NEXT], 0.0)
        band, wide = largest[View.RESIDUAL], largest[View.UNUSUAL]
        tamed = np.clip(missed, -band, band)
        noise, level, baseline = self._noise[rows], self._level[rows], self._baseline[rows]
        noise = noise + np.where(known, np.abs(tamed) - noise, 0.0) / _NOISE_READINGS
        level = level + (values - missed + tamed - level) / _LEVEL_READINGS
        level = np.where(known, level, values)
        off_level = np.where(known, np.abs(level - baseline), 0.0)
        off_usual = np.where(known, values - expected[Expected.USUAL], 0.0)
        unusual = self._unusual[rows]
        unusual = unusual + (np.clip(off_usual, -wide, wide) - unusual) / _UNUSUAL_READINGS
        ahead = np.where(known, np.abs(values - expected[Expected.AHEAD]), np.nan)
        views = np.stack(
            [
                np.abs(missed),
                noise,
                off_level,
                ahead,
                np.abs(off_usual),
                np.abs(unusual),
                np.abs(related),
            ]
        )
        return Seen(views, noise, level, unusual, baseline, known)

    def learn(self, rows: Rows, values: Floats, seen: Seen, learns: Flags, spared: Flags) -> None:
        """Take what was seen; the long-term level follows only where `learns`, the running figures
        where not `spared`."""
        count = self._count[rows]
        rate = np.maximum(1.0 / _BASELINE_READINGS, 1.0 / (count + 1.0))
        followed = seen.baseline + rate * (values - seen.baseline)
        self._baseline[rows] = np.where(learns, followed, seen.baseline)
        for column, figures in (
            (self._noise, seen.noise),
            (self._level, seen.level),
            (self._unusual, seen.unusual),
        ):
            column[rows] = np.where(spared, column[rows], figures)
        self._count[rows] = count + 1.0
