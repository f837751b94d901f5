"""Every channel over the whole of a replay, in little: how many readings, the highest score, and
the range of its values in a fixed number of slots of time.

`report.py` owns it, on the caller's thread. It grows with the channels, never with the readings:
when the time no longer fits into the slots, they become twice as long and are merged in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anomalyd.detection.reading import Floats, Rows

SLOTS = 128

_SHORTEST_SLOT_S = 2.0**-10


class Overview:
    """Columns over channels; a row is that of the verdicts."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        """row -> name as the file has it, in the order in which they were found"""
        self.first_s, self.last_s = math.inf, -math.inf
        self.readings = np.zeros(0, dtype=np.int64)
        self.score = np.zeros(0)
        """highest so far, NaN where nothing could be scored"""
        self._low = np.zeros((0, SLOTS))
        self._high = np.zeros((0, SLOTS))
        self._slot_s = _SHORTEST_SLOT_S
        self._start = 0

    def name(self, rows: Rows, channels: Sequence[str]) -> None:
        """Remember what the channels in `rows` (B,) are called."""
        found, first = np.unique(rows, return_index=True)
        for row, index in zip(found.tolist(), first.tolist(), strict=True):
            self.names.setdefault(row, channels[index])
        self._grow(int(found[-1]) + 1)

    def count(self, rows: Rows, scores: Floats) -> None:
        """Take all readings (B,) of named channels; a NaN score says nothing."""
        self.readings += np.bincount(rows, minlength=self.readings.size)
        np.fmax.at(self.score, rows, scores)

    def add(self, rows: Rows, times: Floats, values: Floats) -> None:
        """Take the finite ones (B,) into the slots."""
        self._cover(float(times.min()), float(times.max()))
        slots = np.floor(times / self._slot_s).astype(np.int64) - self._start
        np.fmin.at(self._low.reshape(-1), rows * SLOTS + slots, values)
        np.fmax.at(self._high.reshape(-1), rows * SLOTS + slots, values)

    def shape(self, row: int) -> tuple[Floats, Floats, Floats]:
        """(n,) middles of the slots with readings, in seconds since 1970, lowest and highest."""
        filled = np.flatnonzero(~np.isnan(self._low[row]))
        times = (filled + self._start + 0.5).astype(np.float64) * self._slot_s
        return times, self._low[row, filled], self._high[row, filled]

    def _cover(self, first_s: float, last_s: float) -> None:
        self.first_s, self.last_s = min(first_s, self.first_s), max(last_s, self.last_s)
        doublings, slot_s = 0, self._slot_s
        while self.last_s // slot_s - self.first_s // slot_s >= SLOTS:
            doublings, slot_s = doublings + 1, slot_s * 2
        start = int(self.first_s // slot_s)
        if slot_s == self._slot_s and start == self._start:
            return
        slots = (np.arange(SLOTS) + self._start >> doublings) - start
        self._low = _merged(self._low, slots, np.fmin)
        self._high = _merged(self._high, slots, np.fmax)
        self._slot_s, self._start = slot_s, start

    def _grow(self, rows: int) -> None:
        more = max(rows, 2 * self.readings.size) - self.readings.size
        if rows <= self.readings.size:
            return
        self.readings = np.pad(self.readings, (0, more))
        self.score = np.pad(self.score, (0, more), constant_values=np.nan)
        self._low = np.pad(self._low, ((0, more), (0, 0)), constant_values=np.nan)
        self._high = np.pad(self._high, ((0, more), (0, 0)), constant_values=np.nan)


def _merged(column: Floats, slots: Rows, keep: np.ufunc) -> Floats:
    """`column` (channels, SLOTS) with each slot moved to its new place; those outside are empty."""
    merged = np.full_like(column, np.nan)
    for old in np.flatnonzero((slots >= 0) & (slots < SLOTS)).tolist():
        keep(merged[:, slots[old]], column[:, old], out=merged[:, slots[old]])
    return merged
