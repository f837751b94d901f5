"""The host's clock, followed steadily: small corrections are taken slowly, jumps are told.

Used on the pipeline's thread alone. A reading without a time of its own gets its arrival on this
clock. Where the host's clock is set (NTP after a start without one, somebody's hand), the jump is
handed on, so that what is remembered of those channels moves along with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_JUMP_S = 0.5
_FOLLOW = 0.01  # of what is off, at every look


class Clock:
    """Seconds since 1970 out of monotonic seconds: `offset_s` is what to add to those."""

    def __init__(
        self,
        wall_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_s, self._steady_s = wall_s, steady_s
        self.offset_s = wall_s() - steady_s()

    def now_s(self) -> float:
        """Seconds since 1970."""
        return self._steady_s() + self.offset_s

    def follow(self) -> float:
        """Look at the host's clock; by how many seconds it has jumped, mostly 0."""
        off_s = self._wall_s() - self._steady_s() - self.offset_s
        if abs(off_s) < _JUMP_S:
            self.offset_s += _FOLLOW * off_s
            return 0.0
        self.offset_s += off_s
        return off_s
