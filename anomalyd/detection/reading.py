"""The glossary: what comes into the detection and what goes out, a batch at a time.

A *channel* is one measured quantity; it has a *row* in every column. A *reading* is one value of
one channel at one time. A *verdict* is what the detection says of one reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.int8]

LARGEST_VALUE = 1e36
"""no instrument reads more, and 32-bit floats still hold it"""


class State(IntEnum):
    """Of a channel's alert. A channel that is `WARMING` can't be scored yet and never alerts."""

    WARMING = 0
    NORMAL = 1
    PENDING = 2
    FIRING = 3
    MAINTENANCE = 4
    """shown in the place of `NORMAL` and `PENDING` while somebody works there; never kept"""


class Kind(IntEnum):
    """What is wrong with a reading."""

    NONE = 0
    RESIDUAL = 1
    """not what the channel's own past leads to expect"""
    RELATION = 2
    """not what the other channels of its asset lead to expect"""
    STUCK = 3
    """the same value for far longer than this channel ever stood still"""
    GAP = 4
    """first readings after a silence: can't be scored"""
    LATE = 5
    """not newer than the channel's last reading: left out"""
    VALUE = 6
    """not a number, or larger than any instrument reads: left out"""
    RANGE = 7
    """of readings: physically impossible, left out; of alerts: out of the configured limits"""
    FORECAST = 8
    """on its way to one of them; of alerts, not of readings"""
    STALE = 9
    """nothing usable for far longer than ever; of alerts, as there is no reading"""


STATE_NAMES = tuple(state.name.lower() for state in State)
KIND_NAMES = ("", *(kind.name.lower() for kind in Kind if kind))


@dataclass(frozen=True, slots=True)
class Readings:
    """B readings in order of arrival; a channel may occur more than once."""

    rows: Rows
    times: Floats
    """seconds since 1970"""
    values: Floats

    def __len__(self) -> int:
        return self.rows.size

    def take(self, chosen: NDArray[np.intp] | Flags) -> Readings:
        return Readings(self.rows[chosen], self.times[chosen], self.values[chosen])


NOTHING = Readings(np.empty(0, np.intp), np.empty(0), np.empty(0))
"""no readings"""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What is said of B readings, in their order. Unknown figures are NaN."""

    rows: Rows
    times: Floats
    values: Floats
    expected: Floats
    lower: Floats
    upper: Floats
    score: Floats
    """>= 0; 1.0 is the channel's threshold"""
    state: Codes
    kind: Codes
    learnt: Flags
    """it counted as normal: not under alert, right behind a gap, late, or no number"""

    @staticmethod
    def blank(readings: Readings) -> Verdicts:
        """Verdicts that say nothing yet."""
        size = len(readings)
        expected, lower, upper, score = (np.full(size, np.nan) for _ in range(4))
        return Verdicts(
            readings.rows,
            readings.times,
            readings.values,
            expected,
            lower,
            upper,
            score,
            state=np.zeros(size, dtype=np.int8),
            kind=np.zeros(size, dtype=np.int8),
            learnt=np.zeros(size, dtype=np.bool_),
        )
