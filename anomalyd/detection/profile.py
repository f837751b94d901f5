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
_AROUND = (np.arange(_SLOTS)[:, None] + np.arange(-3, 4)) % _SLOTS
"""(slots, 7) each slot and its neighbours"""
_KERNEL = np.array([1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]) / 16.0
_FIRST_DAY, _LATER, _MOST = 3.0, 0.3, 0.9  # how far a slot moves in one pass of a day
_LONGEST_INTERVAL_S = 3600.0
_ENOUGH_S = 0.95 * DAY_S
_THURSDAY = 3  # 1970-01-01, counted from Monday


class Profiles:
    """Profiles of `capacity` channels; values are relative to an origin that the caller keeps."""

    def __init__(self, capacity: int) -> None:
        # Apart, and zeros, not empty: what is never used is never touched, and so weekends weigh
        # nothing before the first one.
        self._workdays, self._weekends = (
            np.zeros((capacity, _SLOTS), dtype=np.float32) for _ in range(2)
        )
        self._seen_s = np.zeros((capacity, 2))

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        for kind, slots in enumerate((self._workdays, self._weekends)):
            slots[rows[self._seen_s[rows, kind] > 0.0]] = 0.0
        self._seen_s[rows] = 0.0

    def known(self, rows: Rows) -> Flags:
        """(B,) a whole day has been seen."""
        return np.asarray(np.maximum.reduce(self._seen_s.take(rows, 0), axis=1) >= _ENOUGH_S)

    def at(self, rows: Rows, times: Floats) -> Floats:
        """(K, B) what channels `rows` (B,) usually read at `times` (K, B); weekends are read from
        working days until one has been seen, and the other way round."""
        seen = self._seen_s.take(rows, 0).T >= _ENOUGH_S
        kind, slot = _place(times)
        weekend = np.where(kind == 1, seen[1], ~seen[0])
        slots = np.where(weekend, self._weekends[rows, slot], self._workdays[rows, slot])
        return slots.astype(np.float64)

    def learn(self, rows: Rows, times: Floats, values: Floats, interval_s: Floats) -> None:
        """Take one value (B,) of each channel in `rows` (unique); NaN teaches nothing."""
        learns = (interval_s <= _LONGEST_INTERVAL_S) & ~np.isnan(values)
        if np.count_nonzero(learns) < rows.size:
            rows, times = rows[learns], times[learns]
            values, interval_s = values[learns], interval_s[learns]
        kind, slot = _place(times)
        seen = self._seen_s[rows, kind]
        rate = np.where(seen < _ENOUGH_S, _FIRST_DAY, _LATER) * interval_s / _SLOT_S
        gains = np.minimum(rate[:, None] * _KERNEL, _MOST)
        at = (rows * _SLOTS)[:, None] + _AROUND.take(slot, 0)
        weekends = np.count_nonzero(kind)
        if weekends < rows.size:
            workday = slice(None) if not weekends else kind == 0
            _draw(self._workdays, at[workday], gains[workday], values[workday])
        if weekends:
            weekend = slice(None) if weekends == rows.size else kind == 1
            _draw(self._weekends, at[weekend], gains[weekend], values[weekend])
        self._seen_s[rows, kind] = seen + interval_s


def _draw(slots: NDArray[np.float32], at: NDArray[np.intp], gains: Floats, values: Floats) -> None:
    """Draw the slots `at` (B, 7), of all channels flat, towards `values` (B,)."""
    flat = slots.reshape(-1)
    before = flat.take(at)
    flat[at] = before + gains * (values[:, None] - before)


def _place(times: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Working day (0) or weekend (1), and the slot of the day."""
    # Products and floors: quotients and remainders of floats cost ten times as much.
    day = np.floor(times * (1.0 / DAY_S))
    slot = ((times - day * DAY_S) * (1.0 / _SLOT_S)).astype(np.intp)
    week = day + _THURSDAY
    weekday = week - 7.0 * np.floor((week + 0.5) * (1.0 / 7.0))
    return (weekday >= 5.0).astype(np.intp), np.minimum(np.maximum(slot, 0), _SLOTS - 1)
