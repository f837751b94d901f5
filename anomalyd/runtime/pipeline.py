"""The one way that a reading travels: window, prediction, residual, score, alert state.

`step` is synchronous and has no clock: the daemon's pipeline thread and `replay` call the same
function, and a batch gives the same verdicts as its readings one by one. The pipeline owns all
columns and is touched by one thread alone, so there are no locks.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from anomalyd.detection.alert import AlertRules, AlertStates, Transitions
from anomalyd.detection.cadence import Beat, Cadence
from anomalyd.detection.channels import Channel, ChannelTable
from anomalyd.detection.quality import Stillness
from anomalyd.detection.reading import (
    KIND_NAMES,
    STATE_NAMES,
    Flags,
    Floats,
    Kind,
    Readings,
    Rows,
    State,
    Verdicts,
)
from anomalyd.detection.relation import Relations
from anomalyd.detection.rounds import rounds
from anomalyd.detection.score import WEEK_S, Scorer
from anomalyd.detection.window import Windows
from anomalyd.model.forecaster import Forecaster
from anomalyd.model.predictor import Predictor
from anomalyd.runtime import alerts as documents
from anomalyd.runtime.alerts import Alert, Contributor, Sample, Severity, Transition
from anomalyd.runtime.limits import LimitWatch
from anomalyd.settings import Alerts, Channels, Stream

RECENT_READINGS = 60
LARGEST_VALUE = 1e36
"""no instrument reads more, and 32-bit floats still hold it"""
_MOST_CONTRIBUTORS = 5
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch led to."""

    verdicts: Verdicts
    alerts: Sequence[Alert]

    @staticmethod
    def of(alerts: Sequence[Alert]) -> Outcome:
        """Alerts that no reading led to."""
        nothing = np.empty(0)
        return Outcome(Verdicts.blank(Readings(np.empty(0, np.intp), nothing, nothing)), alerts)


@dataclass(frozen=True, slots=True)
class _OpenAlert:
    """An alert that has been raised and not cleared."""

    id: str
    started_s: float
    reason: str


