"""Alerts from raise to clear, with the readings around them, gathered as a replay goes on.

`report.py` owns them, on the caller's thread. What is kept is bounded: of each channel its last
readings, of the highest-scored alerts the readings around them, thinned where they are many.

Readings are held as an array (n, 6): time, value, expected, lower, upper, score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from anomalyd.detection.reading import Floats, Rows, State, Verdicts
from anomalyd.runtime.alerts import Alert

BEFORE, AFTER = 150, 150
"""readings shown around an alert"""
MOST_READINGS = 1200
"""held of one alert; the least telling go first"""
MOST_EPISODES = 1000
MOST_TRACES = 160

_TIME, _VALUE, _SCORE = 0, 1, 5
_FIGURES = 6
_HALF_MS = 0.0005


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
        under = readings[:, _TIME] <= self.cleared_s + _HALF_MS
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

    def add(self, rows: Rows, readings: Floats, alerts: Sequence[Alert]) -> None:
        """Take readings (B, 6), sorted by row and within a row by time, and what they led to.

        An alert of a reading that isn't among them is left out.
        """
        for alert in alerts:
            if alert.transition == "raised":
                self._raise(alert, rows, readings)
            elif alert.id in self._open:
                self._open[alert.id].severity = alert.severity
                if alert.cleared_at is not None:
                    self._open.pop(alert.id).cleared_s = _seconds(alert.cleared_at)
        self._follow(rows, readings)
        self._keep(rows, readings)
        self._prune()

    def _raise(self, alert: Alert, rows: Rows, readings: Floats) -> None:
        like = np.abs(readings[:, _TIME] - _seconds(alert.started_at)) <= _HALF_MS
        like &= (readings[:, _VALUE] == alert.value) & (readings[:, _SCORE] == alert.score)
