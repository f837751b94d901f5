"""What is wrong with the daemon itself: each condition begins, is told once, and ends.

A full disk, a locked database or a refusing broker stops nothing. It is a condition: one log line
when it begins, one when it ends, a line on `/-/ready` and a series of `anomalyd_degraded` while it
lasts. Any thread may begin and end one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Conditions:
    """The conditions that hold now, by name; a name is a label's value, so there are few."""

    def __init__(self) -> None:
        # Guards the dictionary: any thread changes it, the http thread copies it.
        self._lock = threading.Lock()
        self._now: dict[str, str] = {}

    def begin(self, name: str, why: str) -> None:
        """`why`: one line for a person. Where the condition holds already, only that is renewed."""
        with self._lock:
            known = name in self._now
            self._now[name] = why
        if not known:
            log.error("degraded condition=%s: %s", name, why, extra={"condition": name})

    def end(self, name: str) -> None:
        """Its cause is gone; where it did not hold, nothing happens."""
        with self._lock:
            ended = self._now.pop(name, None)
        if ended is not None:
            log.warning(
                "recovered condition=%s; it was: %s", name, ended, extra={"condition": name}
            )

    def now(self) -> Mapping[str, str]:
        """name -> why, of those that hold, as a copy."""
        with self._lock:
            return dict(self._now)