class Pipeline:
    """All columns of all channels."""

    def __init__(
        self,
        instance: str,
        channels: Channels,
        alerts: Alerts,
        streams: Sequence[Stream],
        predictors: Sequence[Predictor],
        forecasters: Sequence[Forecaster | None] = (),
    ) -> None:
        """`predictors`: one for each stream, then the one for channels of no stream.
        `forecasters`: one for each stream, None for those without limits."""
        capacity = channels.max
        self.table = ChannelTable(capacity)
        self.rejected: Counter[str] = Counter()
        self.transitions: Counter[tuple[str, str, str]] = Counter()
        self.readings_scored = 0
        self._instance = instance
        self._rules = alerts
        self._streams = streams
        self._predictor_of_stream = [*predictors]
        self._predictors = list({id(each): each for each in predictors}.values())
        self._predictor = np.zeros(capacity, dtype=np.int32)
        self._windows = Windows(capacity, channels.window)
        self._cadence = Cadence(capacity, channels.gap_intervals)
        self._stillness = Stillness(capacity)
        self._relations = Relations(capacity)
        self._scorer = Scorer(capacity, channels.warmup_readings)
        self._states = AlertStates(
            capacity,
            AlertRules(
                alerts.pending_readings,
                alerts.clear_below,
                alerts.clear_readings,
                alerts.update_every_s,
                alerts.accept_after_s,
                alerts.critical_score,
            ),
        )
        self._expected = np.zeros(capacity)
        self._score = np.zeros(capacity)
        self._assets: dict[str, int] = {}
        self._free_assets = list(reversed(range(capacity)))
        self._open: dict[int, _OpenAlert] = {}
        self._raised: deque[float] = deque(maxlen=100_000)
        self._first_s, self._newest_s = np.inf, -np.inf
        self._limits = LimitWatch(
            instance,
            alerts,
            streams,
            forecasters,
            self.table,
            self._windows,
            self._cadence,
            self.transitions,
        )

    # --- channels ---------------------------------------------------------------------------

    def add(self, channel: Channel) -> int | None:
        """Make room for a new channel; its row, or None where there are too many."""
        row = self.table.add(channel)
        if row is None:
            return None
        rows = np.array([row])
        predictor = self._predictor_of_stream[channel.stream]
        self._predictor[row] = self._predictors.index(predictor)
        predictor.reset(rows)
        for columns in (self._windows, self._stillness, self._scorer, self._states):
            columns.reset(rows)
        stream = self._streams[channel.stream] if channel.stream >= 0 else None
        self._cadence.reset(rows, (stream.interval_s if stream else None) or 0.0)
        self._expected[row] = self._score[row] = np.nan
        self._limits.reset(row)
        if channel.asset is not None:
            if channel.asset not in self._assets:
                self._assets[channel.asset] = self._free_assets.pop()
            self._relations.join(row, self._assets[channel.asset])
        return row

    def retire(self, row: int, now_s: float) -> list[Alert]:
        """Forget a channel; an alert that it leaves behind is cleared."""
        rows, cleared = np.array([row]), self._limits.retire(row, now_s)
        if row in self._open:
            last = Readings(rows, self._cadence.last_s(rows), self._windows.last(rows))
            cleared.append(self._document(row, "cleared", now_s, Verdicts.blank(last), 0))
            del self._open[row]
        self._relations.leave(rows)
        asset = self.table[row].asset
        if asset in self._assets and self._relations.empty(self._assets[asset]):
            self._free_assets.append(self._assets.pop(asset))
        self._states.reset(rows)
        self.table.remove(row)
        return cleared

    # --- readings ---------------------------------------------------------------------------

    def step(self, readings: Readings) -> Outcome:
        """Score a batch of readings in their order of arrival, and learn from it."""
        verdicts = Verdicts.blank(readings)
        alerts: list[Alert] = []
        if len(readings):
            groups = self._relations.group(readings.rows)
            for chosen in rounds(readings.rows, groups, self._relations.fits):
                alerts += self._round(readings.take(chosen), chosen, verdicts)
        return Outcome(verdicts, alerts)

    def _round(self, readings: Readings, at: Rows, verdicts: Verdicts) -> list[Alert]:
        """At most one reading a channel; `at` are their places in the batch."""
        beat = self._cadence.judge(readings.rows, readings.times)
        finite = np.abs(readings.values) <= LARGEST_VALUE  # NaN isn't
        fit = finite & ~beat.late
        if not fit.all():
            self._reject(readings.rows, at, finite, fit, verdicts)
            readings, at = readings.take(fit), at[fit]
            beat = Beat(*(flags[fit] for flags in beat))
            if not len(readings):
                return []
        return self._score_round(readings, at, beat, verdicts)

    def _reject(self, rows: Rows, at: Rows, finite: Flags, fit: Flags, verdicts: Verdicts) -> None:
        reason = np.where(finite, Kind.LATE, Kind.VALUE)[~fit]
        verdicts.kind[at[~fit]] = reason
        verdicts.state[at[~fit]] = self._states.states(rows[~fit])
        for kind, count in zip(*np.unique(reason, return_counts=True), strict=True):
            self.rejected[KIND_NAMES[int(kind)]] += int(count)

    def _score_round(
        self, readings: Readings, at: Rows, beat: Beat, verdicts: Verdicts
    ) -> list[Alert]:
        rows, times, values = readings.rows, readings.times, readings.values
        self._predict(rows[beat.step])
        self._cadence.learn(rows, times, beat)
        settling = self._cadence.settling(rows)
        expected = self._expected[rows]
        look = self._scorer.look(rows, times, values, expected, settling, self._relations)
        still = np.where(np.isnan(look.score), 0.0, self._stillness.score(rows, values))
        stuck = still > np.nan_to_num(look.score)
        score = np.where(stuck, still, look.score)
        kind = np.where(stuck, Kind.STUCK, look.kind).astype(np.int8)

        changed = self._states.advance(rows, times, score, kind, np.isnan(score))
        learns = ~self._states.quarantined(rows, times)
        self._stillness.learn(rows, values, learns)
        interval_s = self._cadence.interval_s(rows)
        quantum = self._quantum(rows)
        self._scorer.learn(rows, values, look, quantum, self.budget_per_week, interval_s, learns)
        self._compare(readings, interval_s)
        self._windows.append(rows, times, values, expected, ~beat.step)
        self._remember(times, score)

        state = self._states.states(rows)
        kind = np.where(state == State.FIRING, self._states.kinds(rows), kind)
        kind = np.where(settling & (state <= State.NORMAL), Kind.GAP, kind)
        self._score[rows] = score
        for column, figures in (
            (verdicts.expected, look.expected),
            (verdicts.lower, look.lower),
            (verdicts.upper, look.upper),
            (verdicts.score, score),
            (verdicts.state, state),
            (verdicts.kind, kind),
        ):
            column[at] = figures
        alerts = self._documents(rows, at, times, changed, verdicts)
        warming = state == State.WARMING
        return alerts + self._limits.observe(readings, beat.step, beat.gap, warming)

    def _predict(self, rows: Rows) -> None:
        """Let the predictors take the last value of channels that begin a new step.

        Only now is a step's value final: on a fixed grid, the last value in a bin is held.
        """
        rows = rows[self._windows.count(rows) > 0]
        for index, predictor in enumerate(self._predictors):
            mine = rows if len(self._predictors) == 1 else rows[self._predictor[rows] == index]
            if mine.size:
                held, after_gap = self._windows.last(mine), self._cadence.after_gap(mine)
                self._expected[mine], _ = predictor.observe(mine, held, after_gap)

    def _quantum(self, rows: Rows) -> Floats:
        if len(self._predictors) == 1:
            return self._predictors[0].quantum(rows)
        each = np.stack([predictor.quantum(rows) for predictor in self._predictors])
        return each[self._predictor[rows], np.arange(rows.size)]

    def _compare(self, readings: Readings, interval_s: Floats) -> None:
        """Compare the assets whose channels have all spoken; what comes of it shows in their next
        readings. An asset with a channel under alert teaches nothing about its relations."""
        compared = self._relations.observe(
            readings.rows, readings.times, readings.values, interval_s
        )
        if not compared.assets.size:
            return
        self._scorer.elect(compared)
        rows = np.maximum(compared.rows, 0)
        last_s = self._cadence.last_s(rows.ravel())
        under = self._states.quarantined(rows.ravel(), last_s).reshape(rows.shape)
        learns = np.logical_not((under & (compared.rows >= 0)).any(axis=1))
        self._relations.learn(compared, learns)

    def _remember(self, times: Floats, score: Floats) -> None:
        self.readings_scored += times.size
        self._first_s = min(self._first_s, float(times.min()))
        self._newest_s = max(self._newest_s, float(times.max()))

    # --- alerts -----------------------------------------------------------------------------

    def _documents(
        self, rows: Rows, at: Rows, times: Floats, changed: Transitions, verdicts: Verdicts
    ) -> list[Alert]:
        alerts = []
        for index in np.flatnonzero(changed.raised | changed.updated | changed.cleared).tolist():
            row, place, time_s = int(rows[index]), int(at[index]), float(times[index])
            if changed.raised[index]:
                name = self.table[row].name
                identity = documents.alert_id(self._instance, name, time_s)
                self._open[row] = _OpenAlert(identity, time_s, self._reason(row, verdicts, place))
                self._raised.append(time_s)
                alerts.append(self._document(row, "raised", time_s, verdicts, place))
            elif changed.updated[index]:
                alerts.append(self._document(row, "updated", time_s, verdicts, place))
            else:
                alerts.append(self._document(row, "cleared", time_s, verdicts, place))
                del self._open[row]
        return alerts

    def _document(
        self, row: int, transition: Transition, time_s: float, verdicts: Verdicts, place: int
    ) -> Alert:
        channel, standing = self.table[row], self._open[row]
        kind = KIND_NAMES[int(self._states.kinds(np.array([row]))[0])]
        score = documents.number(float(verdicts.score[place]))
        severity = self._severity(row)
        value, expected = float(verdicts.values[place]), float(verdicts.expected[place])
        lower, upper = float(verdicts.lower[place]), float(verdicts.upper[place])
        self.transitions[kind, severity, transition] += 1
        when = documents.iso(time_s)
        return Alert(
            id=standing.id,
            transition=transition,
            channel=channel.name,
            labels=channel.labels,
            kind=kind,
            severity=severity,
            reason=f"over; it was: {standing.reason}"
            if transition == "cleared"
            else self._reason(row, verdicts, place),
            score=score or 0.0,
            value=value,
            expected=documents.number(expected),
            lower=documents.number(lower),
            upper=documents.number(upper),
            unit=channel.unit,
            started_at=documents.iso(standing.started_s),
            updated_at=when,
            cleared_at=when if transition == "cleared" else None,
            contributors=self._contributors(row, kind),
            recent=self._recent(row),
            model=self._predictors[self._predictor[row]].name,
            instance=self._instance,
            runbook_url=self._rules.runbook_url,
        )

    def _reason(self, row: int, verdicts: Verdicts, place: int) -> str:
        """Why; where the score has come down meanwhile, why the alert was raised."""
        standing = self._open.get(row)
        if standing is not None and not float(verdicts.score[place]) >= 1.0:
            return standing.reason
        kind = KIND_NAMES[int(self._states.kinds(np.array([row]))[0])]
        return documents.reason(
            kind,
            float(verdicts.values[place]),
            float(verdicts.expected[place]),
            float(verdicts.lower[place]),
            float(verdicts.upper[place]),
            self.table[row].unit,
        )

    def _severity(self, row: int) -> Severity:
        return "critical" if self._states.critical(np.array([row]))[0] else "warning"

    def _contributors(self, row: int, kind: str) -> list[Contributor]:
        if kind != "relation":
            return [Contributor(self.table[row].name, 1.0)]
        rows, shares = self._relations.shares(row)
        ranked = zip(rows.tolist(), shares.tolist(), strict=True)
        return [
            Contributor(self.table[other].name, round(share, 4))
            for other, share in list(ranked)[:_MOST_CONTRIBUTORS]
        ]

    def _recent(self, row: int) -> list[Sample]:
        recent = self._windows.recent(row, RECENT_READINGS)
        return [
            Sample(documents.iso(time_s), value, documents.number(expected))
            for time_s, value, expected in zip(*(each.tolist() for each in recent), strict=True)
        ]

    # --- figures ----------------------------------------------------------------------------

    @property
    def budget_per_week(self) -> float:
        """False alarms that one channel may raise a week: the stricter of the two promises."""
        plant = self._rules.plant_budget_per_day * 7.0 / max(len(self.table), 1)
        return min(self._rules.budget_per_week, plant)

    @property
    def plant_budget_per_week(self) -> float:
        """False alarms that all channels together may raise a week."""
        return self.budget_per_week * max(len(self.table), 1)

    @property
    def alarm_rate_per_week(self) -> float:
        """Alerts raised in the last week of the readings; from less than a day, as if a day had
        passed, so that the first alert of a young daemon is not a flood."""
        observed_s = min(max(self._newest_s - self._first_s, _DAY_S), WEEK_S)
        since = self._newest_s - WEEK_S
        return sum(raised_s > since for raised_s in list(self._raised)) * WEEK_S / observed_s

    def scores(self, rows: Sequence[int]) -> Floats:
        """(B,) newest score of each channel; NaN where it can't be scored."""
        return self._score[np.array(rows, dtype=np.intp)]

    def count_states(self, rows: Sequence[int]) -> Mapping[str, int]:
        """These channels, by state."""
        states = self._states.states(np.array(rows, dtype=np.intp))
        counts = np.bincount(states, minlength=len(State))
        return dict(zip(STATE_NAMES, counts.tolist(), strict=True))

    def count_active(self) -> Mapping[str, int]:
        """Open alerts by severity."""
        severities = Counter(self._severity(row) for row in list(self._open))
        severities += self._limits.count_active()
        return {"warning": severities["warning"], "critical": severities["critical"]}
