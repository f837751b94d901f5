"""The score: how surprising the views of a reading are, against what the budget allows.

Each view has a surprise (`threshold.py`). Single readings and their noise speak for themselves; the
views that tell a level or a day unlike others are averaged first, because they go astray together
when something is wrong and one by one when nothing is. The largest counts. A channel that has
alarmed lately must surprise more, and for a while after a surprise only a greater one is an event.

1.0 is the threshold on every channel, whatever its units and however noisy it is. `look` changes
nothing; `learn` takes what `look` saw. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anomalyd.detection.reading import Codes, Flags, Floats, Kind, Rows
from anomalyd.detection.relation import Compared, Relations
from anomalyd.detection.threshold import Tails, position
from anomalyd.detection.views import Expected, Seen, View, Views

WEEK_S = 7 * 86400.0
SCORE_LIMIT = 1000.0

# A view that averages over many readings has fewer independent ones to learn from: it may speak
# only after so many warm-ups.
_WARMUPS = np.array([0.5, 2.0, 6.0, 2.0, 6.0, 6.0, 4.0])[:, None]
_STEEPEST = (12.0, 14.0, 8.0, 8.0, 8.0, 8.0, 8.0)
_HABITS = slice(View.LEVEL, View.UNUSUAL_MEAN + 1)
_HABIT_COUNT = _HABITS.stop - _HABITS.start
# Plain numbers: Python 3.11 looks members of an enumeration up by a call, many times a round.
_VIEW_RESIDUAL, _VIEW_NOISE, _VIEW_LEVEL = int(View.RESIDUAL), int(View.NOISE), int(View.LEVEL)
_VIEW_AHEAD, _VIEW_RELATION = int(View.AHEAD), int(View.RELATION)
_VIEW_UNUSUAL, _VIEW_UNUSUAL_MEAN = int(View.UNUSUAL), int(View.UNUSUAL_MEAN)
_NEXT, _SAID_AHEAD, _USUAL = int(Expected.NEXT), int(Expected.AHEAD), int(Expected.USUAL)
_KIND_RESIDUAL, _KIND_RELATION = np.int8(Kind.RESIDUAL), np.int8(Kind.RELATION)
# From the surprise of a reading to the rarity of such an event, -log10 of events a reading:
# neighbours in time surprise together, so that events are rarer than readings (the extremal index).
# Slope and offset for each view, those of a habit for the mean of all habits; measured on synthetic
# and public normal series between one event in a thousand readings and one in ten thousand. There
# is no data for rarer ones: beyond, a decade of surprise is a decade of rarity.
_RESIDUAL, _NOISE, _HABIT, _RELATION = (0.53, 1.67), (0.50, 1.94), (0.54, 2.05), (0.53, 1.67)
_SLOPES, _OFFSETS = np.array([_RESIDUAL, _NOISE, _HABIT, _HABIT, _HABIT, _HABIT, _RELATION]).T[
    :, :, None
]
# Noise comes in bursts: from one event in 2 000 readings on, its line is flatter (slope, offset).
_RARE_NOISE = 0.43, 2.13
_MEASURED = 4.0
_RARE_SLOPES = np.where(np.arange(len(View))[:, None] == _VIEW_NOISE, _RARE_NOISE[0], _SLOPES)
_STEEPER = 1.0 / _RARE_SLOPES - 1.0
# After an alarm a channel must surprise more, by half the logarithm of one more than the alarms of
# late; and for a while only a greater surprise than the last is an event of its own.
_CAUTION, _FORGIVING_READINGS, _REFRACTORY_READINGS = 0.5, 2000.0, 150.0
_ALMOST = 0.99
# What has alarmed lately and does so again is what the channel does at times (a pump that starts
# once a day): it is learnt, or it would alarm for ever. But no more than an octave beyond all that
# was normal at a time: a fault that comes back far out must not blind the channel to the next.
_RECURRING, _OCTAVE = 1.0, 4.0
# However slow a channel and however large its budget, an event is one in a thousand readings: what
# happens more often wasn't measured, and with much more risk than that nothing at all would alarm.
_MOST_RISK = 1e-3
# A glitch (65535, -9999) in the first minutes must not pass for normal: it would blind the channel
# for days. Less far out, or many, are what the channel does: a switch that is rarely thrown.
_GLITCH, _FEW, _SPARED = 2000.0, 4.0, 8.0
_SUSPECT = 0.5  # of the highest residual in the asset, each in units of its threshold
_DECADE = 4.0  # rarity of a relation ten times beyond its threshold
# A change that the instrument can only just resolve is no event; a channel that has never changed
# has no known resolution, and a thousandth of its level stands in.
_QUANTA, _SHARE_OF_LEVEL, _TINY = 2.5, 1e-3, 1e-9


class Look(NamedTuple):
    """What is seen of one reading of each of B channels; arrays (B,) unless said otherwise."""

    score: Floats
    """>= 0, NaN where the channel can't be scored"""
    kind: Codes
    expected: Floats
    lower: Floats
    upper: Floats
    rarity: Floats
    """-log10 of such events a reading"""
    floor: Floats
    """what the instrument can't resolve"""
    at: Floats
    """(views, B) where the views are on the axis of all bins"""
    seen: Seen


