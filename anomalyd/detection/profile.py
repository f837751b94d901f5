"""The time-of-day profile: what each channel usually reads at this time of the day or weekend day.

Slots of ten minutes over 24 hours (UTC), one row for working days and one for weekends. Each
reading draws the slots around its time towards itself, strongly on the first day and gently later
on (Nadaraya-Watson smoothing with exponential forgetting). Readings further apart than an hour
have no profile. Owned by the predictor that owns the bank: no locks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Flags, Floats, Rows

DAY_S = 86400.0
_SLOTS = 144
_SLOT_S = DAY_S / _SLOTS
_AROUND = np.arange(-3, 4)
_KERNEL = np.array([1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]) / 16.0
_FIRST_DAY, _LATER, _MOST = 3.0, 0.3, 0.9  # how far a slot moves in one pass of a day
_LONGEST_INTERVAL_S = 3600.0
_ENOUGH_S = 0.95 * DAY_S
_FIRST_PASS_S = 1.05 * DAY_S  # readings an hour apart fill the last slots from the next day's
_THURSDAY = 3  # 1970-01-01, counted from Monday


class Profiles:
    """Profiles of `capacity` channels; values are relative to an origin that the caller keeps."""

    def __init__(self, capacity: int) -> None:
        # zeros, not empty: the pages of rows that are never used are never touched.
        self._slots = np.zeros((capacity, 2, _SLOTS), dtype=np.float32)
        self._seen_s = np.zeros((capacity, 2))

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._seen_s[rows] = 0.0
        self._slots[rows] = 0.0

    def known(self, rows: Rows) -> Flags:
        """(B,) a whole day has been seen."""
        return np.asarray((self._seen_s[rows] >= _ENOUGH_S).any(axis=1))

    def at(self, rows: Rows, times: Floats) -> Floats:
        """(K, B) what channels `rows` (B,) usually read at `times` (K, B); weekends are read from
        working days until one has been seen, and the other way round."""
        seen = self._seen_s[rows].T >= _ENOUGH_S
        kind = _weekend(times)
        kind = np.where(np.where(kind == 1, seen[1], seen[0]), kind, 1 - kind)
        return self._slots[rows, kind, _slot(times)].astype(np.float64)

    def learn(self, rows: Rows, times: Floats, values: Floats, interval_s: Floats) -> None:
        """Take one value (B,) of each channel in `rows` (unique); NaN teaches nothing."""
        learns = (interval_s <= _LONGEST_INTERVAL_S) & ~np.isnan(values)
        rows, times, values, interval_s = (
            rows[learns],
            times[learns],
            values[learns],
            interval_s[learns],
        )
        kind = _weekend(times)
        seen = self._seen_s[rows, kind]
        rate = np.where(seen < _FIRST_PASS_S, _FIRST_DAY, _LATER) * interval_s / _SLOT_S
        gains = np.minimum(rate[:, None] * _KERNEL, _MOST)
        at = rows[:, None], kind[:, None], (_slot(times)[:, None] + _AROUND) % _SLOTS
        slots = self._slots[at]
        self._slots[at] = slots + gains * (values[:, None] - slots)
        self._seen_s[rows, kind] = seen + interval_s


def _slot(times: Floats) -> NDArray[np.intp]:
    return (times % DAY_S / _SLOT_S).astype(np.intp)


def _weekend(times: Floats) -> NDArray[np.intp]:
    return ((times // DAY_S + _THURSDAY) % 7 >= 5).astype(np.intp)
