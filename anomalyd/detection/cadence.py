"""When channels speak: late readings, gaps, steps of a fixed grid, and the usual interval.

Judges only the times in the readings; the host's clock plays no part. Owned by the pipeline
thread: no locks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anomalyd.detection.reading import Flags, Floats, Rows

# After a gap the world may have moved on: so many readings are looked at but not scored.
_SETTLING_READINGS = 3
_INTERVAL_READINGS = 50.0


class Beat(NamedTuple):
    """How each of B readings stands in time."""

    late: Flags
    """not newer than the channel's last: leave it out"""
    step: Flags
    """begins a new step; otherwise it belongs to the same bin of the grid as the last"""
    gap: Flags
    """the silence before it was no ordinary step"""


class Cadence:
    """Clock columns of `capacity` channels."""

    def __init__(self, capacity: int, gap_intervals: float) -> None:
        self._gap_intervals = gap_intervals
        self._holds = np.zeros(capacity, dtype=np.bool_)
        self._last = np.zeros(capacity)
        self._grid = np.zeros(capacity)  # 0 = event-driven
        self._interval = np.zeros(capacity)
        self._steps = np.zeros(capacity)
        self._settling = np.zeros(capacity, dtype=np.int8)
        self._after_gap = np.zeros(capacity, dtype=np.bool_)

    def reset(self, rows: Rows, grid_s: Floats | float, holds: bool = False) -> None:
        """Begin the channels in `rows` anew, on a grid of `grid_s` seconds (0 = event-driven). Of
        those that hold, silence means that the value does: it is no gap."""
        self._holds[rows] = holds
        self._steps[rows] = 0.0
        self._settling[rows] = 0
        self._after_gap[rows] = False
        self._interval[rows] = grid_s
        self._grid[rows] = grid_s

    def interval_s(self, rows: Rows) -> Floats:
        """(B,) usual time between steps, in seconds; 1 where it isn't known yet."""
        interval = self._interval[rows]
        return np.where(interval > 0.0, interval, 1.0)

    def longest_silence_s(self, rows: Rows) -> Floats:
        """(B,) silence that is a gap, in seconds; infinite where the pace isn't known yet."""
        known = (self._steps[rows] > 2.0) & (self._interval[rows] > 0.0)
        return np.where(known, self._gap_intervals * self._interval[rows], np.inf)

    def last_s(self, rows: Rows) -> Floats:
        """(B,) time of the newest reading."""
        return self._last[rows]

    def after_gap(self, rows: Rows) -> Flags:
        """(B,) the newest reading came after a gap."""
        return self._after_gap[rows]

    def settling(self, rows: Rows) -> Flags:
        """(B,) the channel has just come back from a gap and can't be scored yet."""
        return self._settling[rows] > 0

    def gaps(self, rows: Rows, since_s: Floats) -> Flags:
        """(B,) such a time between two readings of each channel is no ordinary step."""
        return since_s > self._gap_intervals * self.interval_s(rows)

    def seed(self, rows: Rows, times: Floats) -> None:
        """A value of before is known of channels that have not spoken yet."""
        self._last[rows] = times

    def shift(self, rows: Rows, jump_s: float) -> None:
        """The clock that these channels are timed by was set."""
        self._last[rows] += jump_s

    def judge(self, rows: Rows, times: Floats) -> Beat:
        """Look at one reading of each channel in `rows` (unique); changes nothing."""
        steps = self._steps[rows]
        known = steps > 0.0
        last, grid, interval = self._last[rows], self._grid[rows], self._interval[rows]
        since = times - last
        step = ~known
        if np.count_nonzero(grid):
            with np.errstate(divide="ignore", invalid="ignore"):
                step |= np.floor(times / grid) != np.floor(last / grid)
            step |= grid == 0.0
        else:
            step[:] = True
        gap = (steps > 2.0) & (since > self._gap_intervals * interval) & ~self._holds[rows]
        return Beat(known & (since <= 0.0), step, gap)

    def learn(self, rows: Rows, times: Floats, beat: Beat) -> None:
        """Take readings that were judged and are not late."""
        steps = self._steps[rows]
        since = times - self._last[rows]
        learns = beat.step & ~beat.gap & (steps > 0.0) & (self._grid[rows] == 0.0)
        interval = self._interval[rows]
        rate = np.maximum(1.0 / _INTERVAL_READINGS, 1.0 / np.maximum(steps, 1.0))
        usual = np.where(learns, interval + rate * (since - interval), interval)
        # One gap is a gap, and so are two, or some with ordinary steps between: a daemon that is
        # killed again and again hears no more. Three right behind each other are how this channel
        # speaks now: what was queued and came in a burst would make every later reading a gap.
        waits = self._settling[rows]
        settling = np.maximum(waits - beat.step, 0)
        if np.count_nonzero(beat.gap):
            usual = np.where(beat.gap & (waits > _SETTLING_READINGS), since, usual)
            anew = _SETTLING_READINGS + (waits >= _SETTLING_READINGS)
            settling = np.where(beat.gap, anew, settling)
        self._interval[rows] = usual
        self._steps[rows] = steps + beat.step
        self._last[rows] = times
        self._settling[rows] = settling
        self._after_gap[rows] = np.where(beat.step, beat.gap, self._after_gap[rows])
