"""Which channels somebody works on, and until when.

Commands on the thread `outbox` put new windows in; the pipeline's thread takes them at its next
pass. No lock: append and popleft of a deque are atomic.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from fnmatch import fnmatchcase

from anomalyd.adapters.outbox import Window


class Maintenance:
    """The newest windows, for the pipeline to take."""

    def __init__(self) -> None:
        self._offered: deque[tuple[Window, ...]] = deque(maxlen=1)

    def offer(self, windows: tuple[Window, ...]) -> None:
        """These hold from now on, and no others."""
        self._offered.append(windows)

    def take(self) -> tuple[Window, ...] | None:
        """What was offered since the last look; None: nothing."""
        return self._offered.popleft() if self._offered else None


def until_s(windows: Sequence[Window], name: str) -> float:
    """When the maintenance of that channel is over; -inf where there is none."""
    ends = (each.until_s for each in windows if fnmatchcase(name, each.pattern))
    return max(ends, default=-math.inf)
