"""The confirmed alerts: kept as cases that every later model must find, and left out of training.

Owned by whoever retrains, on its thread; the database of alerts is read, never written. A case is
kept when an alert is confirmed, while the history still has its readings, and again when an alert
that was confirmed while it stood has ended.
"""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from anomalyd.adapters.outbox import FILE, Outbox, Record
from anomalyd.model.segment import Cut, Segment, split
from anomalyd.runtime.history import History
from anomalyd.runtime.incidents import Incident, Incidents

log = logging.getLogger(__name__)

# Before an incident: an hour, or so many readings where that is longer, for a network and its
# baseline to know the channel; no more than some days are searched for them.
_BEFORE_S, _BEFORE_READINGS, _SEARCHED_S = 3600.0, 1000, 4 * 86400.0
_AFTER_S = 600.0
_MOST_READINGS = 2_000_000


class Casebook:
    """The cases below `directory`."""

    def __init__(
        self, directory: Path, history: History, mates: Callable[[str], Sequence[str]]
    ) -> None:
        """`mates`: the channels that one is compared with, itself among them."""
        self._alerts = directory / FILE
        self._history = history
        self._mates = mates
        self._cases = Incidents(directory / "incidents")
        self._kept: dict[str, float] | None = None

    def all(self) -> list[Incident]:
        """Every case."""
        return self._cases.all()

    def keep(self) -> None:
        """Every confirmed alert that isn't a case yet, or wasn't at its end."""
        if self._kept is None:
            self._kept = {each.alert: each.end_s for each in self._cases.all()}
        for each in self._confirmed():
            end_s = _end_s(each)
            if self._kept.get(each.id) != end_s:
                self._kept[each.id] = end_s
                self._keep(each, end_s)

    def without_confirmed(self, segments: Sequence[Segment]) -> list[Cut]:
        """The same readings; none of a channel's confirmed alerts teaches anything, however long
        it lasted."""
        spans: dict[str, list[tuple[float, float]]] = {}
        for each in self._confirmed():
            spans.setdefault(each.channel, []).append((each.started_s, each.cleared_s or math.inf))
        return [_without(each, spans.get(each.channel, ())) for each in segments]

    def _keep(self, alert: Record, end_s: float) -> None:
        past = self._history.copy(
            alert.started_s - _SEARCHED_S, end_s + 1.0, _MOST_READINGS, self._mates(alert.channel)
        )
        stretches = list(past.stretches())
        own = [each.times for each in stretches if each.channel == alert.channel]
        if not own or own[-1][-1] < alert.started_s:
            return
        times = np.concatenate(own)
        place = int(times.searchsorted(alert.started_s)) - _BEFORE_READINGS
        first_s = min(alert.started_s - _BEFORE_S, float(times[max(place, 0)]))
        _, segments = split(stretches, first_s)
        about = (alert.id, alert.channel, alert.kind, alert.started_s, end_s)
        self._cases.keep(Incident(*about, segments))

    def _confirmed(self) -> list[Record]:
        if not self._alerts.exists():
            return []
        try:
            with closing(Outbox(self._alerts, read_only=True)) as outbox:
                return outbox.confirmed()
        except sqlite3.Error as error:
            log.warning("models: the confirmed alerts can't be read: %s", error)
            return []


def _end_s(alert: Record) -> float:
    return alert.cleared_s or alert.started_s + _AFTER_S


def _without(segment: Segment, spans: Sequence[tuple[float, float]]) -> Cut:
    learnt = segment.learnt.copy()
    for start_s, end_s in spans:
        learnt &= (segment.times < start_s) | (segment.times > end_s)
    return Cut(segment.channel, segment.times, segment.values, learnt)
