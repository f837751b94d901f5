"""The verdict on a reading, put together: what its views show, what its level has been since the
channel was commissioned, and what the other channels of its asset say.

A forecast soon expects a fault that stays, so the views (`score.py`) go quiet; the commissioning
reference (`reference.py`) and the asset speak where they say more than the views do, and hold an
alert until its cause is gone. Called by the pipeline on its thread, which owns it: no locks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anomalyd.detection.reading import Flags, Floats, Kind, Rows
from anomalyd.detection.reference import COMMISSIONING_READINGS, Held, Reference
from anomalyd.detection.score import SCORE_LIMIT, Look

SHARE = 0.1
"""of a channel's budget of false alarms, for each of its references"""
_RESIDUAL, _RELATION = int(Kind.RESIDUAL), int(Kind.RELATION)
_CAUTION = 0.5  # for each alarm of late, the reference must say so much more to raise another


class Astray(NamedTuple):
    """What the networks of their assets say of B channels; arrays (B,)."""

    score: Floats
    """0 where nothing is known"""
    expected: Floats
    """channel units, NaN where nothing is known"""
    limit: Floats


class Sustained:
    """The references of `capacity` channels, and which of the channels are judged at all."""

    def __init__(self, capacity: int) -> None:
        self._reference = Reference(capacity)
        self._judged = np.ones(capacity, dtype=np.bool_)

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._reference.reset(rows)
        self._judged[rows] = True

    def excuse(self, row: int) -> None:
        """The channel is known beforehand (a command, a set-point): it is never at fault."""
        self._judged[row] = False

    def recommission(self, rows: Rows, silent_s: Floats, interval_s: Floats, quiet: Flags) -> Rows:
        """Nobody knows what a plant was turned to in a silence longer than its commissioning; the
        channels that begin anew.

        `silent_s`: (B,) since the last reading. `quiet`: (B,) no alert is open or to come."""
        anew = rows[:0]
        if np.count_nonzero(quiet):
            anew = rows[quiet & (silent_s > COMMISSIONING_READINGS * interval_s)]
            self._reference.reset(anew)
        return anew

    def commissioned(self, rows: Rows) -> Flags:
        """(B,) where a level is known to hold readings against."""
        return self._reference.commissioned(rows)

    def hold(self, rows: Rows, values: Floats, quantum: Floats, risk: Floats) -> Held:
        """Hold one reading of each channel in `rows` (unique) against its reference; changes
        nothing. `quantum`: (B,) the channel's resolution. `risk`: (B,) false alarms that one
        reading may raise."""
        # A mean resolves less than a reading does; a channel that never changed has no resolution.
        floor = np.where(quantum > 0.0, 0.5 * quantum, np.inf)
        return self._reference.look(rows, values, floor, SHARE * risk)

    def judge(
        self, rows: Rows, look: Look, held: Held, astray: Astray, alarms: Floats, firing: Flags
    ) -> Look:
        """`look`, with what the references and the assets add where they say more.

        `alarms`: (B,) alarms of late: with each, the reference must say more to raise an alert, but
        not to hold one. `firing`: (B,) one is held.
        """
        unknown = np.isnan(look.score)
        known_score = np.where(unknown, 0.0, look.score)
        off_level = held.score / np.where(firing, 1.0, 1.0 + _CAUTION * alarms)
        by_level = ~(off_level < known_score) & (off_level >= 1.0)
        score = np.fmax(look.score, off_level)
        by_others = astray.score >= 1.0
        if np.count_nonzero(by_others):
            by_others &= astray.score > np.where(unknown, 0.0, score)
        score = np.fmax(score, astray.score)
        score[unknown] = np.nan
        judged, bounded = self._judged[rows], np.minimum(score, SCORE_LIMIT)
        if np.count_nonzero(judged) < rows.size:
            bounded = np.where(judged, bounded, score * 0.0)
        kind, expected, half = look.kind, look.expected, look.upper - look.expected
        for chosen, why, centre, limit in (
            (by_level, _RESIDUAL, held.mean, held.limit),
            (by_others, _RELATION, astray.expected, astray.limit),
        ):
            if np.count_nonzero(chosen):
                kind = np.where(chosen, why, kind)
                expected, half = np.where(chosen, centre, expected), np.where(chosen, limit, half)
        return look._replace(
            score=bounded,
            kind=(kind * (bounded >= 1.0)).astype(np.int8),
            expected=expected,
            lower=expected - half,
            upper=expected + half,
        )

    def learn(self, rows: Rows, held: Held, learns: Flags, accepted: Flags) -> None:
        """Take what `hold` saw; see `Reference.learn`."""
        self._reference.learn(rows, held, learns, accepted)
