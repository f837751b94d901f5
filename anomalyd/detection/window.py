"""The rolling windows: the last readings of every channel, and what was expected of them.

The source of truth of a channel's recent past, and what alerts show of it. Owned by
the pipeline thread: no locks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Flags, Floats, Rows


class Recent(NamedTuple):
    """Readings of one channel, oldest first; each (n,)."""

    times: Floats
    values: Floats
    expected: Floats


class Windows:
    """Rings of shape (capacity, length)."""

    def __init__(self, capacity: int, length: int) -> None:
        self.length = length
        self._times = np.zeros((capacity, length))
        self._values = np.zeros((capacity, length))
        self._expected = np.zeros((capacity, length), dtype=np.float32)
        self._count = np.zeros(capacity, dtype=np.int64)

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._count[rows] = 0

    def count(self, rows: Rows) -> NDArray[np.int64]:
        """(B,) readings appended since the channel began, kept or not."""
        return self._count[rows]

    def last(self, rows: Rows) -> Floats:
        """(B,) the newest value of each channel; 0 where there is none."""
        return self._values[rows, (self._count[rows] - 1) % self.length]

    def before_last(self, rows: Rows) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """(B, length - 1) times and values before the newest, oldest first, and (B,) how many of
        them, the newest, there are."""
        count = self._count[rows]
        slots = (count[:, None] - self.length + np.arange(self.length - 1)) % self.length
        at = rows[:, None], slots
        filled = np.clip(count - 1, 0, self.length - 1)
        return self._times[at], self._values[at], filled

    def append(
        self, rows: Rows, times: Floats, values: Floats, expected: Floats, replace: Flags
    ) -> None:
        """Add one reading to each channel in `rows` (unique); it takes the newest one's place
        where `replace`."""
        count = self._count[rows] + ~replace
        at = rows, (count - 1) % self.length
        self._times[at] = times
        self._values[at] = values
        self._expected[at] = expected
        self._count[rows] = count

    def recent(self, row: int, readings: int) -> Recent:
        """The last `readings` of one channel, or as many as there are."""
        count = int(self._count[row])
        kept = min(count, readings, self.length)
        slots = np.arange(count - kept, count) % self.length
        return Recent(
            self._times[row, slots],
            self._values[row, slots],
            self._expected[row, slots].astype(np.float64),
        )
