"""Alerts from raise to clear, with the readings around them, gathered as a replay goes on.

`report.py` owns them, on the caller's thread. What is kept is bounded: of each channel its last
readings, of the highest-scored alerts the readings around them, thinned where they are many.

Readings are held as an array (n, 6): time, value, expected, lower, upper, score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from anomalyd.detection.reading import Floats, Rows, Verdicts
from anomalyd.runtime.alerts import Alert

BEFORE, AFTER = 150, 150
"""readings shown around an alert"""
MOST_READINGS = 1200
"""held of one alert; the least telling go first"""
MOST_EPISODES = 1000
MOST_TRACES = 160

_TIME, _VALUE, _SCORE = 0, 1, 5
_FIGURES = 6
# Alerts tell their times in whole milliseconds.
_MS = 0.001


def figures(verdicts: Verdicts) -> Floats:
    """(B, 6) of a batch."""
    columns = (verdicts.times, verdicts.values, verdicts.expected)
    return np.stack((*columns, verdicts.lower, verdicts.upper, verdicts.score), axis=1)


@dataclass(slots=True)
class Episode:
    """One alert of one channel; kind and reason are those at its raise."""

    row: int
    kind: str
    severity: str
    reason: str
    unit: str
    raised_s: float
    score: float
    """highest until it cleared"""
    trace: Floats | None
    """(n, 6) readings around it, None where others had more to tell"""
    cleared_s: float = math.inf
    after: int = 0
    """readings taken since it cleared"""

    def follow(self, readings: Floats) -> bool:
        """Take the channel's next readings (n, 6); False once there are enough."""
        under = readings[:, _TIME] <= self.cleared_s + _MS
        self.score = float(np.fmax(self.score, np.fmax.reduce(readings[under, _SCORE], initial=0)))
        taken = readings[: int(under.sum()) + AFTER - self.after]
        self.after += len(taken) - int(under.sum())
        if self.trace is not None:
            self.trace = _thinned(np.concatenate((self.trace, taken)))
        return self.after < AFTER


