"""Whether the broker's in-flight window bounds the rate: how many unacknowledged messages it sends.

With a window of 20 (mosquitto's default) only 20 messages are scored at a time. Batches are then
all of the same size, and gathering more of them is waiting for nothing. The pipeline's thread asks.
"""

from __future__ import annotations

import logging
import math

log = logging.getLogger(__name__)

_SMALLEST = 10
_SURE, _TELL = 5, 100
"""batches of one size in a row"""
_LINGER_S = 0.001
_BUSY_S = 0.02
"""between such batches: where they are further apart, that many channels speak at a time"""


class Window:
    """Watches the sizes of batches."""

    def __init__(self) -> None:
        self._size = 0
        self._alike = 0
        self._since_s = 0.0
        self._told = False

    @property
    def linger_s(self) -> float:
        """Gather messages for no longer than this."""
        return _LINGER_S if self._alike >= _SURE else math.inf

    def look(self, unacknowledged: int, now_s: float) -> None:
        """A batch with so many messages of QoS 1."""
        if unacknowledged != self._size or unacknowledged < _SMALLEST:
            self._size, self._alike, self._since_s = unacknowledged, 0, now_s
            return
        self._alike += 1
        busy = now_s - self._since_s < _BUSY_S * self._alike
        if self._alike >= _TELL and busy and not self._told:
            self._told = True
            log.warning(
                "the broker sends at most %d messages before they are acknowledged, and that "
                "bounds the rate: raise its in-flight window (mosquitto: max_inflight_messages 0)",
                unacknowledged,
            )
