"""Whose clock is wrong: a sensor's that is ahead of all others, or the host's that is behind them.

A reading from the future would make every later one of its channel late, so it is rejected; but a
host whose clock was set back, or that starts before its time server answers, would reject the whole
plant. What most channels say is right. Owned by the intake, on the pipeline's thread: no locks.
"""

from __future__ import annotations

import numpy as np

from anomalyd.detection.reading import Flags, Floats, Rows

_QUORUM = 3  # channels; one sensor's word is not enough against the host's clock


class Skew:
    """How far the times of `capacity` channels run ahead of the host's clock."""

    def __init__(self, capacity: int, max_s: float) -> None:
        self.max_s = max_s
        """a reading that is further ahead is from the future"""
        self.behind_s = 0.0
        """by so much the host's clock is behind most channels; 0 where that is no more than
        `max_s`"""
        self._ahead = np.full(capacity, np.nan)

    def judge(self, rows: Rows, ahead_s: Floats) -> Flags:
        """(B,) readings whose times, so far ahead of the host's clock, are from the future; NaN,
        and 0 for those without a time of their own, say nothing."""
        told = (ahead_s != 0.0) & ~np.isnan(ahead_s)
        self._ahead[rows[told]] = ahead_s[told]
        future: Flags = ahead_s > self.behind_s + self.max_s
        if future.any():
            self.look()
            future = ahead_s > self.behind_s + self.max_s
        return future

    def look(self) -> None:
        """Hold the host's clock against what the channels said last."""
        known = self._ahead[~np.isnan(self._ahead)]
        behind_s = self._typical(known)
        if known.size >= _QUORUM or behind_s < self.behind_s:
            self.behind_s = behind_s

    def shift(self, jump_s: float) -> None:
        """The host's clock was set; the channels' were not."""
        self._ahead -= jump_s
        self.behind_s = self._typical(self._ahead[~np.isnan(self._ahead)])

    def told(self, rows: Rows) -> Floats:
        """(B,) what each channel said last; NaN: nothing."""
        return self._ahead[rows]

    def recall(self, rows: Rows, ahead_s: Floats) -> None:
        """What `told` said before a restart: who speaks first after it overrules nobody."""
        self._ahead[rows] = ahead_s
        self.behind_s = self._typical(self._ahead[~np.isnan(self._ahead)])

    def forget(self, row: int) -> None:
        """The channel is retired."""
        self._ahead[row] = np.nan

    def _typical(self, known: Floats) -> float:
        typical_s = float(np.median(known)) if known.size else 0.0
        return typical_s if typical_s > self.max_s else 0.0