class Scorer:
    """Views and their sketches for `capacity` channels."""

    def __init__(self, capacity: int, warmup_readings: int) -> None:
        self._warmup = warmup_readings
        self._views = Views(capacity)
        self._tails = Tails(capacity, _STEEPEST, [view == View.NOISE for view in View])
        self._limits = np.zeros((capacity, len(View)))
        self._accused, self._spared, self._alarms = np.zeros((3, capacity))
        self._peak, self._peak_before, self._peak_readings = np.zeros((3, capacity))

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._views.reset(rows)
        self._tails.reset(rows)
        self._limits[rows] = 0.0
        self._accused[rows] = self._spared[rows] = self._alarms[rows] = 0.0
        self._peak[rows] = self._peak_before[rows] = self._peak_readings[rows] = 0.0

    def acquit(self, rows: Rows) -> None:
        """Let no asset speak against the channels in `rows` until it is compared again."""
        self._accused[rows] = 0.0

    def forget_relations(self, rows: Rows) -> None:
        """The channels in `rows` are expected from their assets by other means from here on: what
        was usual is so no more."""
        self.acquit(rows)
        self._tails.forget(rows, View.RELATION)
        self._limits[rows, View.RELATION] = 0.0

    def thresholds(self, rows: Rows) -> Floats:
        """(views, B) the value of each view that is as rare as promised; 0 while unknown."""
        return self._limits.take(rows, 0).T.copy()

    def count(self, rows: Rows) -> Floats:
        """(B,) readings taken of each channel."""
        return self._views.count(rows)

    def alarms(self, rows: Rows) -> Floats:
        """(B,) alarms of late, each fading over some thousand readings."""
        return np.asarray(self._alarms[rows])

    def elect(self, compared: Compared) -> None:
        """Find, in each compared asset, the one channel that its relations speak against.

        One channel that goes astray spoils the expectation of all others. Of those that are far
        out by their own standards, only the one with the most evidence against it may alert, with
        the asset's highest score: the furthest beyond its threshold says that something is wrong,
        not where.
        """
        known = compared.rows >= 0
        rows = np.maximum(compared.rows, 0)
        limit = self._limits[rows, _VIEW_RELATION]
        size = np.where(known, np.abs(compared.residuals), 0.0)
        ratio = np.divide(size, limit, where=limit > 0.0, out=np.zeros_like(size))
        suspect = ratio >= _SUSPECT * ratio.max(axis=1, keepdims=True)
        leader = np.where(suspect & known, compared.evidence, -1.0).argmax(axis=1)
        self._accused[rows[known]] = 0.0
        self._accused[rows[np.arange(rows.shape[0]), leader]] = ratio.max(axis=1)

    def look(
        self,
        rows: Rows,
        times: Floats,
        values: Floats,
        expected: Floats,
        settling: Flags,
        relations: Relations,
        quantum: Floats,
        risk: Floats,
        open_: Flags,
    ) -> Look:
        """Score one reading of each channel in `rows` (unique).

        `expected`: (expected, B) NaN where there is no prediction. `settling`: (B,) the channel has
        just come back from a gap. `quantum`: (B,) the channel's resolution. `risk`: (B,) false
        alarms that one reading may raise. `open_`: (B,) the channel is under alert already.
        """
        limit = self.thresholds(rows)
        related = relations.residual(rows, times)
        largest = np.where(limit > 0.0, limit, np.inf)
        seen = self._views.look(rows, values, expected, related, settling, largest)
        floor = _floor(values, quantum)
        at = _positions(seen.views, floor)
        surprise = self._tails.surprises(rows, at)
        young = self._tails.counts(rows) < self._warmup * _WARMUPS
        surprise[np.isnan(at) | young] = 0.0
        needed = -np.log10(np.minimum(risk, _MOST_RISK))
        alone = np.isnan(related)
        rarity, worst = self._rarest(rows, surprise, needed, ~alone)

        score = (rarity - _CAUTION * np.log1p(self._alarms[rows])) / needed
        score = np.minimum(np.maximum(score, 0.0), SCORE_LIMIT)
        passed = rarity <= np.maximum(self._peak[rows], self._peak_before[rows])
        score = np.where(passed & ~open_, np.minimum(score, _ALMOST), score)
        score[~seen.known | (self._views.count(rows) < self._warmup)] = np.nan

        centre, half = expected[_NEXT], limit[_VIEW_RESIDUAL]
        kind = np.zeros(rows.size, dtype=np.int8)
        over = score >= 1.0
        if np.count_nonzero(over):
            off = related * relations.spread(rows)
            fault = np.where(over, worst, _VIEW_RESIDUAL)
            centre, half = _reference(fault, score, values, expected, seen, limit, off)
            kind = np.where(worst == _VIEW_RELATION, _KIND_RELATION, _KIND_RESIDUAL) * over
        return Look(score, kind, centre, centre - half, centre + half, rarity, floor, at, seen)

    def _rarest(
        self, rows: Rows, surprise: Floats, needed: Floats, related: Flags
    ) -> tuple[Floats, Rows]:
        """(B,) the rarity of what the views show, and the view that shows it most."""
        together = surprise.copy()
        together[_HABITS] = np.add.reduce(surprise[_HABITS]) / _HABIT_COUNT
        rarity = _rarity(together)
        accused = np.where(related, np.maximum(self._accused[rows], _TINY), _TINY)
        rarity[_VIEW_RELATION] = needed + _DECADE * np.log10(accused)
        # Habits are equally rare: the one that surprises most is the one to tell.
        told = rarity.copy()
        told[_HABITS] += 1e-6 * surprise[_HABITS]
        return np.maximum.reduce(rarity), told.argmax(axis=0)

    def learn(
        self, rows: Rows, values: Floats, look: Look, risk: Floats, learns: Flags, raised: Flags
    ) -> None:
        """Take what was seen; only readings that `learns` marks say what is normal. `raised`: (B,)
        the reading has raised an alert."""
        spared = self._spare(rows, look)
        learns = learns & ~spared
        self._views.learn(rows, values, look.seen, learns, spared)
        alarms, at, takes = self._alarms[rows], look.at, learns
        if np.count_nonzero(raised):
            recurs = raised & (alarms > _RECURRING)
            at = np.where(recurs, np.minimum(at, self._tails.ends(rows) + _OCTAVE), at)
            takes = learns | recurs
        renewed = self._tails.learn(rows, at, takes & look.seen.known)
        self._alarms[rows] = alarms + (raised - alarms / _FORGIVING_READINGS)
        self._follow_peaks(rows, np.where(np.isnan(look.score), 0.0, look.rarity))
        if np.count_nonzero(renewed):
            self._refresh(rows[renewed], risk[renewed])

    def expect_again(self, rows: Rows) -> None:
        """Somebody has called the last alert of these channels a fault, and it is over: it was no
        false alarm that asks for caution, and the next one like it is an event of its own."""
        self._alarms[rows] = np.maximum(self._alarms[rows] - 1.0, 0.0)
        self._peak[rows] = self._peak_before[rows] = self._peak_readings[rows] = 0.0

    def _refresh(self, rows: Rows, risk: Floats) -> None:
        needed = -np.log10(np.minimum(risk, _MOST_RISK))
        surprise = np.maximum(_surprise(needed), 0.3)
        self._limits[rows] = self._tails.values(rows, surprise).T

    def _follow_peaks(self, rows: Rows, rarity: Floats) -> None:
        """Keep the largest rarity of this stretch of readings and of the one before."""
        readings = self._peak_readings[rows] + 1.0
        over = readings >= _REFRACTORY_READINGS
        peak = np.maximum(self._peak[rows], rarity)
        self._peak_before[rows] = np.where(over, peak, self._peak_before[rows])
        self._peak[rows] = np.where(over, 0.0, peak)
        self._peak_readings[rows] = np.where(over, 0.0, readings)

    def _spare(self, rows: Rows, look: Look) -> Flags:
        """(B,) readings that are no part of what is normal, though nothing can alert yet: in a
        young channel, a few that are far beyond all others."""
        young = (self._views.count(rows) < self._warmup) & (self._spared[rows] < _SPARED)
        if not np.count_nonzero(young):
            return young
        usual = np.maximum(2.0 * self._views.noise(rows), look.floor)
        known = self._tails.counts(rows)[_VIEW_RESIDUAL] >= _FEW
        glitch = young & known & (look.seen.views[_VIEW_RESIDUAL] > _GLITCH * usual)
        self._spared[rows] += glitch
        return np.asarray(glitch)


