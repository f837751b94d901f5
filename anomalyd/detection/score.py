"""The score: every view against its own calibrated threshold, the largest counts.

1.0 is the threshold on every channel, whatever its units and however noisy it is.

`look` changes nothing; `learn` takes what `look` saw. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Codes, Flags, Floats, Kind, Rows
from anomalyd.detection.relation import Compared, Relations
from anomalyd.detection.threshold import Tails, TailTraits
from anomalyd.detection.views import Seen, View, Views

WEEK_S = 7 * 86400.0
SCORE_LIMIT = 1000.0

# A view that averages over many readings has fewer independent ones to learn from: it may speak
# only after so many warm-ups.
_WARMUPS = np.array([0.5, 2.0, 6.0, 4.0])[:, None]
# Tails of single residuals are heavy; those of running means are lighter, and a level that moves in
# cycles has an end.
_TRAITS = (
    TailTraits(shape=0.1, lightest=-0.05, excess=0.3, caution=0.5, rate=0.01, patience=50.0),
    TailTraits(shape=0.0, lightest=-0.1, excess=0.15, caution=0.25, rate=0.004, patience=100.0),
    TailTraits(shape=-0.1, lightest=-0.3, excess=0.15, caution=0.0, rate=0.001, patience=1000.0),
    TailTraits(shape=-0.1, lightest=-0.3, excess=0.15, caution=0.5, rate=0.002, patience=500.0),
)
# A glitch (65535, -9999) in the first minutes must not pass for normal: it would blind the channel
# for days. Less far out, or many, are what the channel does: a switch that is rarely thrown.
_GLITCH, _FEW, _SPARED = 2000.0, 4.0, 8.0
_SUSPECT = 0.5  # of the highest score in the asset
# A change that the instrument can only just resolve is no event; a channel that has never changed
# has no known resolution, and a thousandth of its level stands in.
_QUANTA, _SHARE_OF_LEVEL, _TINY = 2.5, 1e-3, 1e-9


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen of one reading of each of B channels; arrays (B,)."""

    score: Floats
    """>= 0, NaN where the channel can't be scored"""
    kind: Codes
    expected: Floats
    lower: Floats
    upper: Floats
    seen: Seen


class Scorer:
    """Views and their thresholds for `capacity` channels."""

    def __init__(self, capacity: int, warmup_readings: int) -> None:
        self._warmup = warmup_readings
        self._views = Views(capacity)
        self._tails = Tails(capacity, _TRAITS)
        self._accused = np.zeros(capacity)
        self._spared = np.zeros(capacity)

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._views.reset(rows)
        self._tails.reset(rows)
        self._accused[rows] = self._spared[rows] = 0.0

    def thresholds(self, rows: Rows) -> Floats:
        """(views, B) the value of each view at which the score is 1; 0 while unknown."""
        return self._tails.thresholds(rows)

    def elect(self, compared: Compared) -> None:
        """Find, in each compared asset, the one channel that its relations speak against.

        One channel that goes astray spoils the expectation of all others. Of those that are far
        out by their own standards, only the one with the most evidence against it may alert, with
        the asset's highest score: the furthest beyond its threshold says that something is wrong,
        not where.
        """
        known = compared.rows >= 0
        rows = np.maximum(compared.rows, 0)
        limit = self.thresholds(rows.ravel())[View.RELATION].reshape(rows.shape)
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
    ) -> Look:
        """Score one reading of each channel in `rows` (unique).

        `expected`: (B,) NaN where there is no prediction. `settling`: (B,) the channel has just
        come back from a gap.
        """
        limit = self.thresholds(rows)
        band = limit[View.RESIDUAL]
        related = relations.residual(rows, times)
        largest = np.where(band > 0.0, band, np.inf)
        seen = self._views.look(rows, values, expected, related, settling, largest)
        ratio = np.divide(seen.views, limit, where=limit > 0.0, out=np.zeros_like(seen.views))
        ratio[View.RELATION] = np.where(np.isnan(related), 0.0, self._accused[rows])
        ratio[self._tails.counts(rows) < self._warmup * _WARMUPS] = 0.0
        worst, score = ratio.argmax(axis=0), np.minimum(ratio.max(axis=0), SCORE_LIMIT)
        score[~seen.known | (self._views.count(rows) < self._warmup)] = np.nan

        off = related * relations.spread(rows)
        centre, half = _reference(worst, score, values, expected, seen, limit, off)
        kind = np.where(worst == View.RELATION, Kind.RELATION, Kind.RESIDUAL)
        kind = np.where(score >= 1.0, kind, Kind.NONE).astype(np.int8)
        return Look(score, kind, centre, centre - half, centre + half, seen)

    def learn(
        self,
        rows: Rows,
        values: Floats,
        look: Look,
        quantum: Floats,
        budget_per_week: float,
        interval_s: Floats,
        learns: Flags,
    ) -> None:
        """Take what was seen; only readings that `learns` marks say what is normal.

        `quantum`: (B,) the channel's resolution. `interval_s`: (B,) the usual time between its
        readings: it turns the budget into a risk that one reading may take.
        """
        floor = np.tile(_floor(values, quantum), (len(View), 1))
        floor[View.RELATION] = _TINY  # it is not in channel units
        spared = self._spare(rows, look, floor[View.RESIDUAL])
        learns = learns & ~spared
        self._views.learn(rows, values, look.seen, learns, spared)
        risk = budget_per_week / WEEK_S / len(View) * interval_s
        self._tails.learn(rows, look.seen.views, floor, risk, learns & look.seen.known)

    def _spare(self, rows: Rows, look: Look, floor: Floats) -> Flags:
        """(B,) readings that are no part of what is normal, though nothing can alert yet: in a
        young channel, a few that are far beyond all others."""
        usual = np.maximum(self._tails.quantiles(rows)[View.RESIDUAL], floor)
        young = (self._views.count(rows) < self._warmup) & (self._spared[rows] < _SPARED)
        known = self._tails.counts(rows)[View.RESIDUAL] >= _FEW
        glitch = young & known & (look.seen.views[View.RESIDUAL] > _GLITCH * usual)
        self._spared[rows] += glitch
        return np.asarray(glitch)


def _reference(
    worst: NDArray[np.intp],
    score: Floats,
    values: Floats,
    expected: Floats,
    seen: Seen,
    limit: Floats,
    off: Floats,
) -> tuple[Floats, Floats]:
    """What was expected, and how far from it is still normal; both (B,), channel units.

    At fault it is the worst view that says what was expected: the next value, the long-term level,
    or what the other channels say, from which `values` are `off`.
    """
    by_level = (score >= 1.0) & (worst == View.LEVEL)
    by_others = (score >= 1.0) & (worst == View.RELATION)
    centre = np.where(by_level, seen.baseline, expected)
    half = np.where(by_level, limit[View.LEVEL], limit[View.RESIDUAL])
    centre = np.where(by_others, values - off, centre)
    return centre, np.where(by_others, np.abs(off) / np.maximum(score, 1.0), half)


def _floor(values: Floats, quantum: Floats) -> Floats:
    return np.where(quantum > 0.0, _QUANTA * quantum, _SHARE_OF_LEVEL * np.abs(values)) + _TINY
