"""The views: what is looked at to tell a channel's faults, from its forecasts and its asset.

A spike, more noise than usual, a level that has left its range, a day unlike others, and a channel
that no longer moves with its machine show in different figures. All stay in channel units: a change
of the predicted spread can't explain a fault away. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

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


# Plain numbers: Python 3.11 looks members of an enumeration up by a call, many times a round.
_NEXT, _AHEAD, _USUAL = map(int, Expected)
_RESIDUAL, _UNUSUAL = int(View.RESIDUAL), int(View.UNUSUAL)


class Seen(NamedTuple):
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
        unknown = np.isnan(expected[_NEXT]) | settling
        missed, off_usual = values - expected[_NEXT], values - expected[_USUAL]
        ahead = np.abs(values - expected[_AHEAD])
        missed[unknown] = off_usual[unknown] = 0.0
        ahead[unknown] = np.nan
        band, wide = largest[_RESIDUAL], largest[_UNUSUAL]
        tamed = np.minimum(np.maximum(missed, -band), band)
        noise, level, baseline = self._noise[rows], self._level[rows], self._baseline[rows]
        change = np.abs(tamed) - noise
        change[unknown] = 0.0
        noise = noise + change / _NOISE_READINGS
        level = level + (values - missed + tamed - level) / _LEVEL_READINGS
        np.copyto(level, values, where=unknown)
        off_level = np.abs(level - baseline)
        off_level[unknown] = 0.0
        unusual = self._unusual[rows]
        tamed = np.minimum(np.maximum(off_usual, -wide), wide)
        unusual = unusual + (tamed - unusual) / _UNUSUAL_READINGS
        sizes = missed, noise, off_level, ahead, off_usual, unusual, related
        return Seen(np.abs(np.array(sizes)), noise, level, unusual, baseline, ~unknown)

    def learn(self, rows: Rows, values: Floats, seen: Seen, learns: Flags, spared: Flags) -> None:
        """Take what was seen; the long-term level follows only where `learns`, the running figures
        where not `spared`."""
        count = self._count[rows]
        rate = np.maximum(1.0 / _BASELINE_READINGS, 1.0 / (count + 1.0))
        all_in = not np.count_nonzero(spared)
        followed = seen.baseline + rate * (values - seen.baseline)
        self._baseline[rows] = np.where(learns, followed, seen.baseline)
        for column, figures in (
            (self._noise, seen.noise),
            (self._level, seen.level),
            (self._unusual, seen.unusual),
        ):
            column[rows] = figures if all_in else np.where(spared, column[rows], figures)
        self._count[rows] = count + 1.0
