"""The alert states of all channels at once: normal, pending, firing, and back.

A score of 1 or more makes a channel pending, enough of them in a row make it fire; it ends when
the score has stayed below a lower mark for a while (hysteresis). Time is an argument: the time of
the readings, so a replay makes the same transitions. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from anomalyd.detection.reading import Codes, Flags, Floats, Kind, Rows, State

# Plain numbers: Python 3.11 looks members of an enumeration up by a call, many times a round.
_RESIDUAL = int(Kind.RESIDUAL)
_WARMING, _NORMAL, _PENDING, _FIRING, _MAINTENANCE = map(int, State)
_REMEMBERED_S = 30 * 86400.0
"""a channel that had a fault may have it again: for so long nothing is accepted there by itself"""
_WARY = 24.0
"""where something was accepted and went again, the next must last so many times longer"""
_LONG = 0.25
"""of `accept_after_s`: what has stood there for so long is an incident too"""


@dataclass(frozen=True, slots=True)
class AlertRules:
    """What raises an alert and what ends it."""

    pending_readings: int
    clear_below: float
    clear_readings: int
    update_every_s: float
    accept_after_s: float
    critical_score: float


class Transitions(NamedTuple):
    """What changed for each of B readings; at most one of the first three."""

    raised: Flags
    updated: Flags
    cleared: Flags
    accepted: Flags
    """an update too: from here on the condition counts as the new normal, and is learnt"""
    faults_over: Flags
    """cleared, and a fault: somebody has called it one, or it is like one that came and went"""


_FLAGS = len(Transitions._fields)


class AlertStates:
    """State columns of `capacity` channels."""

    def __init__(self, capacity: int, rules: AlertRules) -> None:
        self.rules = rules
        self._state = np.zeros(capacity, dtype=np.int8)
        self._kind = np.zeros(capacity, dtype=np.int8)
        self._above = np.zeros(capacity, dtype=np.int32)
        self._below = np.zeros(capacity, dtype=np.int32)
        self._critical = np.zeros(capacity, dtype=np.bool_)
        self._own = np.zeros(capacity, dtype=np.bool_)
        self._accepted = np.zeros(capacity, dtype=np.bool_)
        self._fault = np.zeros(capacity, dtype=np.bool_)
        self._faulted = np.full(capacity, -np.inf)
        self._passed = np.full(capacity, -np.inf)
        self._since = np.zeros(capacity)
        self._until = np.zeros(capacity)
        self._told = np.zeros(capacity)
        self._maintained = np.full(capacity, -np.inf)

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._state[rows] = _WARMING
        self._above[rows] = 0
        self._below[rows] = 0
        self._fault[rows] = False
        self._faulted[rows] = -np.inf
        self._passed[rows] = -np.inf
        self._maintained[rows] = -np.inf

    def maintain(self, rows: Rows, until_s: Floats | float) -> None:
        """Until then (-inf: no longer) the channels in `rows` raise nothing and teach nothing; what
        is open stays so."""
        self._maintained[rows] = until_s

    def maintained_until(self, rows: Rows) -> Floats:
        """(B,) what `maintain` was told last."""
        return self._maintained[rows]

    def judge(self, rows: Rows, fault: bool) -> None:
        """Somebody says that the open alerts of the channels in `rows` are a `fault`: that is never
        accepted as the new normal, however long it lasts. Or that they are none: then they are
        accepted with the next reading."""
        firing = self._state[rows] == _FIRING
        self._fault[rows] = fault & firing
        self._accepted[rows] &= not fault
        # What stands since ever is accepted, unless it is a fault.
        long_ago = 0.0 if fault else -np.inf
        called = self.waived(rows) if fault else firing
        self._since[rows] = np.where(called, long_ago, self._since[rows])

    def remember(self, rows: Rows, faulted_s: Floats) -> None:
        """(B,) when each channel had its last fault, -inf: it has had none. What comes in a month
        after that isn't accepted as the new normal either."""
        self._faulted[rows] = faulted_s

    def beware(self, rows: Rows, passed_s: Floats) -> None:
        """What was accepted on the channels in `rows` has gone again, at (B,) these times; -inf: it
        is the new normal. What comes in a month after that isn't accepted so soon, and what stands
        is accepted no more."""
        self._passed[rows] = passed_s
        self._accepted[rows] &= np.isneginf(passed_s)

    def shift(self, rows: Rows, jump_s: float) -> None:
        """The clock that these channels are timed by was set."""
        self._since[rows] += jump_s
        self._until[rows] += jump_s
        self._told[rows] += jump_s
        self._faulted[rows] += jump_s
        self._passed[rows] += jump_s

    def in_maintenance(self, rows: Rows, times: Floats) -> Flags:
        """(B,) somebody works on the channel at that time."""
        return times < self._maintained[rows]

    def shown(self, rows: Rows, times: Floats) -> Codes:
        """(B,) where each channel stands at that time, as people are told."""
        state = self._state[rows]
        hidden = self.in_maintenance(rows, times) & (state != _FIRING)
        state[hidden] = _MAINTENANCE
        return state

    def states(self, rows: Rows) -> Codes:
        """(B,) where each channel stands."""
        return self._state[rows]

    def kinds(self, rows: Rows) -> Codes:
        """(B,) why each channel fires, where it does."""
        return self._kind[rows]

    def own(self, rows: Rows) -> Flags:
        """(B,) what is open, or was last, showed in the channel itself at some time, whatever its
        asset and its kind now."""
        return self._own[rows]

    def waived(self, rows: Rows) -> Flags:
        """(B,) the alert, open or just over, was called none."""
        return np.isneginf(self._since[rows])

    def critical(self, rows: Rows) -> Flags:
        """(B,) the alert has reached the critical score since it was raised."""
        return self._critical[rows]

    def quarantined(self, rows: Rows, times: Floats) -> Flags:
        """(B,) readings that must teach nothing: their channel is under alert or in maintenance. A
        condition that lasts for `accept_after_s`, and that nobody has called a fault, is accepted
        as the new normal and learnt from again."""
        under = self._state[rows] >= _PENDING
        if np.count_nonzero(under):
            at = np.flatnonzero(under)
            some, when = rows[at], times[at]
            under[at] = ~self._lasting(some, when) | self._stays(some, when)
        return under | self.in_maintenance(rows, times)

    def accepted_after_s(self, rows: Rows) -> Floats:
        """(B,) how long what is open, or was last, must last to be accepted by itself."""
        return np.where(self._wary(rows), _WARY, 1.0) * self.rules.accept_after_s

    def _wary(self, rows: Rows) -> Flags:
        """(B,) not long before what is open, or was last, something came and went."""
        return np.asarray(self._since[rows] < self._passed[rows] + _REMEMBERED_S)

    def _lasting(self, rows: Rows, times: Floats) -> Flags:
        return np.asarray(times - self._since[rows] >= self.accepted_after_s(rows))

    def _stays(self, rows: Rows, times: Floats) -> Flags:
        """(B,) whatever stands is not accepted: it was called a fault, or comes after one."""
        stays = self._fault[rows] | (times - self._faulted[rows] < _REMEMBERED_S)
        return np.asarray(stays & ~self._accepted[rows] & ~self.waived(rows))

    def advance(
        self, rows: Rows, times: Floats, scores: Floats, kinds: Codes, warming: Flags
    ) -> Transitions:
        """Take the scores of one reading of each channel in `rows` (unique).

        A NaN score, maintenance or a `warming` channel changes nothing but a normal state's name.
        """
        scored = ~(np.isnan(scores) | warming | self.in_maintenance(rows, times))
        busy = scored & (scores >= 1.0)
        busy |= self._state[rows] >= _PENDING
        busiest = np.count_nonzero(busy)
        if busiest == rows.size:
            return self._change(rows, times, scores, kinds, warming, scored)
        changed = np.zeros((_FLAGS, rows.size), dtype=np.bool_)
        if not busiest:
            self._rest(rows, scores, warming, scored)
            return Transitions(*changed)
        calm = ~busy
        self._rest(rows[calm], scores[calm], warming[calm], scored[calm])
        changed[:, busy] = self._change(
            rows[busy], times[busy], scores[busy], kinds[busy], warming[busy], scored[busy]
        )
        return Transitions(*changed)

    def _rest(self, rows: Rows, scores: Floats, warming: Flags, scored: Flags) -> None:
        """Channels under no alert, and whose scores raise none: hardly anything changes."""
        low = scored & (scores < self.rules.clear_below)
        below = self._below[rows]
        self._above[rows] *= ~scored
        self._below[rows] = (below + low) * (low | ~scored)
        self._state[rows] = np.where(warming, _WARMING, _NORMAL)

    def _change(
        self,
        rows: Rows,
        times: Floats,
        scores: Floats,
        kinds: Codes,
        warming: Flags,
        scored: Flags,
    ) -> Transitions:
        """The others. `scored`: (B,) the score counts."""
        state = self._state[rows]
        firing = state == _FIRING
        high = scored & (scores >= 1.0)
        low = scored & (scores < self.rules.clear_below)
        above = np.where(high, self._above[rows] + 1, np.where(scored, 0, self._above[rows]))
        below = np.where(low, self._below[rows] + 1, np.where(scored, 0, self._below[rows]))
        raised = high & ~firing & (above >= self.rules.pending_readings)
        cleared = firing & (below >= self.rules.clear_readings)
        pending = high & ~raised & ~firing

        first = pending & (state != _PENDING) | raised & (state != _PENDING)
        self._since[rows] = np.where(first, times, self._since[rows])
        self._until[rows] = np.where(high, times, self._until[rows])
        kind = self._kind[rows]
        changed = firing & high & (kinds != kind)
        critical = high & (scores >= self.rules.critical_score)
        worse = firing & critical & ~self._critical[rows]
        self._critical[rows] = np.where(raised, critical, self._critical[rows] | worse)
        self._kind[rows] = np.where(raised | changed, kinds, kind)
        own = high & (kinds == _RESIDUAL)
        self._own[rows] = np.where(raised, own, self._own[rows] | own)
        due = times - self._told[rows] >= self.rules.update_every_s
        lasting = self._lasting(rows, times) & ~self._stays(rows, times)
        fault = self._fault[rows]
        accepted = firing & scored & ~cleared & lasting & ~self._accepted[rows]
        self._accepted[rows] = ~raised & (self._accepted[rows] | accepted)
        updated = firing & scored & ~cleared & (changed | worse | due | accepted)
        self._told[rows] = np.where(raised | updated, times, self._told[rows])

        rest = np.where(warming, _WARMING, _NORMAL)
        waits = ~scored & (state >= _PENDING)
        after = np.where(pending, _PENDING, rest)
        after = np.where(waits, state, after)
        after = np.where(raised | firing & ~cleared, _FIRING, after)
        self._state[rows] = after
        self._above[rows] = np.where(cleared, 0, above)
        self._below[rows] = np.where(raised | cleared, 0, below)
        self._fault[rows] = fault & ~cleared
        self._faulted[rows] = np.where(cleared & fault, times, self._faulted[rows])
        stood = self._until[rows] - self._since[rows] >= _LONG * self.rules.accept_after_s
        over = cleared & (fault | self._wary(rows) & stood)
        return Transitions(raised, updated, cleared, accepted, over)