def _rarity(surprise: Floats) -> Floats:
    """(views, B) of surprises: a line as measured, and a decade for a decade beyond."""
    line = _SLOPES * surprise
    line += _OFFSETS
    slope, offset = _RARE_NOISE
    noise = slope * surprise[_VIEW_NOISE] + offset
    line[_VIEW_NOISE] = np.minimum(line[_VIEW_NOISE], noise)
    beyond = np.maximum(line - _MEASURED, 0.0)
    beyond *= _STEEPER
    return np.asarray(line + beyond)


def _surprise(rarity: Floats) -> Floats:
    """(views, B) surprises of such a `rarity` (B,): the inverse."""
    line = np.minimum(rarity, _MEASURED)
    surprise = (line - _OFFSETS) / _SLOPES
    slope, offset = _RARE_NOISE
    surprise[_VIEW_NOISE] = np.maximum(surprise[_VIEW_NOISE], (line - offset) / slope)
    return np.asarray(surprise + np.maximum(rarity - _MEASURED, 0.0))


def _reference(
    fault: Rows,
    score: Floats,
    values: Floats,
    expected: Floats,
    seen: Seen,
    limit: Floats,
    off: Floats,
) -> tuple[Floats, Floats]:
    """What was expected, and how far from it is still normal; both (B,), channel units.

    At fault it is the worst view that says what was expected: the next value, the long-term level,
    the time of the day, or what the other channels say, from which `values` are `off`.
    """
    centre, half = expected[_NEXT], limit[_VIEW_RESIDUAL]
    for view, said in (
        (_VIEW_LEVEL, seen.baseline),
        (_VIEW_AHEAD, expected[_SAID_AHEAD]),
        (_VIEW_UNUSUAL, expected[_USUAL]),
        (_VIEW_UNUSUAL_MEAN, expected[_USUAL]),
    ):
        centre = np.where(fault == view, said, centre)
        half = np.where(fault == view, limit[view], half)
    by_others = fault == _VIEW_RELATION
    centre = np.where(by_others, values - off, centre)
    return centre, np.where(by_others, np.abs(off) / np.maximum(score, 1.0), half)


def _floor(values: Floats, quantum: Floats) -> Floats:
    """(B,) sizes below which no view in channel units shows anything."""
    return np.where(quantum > 0.0, _QUANTA * quantum, _SHARE_OF_LEVEL * np.abs(values)) + _TINY


def _positions(views: Floats, floor: Floats) -> Floats:
    """(views, B) where their sizes are on the axis of all bins; NaN for those that are unknown."""
    sizes = np.maximum(views, floor)
    sizes[_VIEW_RELATION] = np.maximum(views[_VIEW_RELATION], _TINY)  # it is not in channel units
    return position(sizes)