class Episodes:
    """All alerts of one replay, and the last readings of all channels."""

    def __init__(self) -> None:
        self.all: list[Episode] = []
        """in order of their raise; where there were too many, the highest-scored"""
        self._last = np.empty((0, BEFORE, _FIGURES))
        self._taken = np.zeros(0, dtype=np.int64)
        self._open: dict[str, Episode] = {}
        self._followed: list[Episode] = []

    def add(
        self, rows: Rows, readings: Floats, alerts: Sequence[Alert], names: Mapping[int, str]
    ) -> None:
        """Take a batch of readings (B, 6), sorted by row (B,) and within a row by time, and what
        they led to. `names`: what the file calls each row."""
        for alert in alerts:
            if alert.transition == "raised":
                self._raise(alert, rows, readings, names)
            elif alert.id in self._open:
                self._open[alert.id].severity = alert.severity
                if alert.cleared_at is not None:
                    self._open.pop(alert.id).cleared_s = _seconds(alert.cleared_at)
        self._follow(rows, readings)
        self._keep(rows, readings)
        self._prune()

    def _raise(self, alert: Alert, rows: Rows, readings: Floats, names: Mapping[int, str]) -> None:
        at = self._find(alert, rows, readings, names)
        if at is None:  # of a silence: its last reading may be of any earlier batch
            raised_s, row = _seconds(alert.started_at), _named(alert.channel, names)
            earlier = readings[np.searchsorted(rows, row) : np.searchsorted(rows, row + 1)]
            earlier = earlier[earlier[:, _TIME] < raised_s - _MS]
        else:
            raised_s, row = float(readings[at, _TIME]), int(rows[at])
            earlier = readings[np.searchsorted(rows, row) : at]
        episode = Episode(
            row,
            alert.kind,
            alert.severity,
            alert.reason,
            alert.unit,
            raised_s=raised_s,
            score=alert.score,
            trace=np.concatenate((self._before(row), earlier))[-BEFORE:],
        )
        self.all.append(episode)
        self._followed.append(episode)
        self._open[alert.id] = episode

    def _find(
        self, alert: Alert, rows: Rows, readings: Floats, names: Mapping[int, str]
    ) -> int | None:
        """The reading that raised the alert; None where none of these did. The file may call its
        channel otherwise, so it is known by its figures; the name decides where two channels have
        said the same."""
        same = np.abs(readings[:, _TIME] - _seconds(alert.started_at)) <= _MS
        same &= readings[:, _VALUE] == alert.value
        if alert.limit is None:  # the score of the others is their own, not the reading's
            same &= readings[:, _SCORE] == alert.score
        found: list[int] = np.flatnonzero(same).tolist()
        return max(found, key=lambda at: names[int(rows[at])].endswith(alert.channel), default=None)

    def _before(self, row: int) -> Floats:
        """(n, 6) the last readings of earlier batches."""
        if row >= self._taken.size:
            return np.empty((0, _FIGURES))
        newest = np.arange(max(self._taken[row] - BEFORE, 0), self._taken[row])
        before: Floats = self._last[row, newest % BEFORE]
        return before

    def _follow(self, rows: Rows, readings: Floats) -> None:
        going_on = []
        followed = np.array([each.row for each in self._followed], dtype=np.intp)
        firsts = np.searchsorted(rows, followed).tolist()
        ends = np.searchsorted(rows, followed + 1).tolist()
        for episode, first, end in zip(self._followed, firsts, ends, strict=True):
            news = readings[first:end]
            if not len(news) or episode.follow(news[news[:, _TIME] >= episode.raised_s]):
                going_on.append(episode)
        self._followed = going_on

    def _keep(self, rows: Rows, readings: Floats) -> None:
        found, first, counts = np.unique(rows, return_index=True, return_counts=True)
        self._grow(int(found[-1]) + 1)
        place = np.arange(rows.size) - np.repeat(first, counts)
        newest = place >= np.repeat(counts, counts) - BEFORE
        slots = (self._taken[rows] + place) % BEFORE
        self._last[rows[newest], slots[newest]] = readings[newest]
        self._taken[found] += counts

    def _grow(self, rows: int) -> None:
        held = self._taken.size
        if rows <= held:
            return
        grown = np.empty((max(rows, 2 * held), BEFORE, _FIGURES))
        grown[:held] = self._last
        self._last = grown
        self._taken = np.pad(self._taken, (0, len(grown) - held))

    # --- bounds -----------------------------------------------------------------------------

    def _prune(self) -> None:
        """Halve what has become too much; an alert that is forgotten is followed no more."""
        if len(self.all) > MOST_EPISODES:
            best = {id(each) for each in sorted(self.all, key=rank)[: MOST_EPISODES // 2]}
            self.all = [each for each in self.all if id(each) in best]
            self._followed = [each for each in self._followed if id(each) in best]
            self._open = {key: each for key, each in self._open.items() if id(each) in best}
        traced = [each for each in self.all if each.trace is not None]
        if len(traced) > MOST_TRACES:
            self._untrace(traced)

    def _untrace(self, traced: list[Episode]) -> None:
        """One finished alert a channel is enough."""
        seen: set[int] = set()
        kept = 0
        for episode in sorted(traced, key=rank):
            if (episode.row in seen and episode.after >= AFTER) or kept >= MOST_TRACES // 2:
                episode.trace = None
                continue
            seen.add(episode.row)
            kept += 1


def rank(episode: Episode) -> tuple[float, float, int]:
    """Sort key: the highest score first."""
    return -episode.score, episode.raised_s, episode.row


def _named(channel: str, names: Mapping[int, str]) -> int:
    """The row that the file calls so, or by a name that ends so."""
    return max(names, key=lambda row: (names[row] == channel, names[row].endswith(channel)))


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _thinned(readings: Floats) -> Floats:
    """Of every four readings the lowest and the highest, as often as it takes."""
    while len(readings) > MOST_READINGS:
        whole = len(readings) // 4 * 4
        fours = readings[:whole, _VALUE].reshape(-1, 4)
        extremes = np.stack((fours.argmin(axis=1), fours.argmax(axis=1)), axis=1)
        chosen = np.unique(extremes + np.arange(0, whole, 4)[:, None])
        readings = np.concatenate((readings[chosen], readings[whole:]))
    return readings
