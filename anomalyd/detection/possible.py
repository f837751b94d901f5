"""What a channel can read at all: the range of its instrument, and how fast it can move.

A value that no instrument shows, or a change that no machine makes, is no data: it gets a verdict
that says why, and nothing learns of it. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anomalyd.detection.reading import LARGEST_VALUE, Codes, Flags, Floats, Kind, Rows


class Possible:
    """Bounds of `capacity` channels."""

    def __init__(self, capacity: int) -> None:
        self._range = np.tile([-LARGEST_VALUE, LARGEST_VALUE], (capacity, 1))
        self._fastest = np.full(capacity, np.inf)
        self.bounded = False
        """some channel has bounds of its own"""

    def reset(
        self, rows: Rows, physical: tuple[float, float] | None, max_rate: float | None
    ) -> None:
        """Bounds of new channels, None where there are none: channel units, and those a second."""
        low, high = physical or (-LARGEST_VALUE, LARGEST_VALUE)
        self._range[rows] = max(low, -LARGEST_VALUE), min(high, LARGEST_VALUE)
        self._fastest[rows] = max_rate or np.inf
        self.bounded |= physical is not None or max_rate is not None

    def judge(self, rows: Rows, values: Floats, last: Floats, since_s: Floats) -> Flags:
        """(B,) which values can be. `last`: (B,) those before, NaN where there are none; `since_s`:
        (B,) seconds from those."""
        with np.errstate(invalid="ignore"):
            fast = np.abs(values - last) > self._fastest[rows] * since_s
        possible: Flags = ~self._outside(rows, values) & ~fast
        return possible

    def explain(
        self, rows: Rows, values: Floats, late: Flags, again: Flags
    ) -> tuple[Codes, Mapping[str, Rows]]:
        """Readings that are no data: (B,) kinds of their verdicts, and for each reason the rows.
        `late`: not newer than the one before; `again`: of those, the same one."""
        finite = np.abs(values) <= LARGEST_VALUE
        outside = finite & ~late & self._outside(rows, values)
        kinds = np.where(finite, np.where(late, Kind.LATE, Kind.RANGE), Kind.VALUE)
        reasons = {
            "value": ~finite,
            "duplicate": again,
            "late": finite & late & ~again,
            "range": outside,
            "rate": finite & ~late & ~outside,
        }
        found = {reason: rows[chosen] for reason, chosen in reasons.items()}
        return kinds.astype(np.int8), {each: those for each, those in found.items() if those.size}

    def _outside(self, rows: Rows, values: Floats) -> Flags:
        low, high = self._range[rows].T
        inside: Flags = (values >= low) & (values <= high)  # NaN isn't
        return ~inside
