"""The score: several views of a channel's residual, each against its own calibrated threshold.

A spike, more noise than usual, a level that has left its range, and a channel that no longer
moves with its machine show in different figures; the score is the largest of them, in units of
its threshold, so 1.0 is the threshold on every channel. Views stay in channel units: a change of
the predicted spread can't explain a fault away.

`look` changes nothing; `learn` takes what `look` saw. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Codes, Flags, Floats, Kind, Rows
from anomalyd.detection.relation import Compared, Relations
from anomalyd.detection.threshold import Tails, TailTraits

WEEK_S = 7 * 86400.0
SCORE_LIMIT = 1000.0


class View(IntEnum):
    """What is looked at, in the order of the arrays."""

    RESIDUAL = 0
    """|value - expected|"""
    NOISE = 1
    """its running mean over 16 readings"""
    LEVEL = 2
    """distance of the running level from the long-term one"""
    RELATION = 3
    """distance from what the other channels of the asset say"""


_NOISE_READINGS, _LEVEL_READINGS, _BASELINE_READINGS = 16.0, 8.0, 600.0
# A view that averages over many readings has fewer independent ones to learn from: it may speak
# only after so many warm-ups.
_WARMUPS = np.array([0.5, 2.0, 6.0, 4.0])[:, None]
# Tails of single residuals are heavy; those of running means are lighter, and a level that moves in
# cycles has an end.
_TRAITS = (
    TailTraits(shape=0.15, lightest=-0.05, excess=0.3, caution=0.5, rate=0.01, patience=100.0),
    TailTraits(shape=0.0, lightest=-0.1, excess=0.15, caution=0.25, rate=0.004, patience=100.0),
    TailTraits(shape=-0.1, lightest=-0.3, excess=0.15, caution=0.0, rate=0.001, patience=1000.0),
    TailTraits(shape=-0.1, lightest=-0.3, excess=0.15, caution=0.25, rate=0.002, patience=500.0),
)
_SUSPECT = 0.5  # of the highest score in the asset
# A change that the instrument can only just resolve is no event; a channel that has never changed
# has no known resolution, and a thousandth of its level stands in.
_QUANTA, _SHARE_OF_LEVEL, _TINY = 2.5, 1e-3, 1e-9


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen of one reading of each of B channels; arrays (B,) unless said otherwise."""

    score: Floats
    """>= 0, NaN where the channel can't be scored"""
    kind: Codes
    expected: Floats
    lower: Floats
    upper: Floats
    views: Floats
    """(views, B) channel units; relation in standard deviations, NaN while unknown"""
    noise: Floats
    level: Floats
    floor: Floats
    known: Flags
    """there was an expectation to compare with"""


