"""Readings that come out of order, held back and handed on in order.

A stream may have a tolerance: its readings wait until its newest one is that much newer, and go on
sorted by time; so whatever order they came in, within the tolerance, they are scored as if they had
come sorted. Where a stream says nothing more, its own time stands still, and the listener's clock
lets them go. What comes later than that is handed on behind what went before it: the cadence finds
it late. Owned by the pipeline thread, or by replay: no locks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.channels import ChannelTable
from anomalyd.detection.reading import Flags, Floats, Readings, Rows

Numbers = NDArray[np.int64]
MOST_HELD = 1_000_000
"""readings; some 50 MB"""
_KEPT = 0.875  # of them, where there are more: they aren't sorted for each one
_UNKNOWN = -2


class Reorder:
    """What is held back, of all streams."""

    def __init__(
        self,
        table: ChannelTable,
        tolerance_s: Sequence[float],
        together: bool = False,
        most: int = MOST_HELD,
    ) -> None:
        """`tolerance_s`: of each stream, 0: its readings go on at once. `together`: streams wait
        for each other, as those of a file, whose readings are the only clock."""
        self.hurried = 0
        """readings that went on early, because there were too many"""
        self._table = table
        self._stream = np.full(table.capacity, _UNKNOWN, dtype=np.int32)
        # The last one is for the channels of no stream, whose stream is -1.
        self._tolerance = np.array([*tolerance_s, 0.0])
        self._newest = np.full(self._tolerance.size, -np.inf)
        self._heard = np.full(self._tolerance.size, -np.inf)
        self._together, self._most = together, most
        self._rows: Rows = np.empty(0, dtype=np.intp)
        self._times, self._values, self._keys = (np.empty(0) for _ in range(3))
        self._numbers: Numbers = np.empty(0, dtype=np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._rows.size

    def held(self) -> list[tuple[float, Readings]]:
        """Those that wait, of each stream in order of arrival, and when it said something last, on
        the listener's clock; who spoke first comes first, so that they can be taken again."""
        streams = self._streams(self._rows)
        waiting = sorted((float(self._heard[each]), int(each)) for each in np.unique(streams))
        every = Readings(self._rows, self._times, self._values)
        return [(heard_s, every.take(streams == stream)) for heard_s, stream in waiting]

    def shift(self, jump_s: float) -> None:
        """The listener's clock was set."""
        self._heard += jump_s

    def order(self, readings: Readings, now_s: Floats | float) -> tuple[Readings, Numbers]:
        """Take readings that arrived at `now_s` on the listener's clock, a number or (B,), and hand
        on those whose time has come, and (R,) which of all that were taken they are."""
        if len(readings):
            self._take(readings, now_s)
        streams = self._streams(self._rows)
        ready = self._keys <= (self._newest - self._tolerance)[streams]
        newest_s = float(np.max(now_s, initial=-np.inf))
        ready |= (newest_s - self._heard >= self._tolerance)[streams]
        if self._together:
            # By then every stream has let go of what is as old: its newest reading came within
            # one tolerance of the clock, was late by no more than another, and lets it go a third
            # behind.
            ready &= self._keys <= self._newest.max() - 3.0 * self._tolerance.max()
        if self._rows.size - np.count_nonzero(ready) > self._most:
            ready |= self._oldest()
        return self._hand_on(ready)

    def release(self, rows: Rows) -> Readings:
        """Hand on what is held of these channels: they will say nothing more."""
        return self._hand_on(np.isin(self._rows, rows))[0]

    def flush(self) -> tuple[Readings, Numbers]:
        """Hand on everything."""
        return self._hand_on(np.ones(self._rows.size, dtype=np.bool_))

    def forget(self, row: int) -> None:
        """The channel is retired, and its row may become another's."""
        self._hand_on(self._rows == row)
        self._stream[row] = _UNKNOWN

    def _take(self, readings: Readings, now_s: Floats | float) -> None:
        streams, times = self._streams(readings.rows), readings.times
        # What is later than its tolerance goes where it would have gone at the latest.
        newest = np.empty(times.size)
        for stream in np.unique(streams):
            of = streams == stream
            newest[of] = np.maximum(np.maximum.accumulate(times[of]), self._newest[stream])
            self._newest[stream] = newest[of][-1]
        self._heard[streams] = now_s
        keys = np.maximum(times, newest - self._tolerance[streams])
        numbers = self._count + np.arange(times.size)
        self._count += times.size
        self._rows = np.concatenate((self._rows, readings.rows))
        self._times = np.concatenate((self._times, times))
        self._values = np.concatenate((self._values, readings.values))
        self._keys = np.concatenate((self._keys, keys))
        self._numbers = np.concatenate((self._numbers, numbers))

    def _streams(self, rows: Rows) -> NDArray[np.int32]:
        streams = self._stream[rows]
        if (streams == _UNKNOWN).any():
            new = np.unique(rows[streams == _UNKNOWN])
            self._stream[new] = [self._table[row].stream for row in new.tolist()]
            streams = self._stream[rows]
        return streams

    def _oldest(self) -> Flags:
        """So many that enough of the others remain."""
        count = self._rows.size - int(_KEPT * self._most)
        self.hurried += count
        oldest = np.zeros(self._rows.size, dtype=np.bool_)
        oldest[np.argsort(self._keys, kind="stable")[:count]] = True
        return oldest

    def _hand_on(self, chosen: Flags) -> tuple[Readings, Numbers]:
        rows, keys = self._rows[chosen], self._keys[chosen]
        # At the same time the order of the rows holds, which doesn't depend on that of arrival.
        tied = np.where(self._tolerance[self._streams(rows)] > 0.0, rows, -1)
        order = np.lexsort((tied, keys))
        readings = Readings(rows, self._times[chosen], self._values[chosen]).take(order)
        numbers = self._numbers[chosen][order]
        kept = ~chosen
        self._rows, self._times, self._values = (
            self._rows[kept],
            self._times[kept],
            self._values[kept],
        )
        self._keys, self._numbers = self._keys[kept], self._numbers[kept]
        return readings, numbers
