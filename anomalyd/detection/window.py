"""The rolling windows: the last readings of every channel, and what was expected of them.

The source of truth of a channel's recent past, and what alerts show of it. Of a reading's time, the
seconds since the one before are kept, in single precision: half the memory, and as exact as seconds
since 1970 are in double precision for steps of up to 4 s; across a silence of a day, what was
before it may be off by 4 ms. The newest time is exact. Owned by the pipeline thread: no locks.
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
        self._since = np.zeros((capacity, length), dtype=np.float32)
        self._newest = np.zeros(capacity)
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
        slots = (count[:, None] - self.length + np.arange(self.length)) % self.length
        at = rows[:, None], slots
        filled = np.clip(count - 1, 0, self.length - 1)
        times = _times(self._newest[rows], self._since[at])
        return times[:, :-1], self._values[at][:, :-1], filled

    def append(
        self, rows: Rows, times: Floats, values: Floats, expected: Floats, replace: Flags
    ) -> None:
        """Add one reading to each channel in `rows` (unique); it takes the newest one's place
        where `replace`."""
        count = self._count[rows] + ~replace
        at = rows, (count - 1) % self.length
        since = times - self._newest[rows]
        if np.count_nonzero(replace):
            since += np.where(replace, self._since[at], 0.0)
        self._since[at] = since
        self._newest[rows] = times
        self._values[at] = values
        self._expected[at] = expected
        self._count[rows] = count

    def recent(self, row: int, readings: int) -> Recent:
        """The last `readings` of one channel, or as many as there are."""
        count = int(self._count[row])
        kept = min(count, readings, self.length)
        slots = np.arange(count - kept, count) % self.length
        return Recent(
            _times(self._newest[row : row + 1], self._since[row : row + 1, slots])[0],
            self._values[row, slots],
            self._expected[row, slots].astype(np.float64),
        )


def _times(newest: Floats, since: NDArray[np.float32]) -> Floats:
    """(B, n) times of readings, oldest first, the last of them `newest` (B,); `since`: (B, n)
    seconds from the one before each."""
    back = np.zeros(since.shape)
    np.cumsum(since[:, :0:-1], axis=1, dtype=np.float64, out=back[:, 1:])
    return newest[:, None] - back[:, ::-1]
