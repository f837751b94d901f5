"""The alerts that have been raised and not cleared, and the documents that tell of them.

Owned by the pipeline, on its thread. No locks: other threads only count what is here, from copies.
What raises and clears an alert is decided in `detection/alert.py`; here it gets an id, a reason,
its contributors and its recent readings. All times are those of the readings, so a replay writes
the same documents.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from anomalyd.detection.alert import AlertStates, Transitions
from anomalyd.detection.channels import ChannelTable
from anomalyd.detection.reading import KIND_NAMES, Floats, Readings, Rows, Verdicts
from anomalyd.detection.score import WEEK_S
from anomalyd.detection.window import Windows
from anomalyd.runtime import alerts as documents
from anomalyd.runtime.alerts import Alert, Contributor, Severity, Transition

log = logging.getLogger(__name__)

RECENT_READINGS = 60
_MOST_CONTRIBUTORS = 5
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that has been raised and not cleared."""

    id: str
    started_s: float
    reason: str
    accepted: bool = False


class OpenAlerts:
    """At most one of each channel."""

    def __init__(
        self,
        instance: str,
        runbook_url: str,
        table: ChannelTable,
        states: AlertStates,
        windows: Windows,
        shares_of: Callable[[int], tuple[Rows, Floats]],
        model_of: Callable[[int], str],
    ) -> None:
        """The columns are the pipeline's and only looked at. `shares_of`: a row -> the channels of
        its asset and their shares of what is wrong; `model_of`: a row -> its model's name."""
        self.transitions: Counter[tuple[str, str, str]] = Counter()
        """(kind, severity, transition) -> how often it was told"""
        self.regime_changes = 0
        """lasting conditions that were accepted as the new normal"""
        self.regimes_withdrawn = 0
        """... and have gone again soon afterwards"""
        self._instance = instance
        self.runbook_url = runbook_url
        self._table = table
        self._states = states
        self._windows = windows
        self._shares_of = shares_of
        self._model_of = model_of
        self._open: dict[int, OpenAlert] = {}
        self._raised: deque[float] = deque(maxlen=100_000)
        self._first_s, self._newest_s = np.inf, -np.inf

    def tell(
        self, rows: Rows, at: Rows, times: Floats, changed: Transitions, verdicts: Verdicts
    ) -> list[Alert]:
        """What B scored readings changed; `at` are their places in the verdicts."""
        self._first_s = min(self._first_s, float(times.min()))
        self._newest_s = max(self._newest_s, float(times.max()))
        alerts = []
        for index in np.flatnonzero(changed.raised | changed.updated | changed.cleared).tolist():
            row, place, time_s = int(rows[index]), int(at[index]), float(times[index])
            if changed.raised[index]:
                self._raise(row, time_s, verdicts, place)
                alerts.append(self._document(row, "raised", time_s, verdicts, place))
            elif changed.updated[index]:
                if changed.accepted[index]:
                    self._accept(row)
                alerts.append(self._document(row, "updated", time_s, verdicts, place))
            else:
                alerts.append(self._document(row, "cleared", time_s, verdicts, place))
                del self._open[row]
        return alerts

    def stand_again(self, row: int, last: Readings) -> list[Alert]:
        """What was accepted as the new normal is called a fault; `last` is the last reading."""
        if not self._open[row].accepted:
            return []
        self._open[row] = replace(self._open[row], accepted=False)
        now_s, blank = float(last.times[0]), Verdicts.blank(last)
        return [self._document(row, "updated", now_s, blank, 0)]

    def withdraw(self, rows: Rows) -> None:
        """What was accepted on these channels was no new normal."""
        self.regimes_withdrawn += rows.size
        for row in rows.tolist():
            log.info(
                "channel=%s the new normal has not lasted: what was normal before it is so again",
                self._table[row].name,
            )
            if row in self._open:
                self._open[row] = replace(self._open[row], accepted=False)

    def identity(self, row: int, started_s: float) -> str:
        """Of the alert that was raised then on this channel."""
        return documents.alert_id(self._instance, self._table[row].name, started_s)

    def retire(self, row: int, last: Readings, now_s: float) -> list[Alert]:
        """Clear what a channel leaves behind; `last` is its last reading."""
        if row not in self._open:
            return []
        cleared = self._document(row, "cleared", now_s, Verdicts.blank(last), 0)
        del self._open[row]
        return [cleared]

    # --- what is kept -----------------------------------------------------------------------

    @property
    def open(self) -> dict[int, OpenAlert]:
        """Row -> its open alert; a restart puts back what it kept of it."""
        return self._open

    def history(self) -> tuple[list[float], float, float]:
        """When alerts were raised, and the first and the newest reading; seconds since 1970."""
        return list(self._raised), self._first_s, self._newest_s

    def remember(self, raised_s: Sequence[float], first_s: float, newest_s: float) -> None:
        """Go on from the history of before a restart."""
        self._raised.extend(raised_s)
        self._first_s, self._newest_s = first_s, newest_s

    # --- figures ----------------------------------------------------------------------------

    @property
    def alarm_rate_per_week(self) -> float:
        """Alerts raised in the last week of the readings; from less than a day, as if a day had
        passed, so that the first alert of a young daemon is not a flood."""
        observed_s = min(max(self._newest_s - self._first_s, _DAY_S), WEEK_S)
        since = self._newest_s - WEEK_S
        return sum(raised_s > since for raised_s in list(self._raised)) * WEEK_S / observed_s

    def ids(self) -> set[str]:
        """Of the open alerts."""
        return {each.id for each in list(self._open.values())}

    def count_active(self) -> Mapping[str, int]:
        """Open alerts by severity."""
        severities = Counter(self._severity(row) for row in list(self._open))
        return {"warning": severities["warning"], "critical": severities["critical"]}

    # --- documents --------------------------------------------------------------------------

    def _raise(self, row: int, time_s: float, verdicts: Verdicts, place: int) -> None:
        identity = documents.alert_id(self._instance, self._table[row].name, time_s)
        self._open[row] = OpenAlert(identity, time_s, self._reason(row, verdicts, place))
        self._raised.append(time_s)

    def _accept(self, row: int) -> None:
        self._open[row] = replace(self._open[row], accepted=True)
        self.regime_changes += 1
        log.info(
            "channel=%s alert accepted as the new normal id=%s",
            self._table[row].name,
            self._open[row].id,
        )

    def _document(
        self, row: int, transition: Transition, time_s: float, verdicts: Verdicts, place: int
    ) -> Alert:
        channel, standing = self._table[row], self._open[row]
        kind, severity = self._kind(row), self._severity(row)
        self.transitions[kind, severity, transition] += 1
        over, when = transition == "cleared", documents.iso(time_s)
        why = standing.reason if over else self._reason(row, verdicts, place)
        return Alert(
            id=standing.id,
            transition=transition,
            channel=channel.name,
            labels=channel.labels,
            kind=kind,
            severity=severity,
            reason=f"{self._preface(row, over, standing.accepted)}{why}",
            score=documents.number(float(verdicts.score[place])) or 0.0,
            value=float(verdicts.values[place]),
            expected=documents.number(float(verdicts.expected[place])),
            lower=documents.number(float(verdicts.lower[place])),
            upper=documents.number(float(verdicts.upper[place])),
            unit=channel.unit,
            started_at=documents.iso(standing.started_s),
            updated_at=when,
            cleared_at=when if over else None,
            contributors=self._contributors(row, kind),
            recent=documents.samples(self._windows.recent(row, RECENT_READINGS)),
            model=self._model_of(row),
            instance=self._instance,
            runbook_url=self.runbook_url,
            accepted=standing.accepted,
        )

    def _preface(self, row: int, over: bool, accepted: bool) -> str:
        if not accepted:
            return "over; it was: " if over else ""
        rows = np.array([row])
        why = f"after {documents.lasted(float(self._states.accepted_after_s(rows)[0]))}"
        if self._states.waived(rows)[0]:
            why = "as somebody called it a false alarm"
        told = f"accepted as the new normal {why}"
        return f"over, {told}; it was: " if over else f"{told}: "

    def _reason(self, row: int, verdicts: Verdicts, place: int) -> str:
        """Why; where the score has come down meanwhile, why the alert was raised."""
        standing = self._open.get(row)
        if standing is not None and not float(verdicts.score[place]) >= 1.0:
            return standing.reason
        return documents.reason(
            self._kind(row),
            float(verdicts.values[place]),
            float(verdicts.expected[place]),
            float(verdicts.lower[place]),
            float(verdicts.upper[place]),
            self._table[row].unit,
        )

    def _kind(self, row: int) -> str:
        return KIND_NAMES[int(self._states.kinds(np.array([row]))[0])]

    def _severity(self, row: int) -> Severity:
        return "critical" if self._states.critical(np.array([row]))[0] else "warning"

    def _contributors(self, row: int, kind: str) -> list[Contributor]:
        if kind != "relation":
            return [Contributor(self._table[row].name, 1.0)]
        rows, shares = self._shares_of(row)
        ranked = zip(rows.tolist(), shares.tolist(), strict=True)
        return [
            Contributor(self._table[other].name, round(share, 4))
            for other, share in list(ranked)[:_MOST_CONTRIBUTORS]
        ]
