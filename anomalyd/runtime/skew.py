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
        self._before = self._ahead.copy()
        """what was told before the last start"""

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
        words = self._words()
        behind_s = self._typical(words)
        if words.size >= _QUORUM or behind_s < self.behind_s:
            self.behind_s = behind_s

    def shift(self, jump_s: float) -> None:
        """The host's clock was set; the channels' were not."""
        self._ahead -= jump_s
        self._before -= jump_s
        words = self._words()
        few = 0 < words.size < _QUORUM
        self.behind_s = self._behind(self.behind_s - jump_s) if few else self._typical(words)

    def told(self, rows: Rows) -> Floats:
        """(B,) what each channel said last; NaN: nothing."""
        return np.where(np.isnan(self._ahead[rows]), self._before[rows], self._ahead[rows])

    def recall(self, rows: Rows, ahead_s: Floats, behind_s: float) -> None:
        """What `told` and `behind_s` said before a restart: who speaks first after it overrules
        nobody."""
        self._before[rows] = ahead_s
        words = self._words()
        self.behind_s = self._typical(words) if words.size >= _QUORUM else behind_s

    def forget(self, row: int) -> None:
        """The channel is retired."""
        self._ahead[row] = self._before[row] = np.nan

    def _words(self) -> Floats:
        """What is known of each channel. Who has not spoken since the start would say what it said
        before it, but for the host's clock, which may have been set meanwhile: by what moves those
        who have."""
        heard = ~np.isnan(self._ahead)
        moved = (self._ahead - self._before)[heard]
        moved = moved[~np.isnan(moved)]
        jump_s = float(np.median(moved)) if moved.size >= _QUORUM else 0.0
        words = np.where(heard, self._ahead, self._before + jump_s)
        return words[~np.isnan(words)]

    def _typical(self, known: Floats) -> float:
        return self._behind(float(np.median(known))) if known.size else 0.0

    def _behind(self, behind_s: float) -> float:
        return behind_s if behind_s > self.max_s else 0.0
