"""The way of all channels to their limits: forecast, reached, back inside; with a budget.

Each level of resolution has its own latest forecast for each side of a channel. A level is firm
after two forecasts in a row that are sure of the crossing, and no longer after two that doubt it.
Any firm level makes an early warning, told by the finest one that contains the crossing. An early
warning that comes true costs nothing; one that doesn't is paid from a credit that grows with the
budget, and without credit there is none.

Time is an argument. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from anomalyd.detection.blocks import LEVELS
from anomalyd.detection.reading import Codes, Flags, Floats, Rows

WEEK_S = 7 * 86400.0
SURE, DOUBTED = 0.95, 0.5
IN_A_ROW = 2
LOW, HIGH = 0, 1
SIGNS = np.array([-1.0, 1.0])
"""upside down, a lower limit is an upper one"""


class Standing(IntEnum):
    """Of a channel, to its limits."""

    INSIDE = 0
    FORECAST = 1
    """an early warning is open"""
    BEYOND = 2
    """an alert is open: the value is, or was a moment ago, out of its limits"""


class Changes(NamedTuple):
    """What changed for each of B readings."""

    ended: Flags
    """an early warning or an alert is over"""
    reached: Flags
    """... an early warning, because its limit was reached"""
    warned: Flags
    exceeded: Flags
    updated: Flags


class Crossing(NamedTuple):
    """When each of B channels reaches its limit, in seconds since 1970."""

    chance: Floats
    earliest: Floats
    likely: Floats
    latest: Floats


class Approach:
    """Columns of `capacity` channels; (capacity, 2, LEVELS) are sides and resolutions."""

    def __init__(
        self,
        capacity: int,
        budget_per_week: float,
        pending_readings: int,
        clear_readings: int,
        update_every_s: float,
    ) -> None:
        self.change_rules(budget_per_week, pending_readings, clear_readings, update_every_s)
        self._limits = np.zeros((capacity, 2))
        self._standing = np.zeros(capacity, dtype=np.int8)
        self._side = np.zeros(capacity, dtype=np.int8)
        self._outside = np.zeros(capacity, dtype=np.int32)
        self._inside = np.zeros(capacity, dtype=np.int32)
        self._credit = np.zeros(capacity)
        self._credited = np.zeros(capacity)
        self._told = np.zeros(capacity)
        self._firm = np.zeros((capacity, 2, LEVELS), dtype=np.bool_)
        self._against = np.zeros((capacity, 2, LEVELS), dtype=np.int8)
        self._crossing = tuple(np.zeros((4, capacity, 2, LEVELS)))
        self._fresh = np.zeros(capacity, dtype=np.bool_)

    def change_rules(
        self,
        budget_per_week: float,
        pending_readings: int,
        clear_readings: int,
        update_every_s: float,
    ) -> None:
        """Credit that a channel has is kept, up to what it may have now."""
        self._rate = budget_per_week / WEEK_S
        self._most_credit = max(1.0, budget_per_week)
        self._pending_readings = pending_readings
        self._clear_readings = clear_readings
        self._update_every_s = update_every_s

    def reset(self, rows: Rows, low: float, high: float) -> None:
        """Begin the channels in `rows` anew; infinite where there is no limit."""
        self._limits[rows] = low, high
        self._standing[rows] = Standing.INSIDE
        self._outside[rows] = self._inside[rows] = 0
        self._credit[rows] = self._most_credit
        self._credited[rows] = np.inf
        self._forget(rows)

    def limits(self, rows: Rows, side: int) -> Floats:
        """(B,) the limits on that side."""
        limits: Floats = self._limits[rows, side]
        return limits

    def standing(self, rows: Rows) -> Codes:
        """(B,) where each channel stands."""
        return self._standing[rows]

    def side(self, rows: Rows) -> Codes:
        """(B,) the side of the limit that is forecast or exceeded, where one is."""
        return self._side[rows]

    def crossing(self, rows: Rows, times: Floats) -> Crossing:
        """(B,) what the finest firm level says whose horizon contains the crossing. Infinite times
        where none does."""
        side = self._side[rows]
        definite = self._definite(rows, times)[np.arange(rows.size), side]
        figures = (each[rows, side, definite.argmax(axis=1)] for each in self._crossing)
        return Crossing(*(np.where(definite.any(axis=1), each, np.inf) for each in figures))

    def learn(self, rows: Rows, side: int, level: int, crossing: Crossing) -> None:
        """Take a new forecast of one side and level of the channels in `rows` (unique)."""
        at = (rows, side, level)
        firm = self._firm[at]
        contrary = np.where(firm, crossing.chance < DOUBTED, crossing.chance >= SURE)
        against = np.where(contrary, self._against[at] + 1, 0)
        turned = against >= IN_A_ROW
        self._firm[at] = firm ^ turned
        self._against[at] = np.where(turned, 0, against)
        for column, figures in zip(self._crossing, crossing, strict=True):
            column[at] = figures
        self._fresh[rows] = True

    def advance(self, rows: Rows, times: Floats, values: Floats, warming: Flags) -> Changes:
        """Take one reading of each channel in `rows` (unique); a `warming` one raises nothing."""
        beyond = self._judge(rows, values)
        standing = self._standing[rows]
        firm: Flags = np.asarray(self._firm[rows].any(axis=2))
        definite: Flags = np.asarray(self._definite(rows, times).any(axis=2))
        forecast, out = standing == Standing.FORECAST, standing == Standing.BEYOND
        side, row = self._side[rows], np.arange(rows.size)
        reached = forecast & beyond.any(axis=1)
        gone = forecast & ~firm[row, side]
        back = out & (self._inside[rows] >= self._clear_readings)
        ended = reached | gone | back
        free = (standing == Standing.INSIDE) | ended
        raises = free & ~warming
        exceeded = raises & (self._outside[rows] >= self._pending_readings)
        calm = raises & ~ended & (self._outside[rows] == 0) & definite.any(axis=1)
        warned = calm & self._pay(rows, times, calm)
        self._credit[rows] += reached
        due = self._fresh[rows] & (times - self._told[rows] >= self._update_every_s)
        updated = forecast & ~ended & due & definite[row, side]

        now = np.where(exceeded, beyond[:, HIGH], definite[:, HIGH])
        self._side[rows] = np.where(warned | exceeded, now, side)
        after = np.where(ended, Standing.INSIDE, standing)
        after = np.where(warned, Standing.FORECAST, after)
        self._standing[rows] = np.where(exceeded, Standing.BEYOND, after)
        self._told[rows] = np.where(warned | updated, times, self._told[rows])
        self._fresh[rows] = False
        self._forget(rows[reached | exceeded])
        return Changes(ended, reached, warned, exceeded, updated)

    def _judge(self, rows: Rows, values: Floats) -> Flags:
        """(B, 2) beyond which limit; counts readings in a row out of them and inside."""
        low, high = self._limits[rows].T
        beyond = np.stack((values <= low, values >= high), axis=1)
        any_side = beyond.any(axis=1)
        self._outside[rows] = np.where(any_side, self._outside[rows] + 1, 0)
        self._inside[rows] = np.where(any_side, 0, self._inside[rows] + 1)
        return beyond

    def _pay(self, rows: Rows, times: Floats, asks: Flags) -> Flags:
        """(B,) those that ask and have the credit for an early warning; it is taken from them."""
        since = np.maximum(times - self._credited[rows], 0.0)
        credit = np.minimum(self._credit[rows] + since * self._rate, self._most_credit)
        pays = asks & (credit >= 1.0)
        self._credit[rows] = credit - pays
        self._credited[rows] = times
        return pays

    def _definite(self, rows: Rows, times: Floats) -> Flags:
        """(B, 2, LEVELS) firm ones that know until when, and that is still to come."""
        latest = self._crossing[3][rows]
        return np.asarray(self._firm[rows] & np.isfinite(latest) & (latest > times[:, None, None]))

    def _forget(self, rows: Rows) -> None:
        """Forecasts of a limit that was reached are of the past."""
        self._firm[rows] = False
        self._against[rows] = 0
        self._fresh[rows] = False
