"""What was normal on a channel before a lasting condition was accepted as the new normal.

A condition that lasts is accepted, and learnt. If it goes again soon afterwards, it was no new
normal but an incident that nobody had called one, and what was learnt of it would hide the next. So
the old normal is kept aside for a while and scores beside the new one, on the same readings,
learning nothing. Where the channel fits it again, it is put back; where the condition stays, it is
dropped.

Only for channels that have been seen for a week, and whose level is known: what comes and goes
before may be how a plant works. Not for slow ones, where a condition is accepted after a few
readings. And only for what a channel shows itself: what it is to its asset
is kept elsewhere. Owned by the pipeline thread: no locks. Hardly any memory for channels that are
not on probation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anomalyd.detection import columns
from anomalyd.detection.reading import Flags, Floats, Readings, Rows
from anomalyd.detection.relation import Relations
from anomalyd.detection.score import WEEK_S, Scorer
from anomalyd.detection.sustained import Astray, Sustained

KNOWN_S = WEEK_S
"""a channel that has been seen for so long has shown what it usually does"""
_LASTS = 24.0
"""what has stayed for so many times `accept_after_s` since it was accepted is the new normal"""
LEAST_READINGS = 10
"""what was accepted after fewer can't be told from a moment"""
_BACK = 0.25
"""of `accept_after_s`, and so many readings: if the old normal fits for so long, it is back"""


class Shown(NamedTuple):
    """One reading of each of B channels, and what it is judged with."""

    readings: Readings
    expected: Floats
    """(expected, B)"""
    settling: Flags
    quantum: Floats
    risk: Floats

    def take(self, chosen: Flags) -> Shown:
        return Shown(
            self.readings.take(chosen),
            self.expected[:, chosen],
            self.settling[chosen],
            self.quantum[chosen],
            self.risk[chosen],
        )


class Probation:
    """Old normals of `capacity` channels."""

    def __init__(self, capacity: int, warmup_readings: int) -> None:
        self._capacity = capacity
        self._scorer = Scorer(capacity, warmup_readings)
        self._sustained = Sustained(capacity)
        # When the new normal was accepted, when its alert was raised, and since when the old one
        # fits again; NaN: none of it.
        self._since, self._raised, self._back = np.full((3, capacity), np.nan)
        self._fits = np.zeros(capacity, dtype=np.int32)
        """readings in a row"""

    def on(self, rows: Rows) -> Flags:
        """(B,) which of the channels are on probation."""
        return np.asarray(~np.isnan(self._since[rows]))

    def raised_s(self, rows: Rows) -> Floats:
        """(B,) when the alert was raised that was accepted; NaN for channels not on probation."""
        return np.where(self.on(rows), self._raised[rows], np.nan)

    def begin(
        self, rows: Rows, times: Floats, raised_s: Floats, scorer: Scorer, sustained: Sustained
    ) -> None:
        """Something was accepted on the channels in `rows`, of alerts that were raised then. Keep
        what is normal now; where that is on probation itself, what was normal before it."""
        new = ~self.on(rows)
        columns.copy(scorer, self._scorer, self._capacity, rows[new])
        columns.copy(sustained, self._sustained, self._capacity, rows[new])
        # Nothing asks their assets on behalf of the old normal.
        self._scorer.acquit(rows)
        self._since[rows], self._raised[rows] = times, raised_s
        self._back[rows] = np.nan

    def end(self, rows: Rows) -> None:
        """What is normal on the channels in `rows` now stays so."""
        self._since[rows] = np.nan

    def put_back(self, rows: Rows, scorer: Scorer, sustained: Sustained) -> None:
        """Let the old normal be that of the channels in `rows` again."""
        columns.copy(self._scorer, scorer, self._capacity, rows)
        columns.copy(self._sustained, sustained, self._capacity, rows)
        self.end(rows)

    def shift(self, rows: Rows, jump_s: float) -> None:
        """The clock that these channels are timed by was set."""
        self._since[rows] += jump_s
        self._raised[rows] += jump_s
        self._back[rows] += jump_s

    def judge(self, shown: Shown, relations: Relations, accept_after_s: float) -> Flags:
        """Score one reading of each of B channels, all on probation, against their old normal; (B,)
        where that is back. Where the new one has stayed for long enough, the probation ends."""
        readings, risk = shown.readings, shown.risk
        rows, times, values = readings.rows, readings.times, readings.values
        everywhere = np.ones(rows.size, dtype=np.bool_)
        look = self._scorer.look(
            rows, times, values, shown.expected, shown.settling, relations, shown.quantum, risk,
            everywhere,
        )  # fmt: skip
        held = self._sustained.hold(rows, values, shown.quantum, risk)
        nothing = Astray(*np.zeros((3, rows.size)))
        score = self._sustained.judge(rows, look, held, nothing, nothing.score, everywhere).score
        self._scorer.learn(rows, values, look, risk, ~everywhere, ~everywhere)
        self._sustained.learn(rows, held, ~everywhere, ~everywhere)

        fits = score < 1.0
        begins = fits & np.isnan(self._back[rows])
        self._back[rows] = np.where(begins, times, np.where(fits, self._back[rows], np.nan))
        self._fits[rows] = np.where(begins, 1, self._fits[rows] + 1)
        back = times - self._back[rows] >= _BACK * accept_after_s
        back &= self._fits[rows] >= LEAST_READINGS
        over = ~back & (times - self._since[rows] >= _LASTS * accept_after_s)
        self.end(rows[over])
        return np.asarray(back)
