"""Times as payloads and files write them -> seconds since 1970, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from anomalyd.detection.reading import Floats

# A number is taken for the unit that puts it nearest to our century: from here on it's ms, us, ns.
_MILLIS, _MICROS, _NANOS = 1e11, 1e14, 1e17
# Earlier than 1973: a device that counts from its own start, not from 1970.
_EARLIEST, _LATEST = 1e8, 1e11


def seconds(times: Sequence[float | str | None], arrivals: Floats) -> Floats:
    """(B,) seconds; NaN where a time can't be read; the arrival where there is none (None)."""
    kinds = set(map(type, times))
    if kinds <= {type(None)}:
        return arrivals.copy()
    # An integer may be one that no float holds.
    plain = kinds == {float}
    numbers = np.array(times if plain else [_number(time) for time in times], dtype=np.float64)
    size = np.abs(numbers)
    unit = np.select([size < _MILLIS, size < _MICROS, size < _NANOS], [1.0, 1e3, 1e6], 1e9)
    numbers /= unit
    numbers[~((numbers >= _EARLIEST) & (numbers < _LATEST))] = np.nan
    if type(None) not in kinds:
        return numbers
    absent = np.fromiter((time is None for time in times), np.bool_, len(times))
    return np.where(absent, arrivals, numbers)


def _number(time: float | str | None) -> float:
    if isinstance(time, str):
        return parse_text(time)
    try:
        return float(time) if time is not None else np.nan
    except OverflowError:
        return np.nan


def parse_text(text: str) -> float:
    """A number as text, or ISO 8601 (UTC where no zone is given); NaN where it is neither."""
    # The number first: 1712121512345 would be a date of the year 1712 to an ISO 8601 parser.
    try:
        return float(text)
    except ValueError:
        return _iso(text)


def _iso(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
        found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        return np.nan
    # These are seconds: 9999-12-31, which means "no time", is not to be taken for milliseconds.
    return found if found < _LATEST else np.nan
