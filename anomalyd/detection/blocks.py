"""A channel's past at many resolutions: rings of block means, each block four of the finer ones.

Level 0 holds readings, level k means of 4^k of them, so that heating in minutes and wear in weeks
both fit into a window of the same length. O(1) a reading. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Floats, Rows

LEVELS = 9
"""at a reading a second the coarsest window is seven weeks long"""
FACTOR = 4


class Blocks:
    """Rings of shape (capacity, LEVELS, length)."""

    def __init__(self, capacity: int, length: int) -> None:
        self._length = length
        # Zeros are not touched until used: channels without limits cost no memory.
        self._means = np.zeros((capacity, LEVELS, length))
        self._count = np.zeros((capacity, LEVELS), dtype=np.int64)

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._count[rows] = 0

    def interrupt(self, rows: Rows, readings: Floats) -> None:
        """After a silence of so many `readings` (B,), begin anew each level whose blocks are
        shorter than that: its steps in time would not be equal."""
        span = float(FACTOR) ** np.arange(LEVELS)
        self._count[rows] = np.where(readings[:, None] > span, 0, self._count[rows])

    def append(self, rows: Rows, values: Floats) -> Iterator[tuple[int, Rows]]:
        """Add one reading to each channel in `rows` (unique). Yields each level with the rows in
        which a block of the next one is complete: once in `FACTOR` blocks."""
        for level in range(LEVELS):
            count = self._count[rows, level]
            self._means[rows, level, count % self._length] = values
            self._count[rows, level] = count + 1
            rows = rows[(count + 1) % FACTOR == 0]
            if not rows.size:
                return
            yield level, rows
            values = self._newest(rows, level, FACTOR).mean(axis=1)

    def windows(self, rows: Rows, level: int) -> tuple[Floats, NDArray[np.int64]]:
        """(B, length) block means, oldest first, and (B,) how many of them, the newest, count."""
        windows = self._newest(rows, level, self._length)
        return windows, np.minimum(self._count[rows, level], self._length)

    def _newest(self, rows: Rows, level: int, blocks: int) -> Floats:
        at = self._count[rows, level][:, None] - blocks + np.arange(blocks)
        newest: Floats = self._means[rows[:, None], level, at % self._length]
        return newest