class Scorer:
    """Views and their thresholds for `capacity` channels."""

    def __init__(self, capacity: int, warmup_readings: int) -> None:
        self._warmup = warmup_readings
        self._tails = Tails(capacity, _TRAITS)
        self._count = np.zeros(capacity)
        self._noise, self._level, self._baseline = (np.zeros(capacity) for _ in range(3))
        self._accused = np.zeros(capacity)

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._tails.reset(rows)
        for column in (self._count, self._noise, self._level, self._baseline):
            column[rows] = 0.0
        self._accused[rows] = 0.0

    def warming(self, rows: Rows) -> Flags:
        """(B,) too little is known of the channel to score it."""
        return self._count[rows] < self._warmup

    def elect(self, compared: Compared) -> None:
        """Find, in each compared asset, the one channel that its relations speak against.

        One channel that goes astray spoils the expectation of all others. Of those that are far
        out by their own standards, only the one with the most evidence against it may alert, with
        the asset's highest score: the furthest beyond its threshold says that something is wrong,
        not where.
        """
        known = compared.rows >= 0
        rows = np.maximum(compared.rows, 0)
        limit = self._tails.thresholds(rows.ravel())[View.RELATION].reshape(rows.shape)
        size = np.where(known, np.abs(compared.residuals), 0.0)
        ratio = np.divide(size, limit, where=limit > 0.0, out=np.zeros_like(size))
        suspect = ratio >= _SUSPECT * ratio.max(axis=1, keepdims=True)
        leader = np.where(suspect & known, compared.evidence, -1.0).argmax(axis=1)
        self._accused[rows[known]] = 0.0
        self._accused[rows[np.arange(rows.shape[0]), leader]] = ratio.max(axis=1)

    def look(
        self,
        rows: Rows,
        values: Floats,
        expected: Floats,
        quantum: Floats,
        settling: Flags,
        relations: Relations,
    ) -> Look:
        """Score one reading of each channel in `rows` (unique).

        `expected`: (B,) NaN where there is no prediction. `quantum`: (B,) the channel's
        resolution. `settling`: (B,) the channel has just come back from a gap.
        """
        limit = self._tails.thresholds(rows)
        known = ~np.isnan(expected)
        missed = np.where(known, values - expected, 0.0)
        # One outlier may not fill the running figures: what exceeds its threshold counts as it.
        before = self._noise[rows]
        reach = np.where(limit[View.RESIDUAL] > 0.0, limit[View.RESIDUAL], np.inf)
        tamed = np.clip(missed, -reach, reach)
        noise = before + (np.abs(tamed) - before) / _NOISE_READINGS
        level = self._level[rows] + (values - missed + tamed - self._level[rows]) / _LEVEL_READINGS
        baseline = self._baseline[rows]
        anew = ~known | settling
        level = np.where(anew, values, level)
        noise = np.where(anew, before, noise)
        related = relations.residual(rows)

        views = np.stack(
            [
                np.abs(missed),
                noise,
                np.where(known, np.abs(level - baseline), 0.0),
                np.abs(related),
            ]
        )
        ratio = np.divide(views, limit, where=limit > 0.0, out=np.zeros_like(views))
        ratio[View.RELATION] = self._accused[rows]
        ratio[self._tails.counts(rows) < self._warmup * _WARMUPS] = 0.0
        worst = ratio.argmax(axis=0)
        score = np.minimum(ratio.max(axis=0), SCORE_LIMIT)
        score[self.warming(rows) | anew] = np.nan

        band = limit[View.RESIDUAL]
        half = np.where(worst == View.LEVEL, limit[View.LEVEL], band)
        centre = np.where(worst == View.LEVEL, baseline, expected)
        # Off by so much from what the others say, and so many times the threshold.
        off = related * relations.spread(rows)
        by_others = worst == View.RELATION
        centre = np.where(by_others, values - off, centre)
        half = np.where(by_others, np.abs(off) / np.maximum(score, 1.0), half)
        at_fault = score >= 1.0
        kind = np.where(worst == View.RELATION, Kind.RELATION, Kind.RESIDUAL)
        return Look(
            score=score,
            kind=np.where(at_fault, kind, Kind.NONE).astype(np.int8),
            expected=np.where(at_fault, centre, expected),
            lower=np.where(at_fault, centre - half, expected - band),
            upper=np.where(at_fault, centre + half, expected + band),
            views=views,
            noise=noise,
            level=level,
            floor=_floor(values, quantum),
            known=known & ~settling,
        )

    def learn(
        self,
        rows: Rows,
        values: Floats,
        look: Look,
        budget_per_week: float,
        interval_s: Floats,
        learns: Flags,
    ) -> None:
        """Take what was seen; only readings that `learns` marks say what is normal."""
        self._noise[rows] = look.noise
        self._level[rows] = look.level
        count = self._count[rows]
        rate = np.maximum(1.0 / _BASELINE_READINGS, 1.0 / (count + 1.0))
        baseline = self._baseline[rows] + rate * (values - self._baseline[rows])
        self._baseline[rows] = np.where(learns, baseline, self._baseline[rows])
        self._count[rows] = count + 1.0
        risk = budget_per_week / WEEK_S / len(View) * interval_s
        self._tails.learn(rows, look.views, look.floor, risk, learns & look.known)


def _floor(values: Floats, quantum: Floats) -> Floats:
    return np.where(quantum > 0.0, _QUANTA * quantum, _SHARE_OF_LEVEL * np.abs(values)) + _TINY
