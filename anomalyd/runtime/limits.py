"""The watch over channels with limits: what reaches its limit, and what is on its way there.

Called by the pipeline on its thread, with every round of readings; channels without limits cost it
one look at a column. When enough blocks of a resolution are complete, the forecaster is asked for
those channels in one batch. Out come documents of kinds `forecast` and `range`; a channel has at
most one of the two open, beside its other alert, and neither keeps anything from being learnt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalyd.detection.approach import HIGH, SIGNS, SURE, Approach, Changes, Crossing
from anomalyd.detection.blocks import FACTOR, Blocks
from anomalyd.detection.cadence import Cadence
from anomalyd.detection.channels import ChannelTable
from anomalyd.detection.reading import KIND_NAMES, Flags, Floats, Kind, Readings, Rows
from anomalyd.detection.window import Windows
from anomalyd.model.encoder_decoder import FEWEST_BLOCKS
from anomalyd.model.forecaster import Forecaster
from anomalyd.runtime import alerts as documents
from anomalyd.runtime.alerts import Alert, Contributor, Severity, Transition
from anomalyd.runtime.open_alerts import RECENT_READINGS
from anomalyd.settings import Alerts, Stream


@dataclass(slots=True)
class Standing:
    """An alert that has been raised and not cleared."""

    id: str
    kind: Kind
    started_s: float
    limit: float
    reason: str
    score: float
    crossing: documents.Crossing | None


class LimitWatch:
    """Owner of the columns that limits need, and of the open alerts about them."""

    def __init__(
        self,
        instance: str,
        rules: Alerts,
        streams: Sequence[Stream],
        forecasters: Sequence[Forecaster | None],
        table: ChannelTable,
        windows: Windows,
        cadence: Cadence,
        transitions: Counter[tuple[str, str, str]],
    ) -> None:
        self._instance = instance
        self._rules = rules
        self._streams = streams
        self._forecasters = forecasters
        self._table, self._windows, self._cadence = table, windows, cadence
        self._transitions = transitions
        self._limited = np.zeros(table.capacity, dtype=np.bool_)
        self._any = False
        self._forecaster = np.zeros(table.capacity, dtype=np.int32)
        length = max((each.window for each in forecasters if each), default=1)
        self._blocks = Blocks(table.capacity, length)
        self._approach = Approach(
            table.capacity,
            rules.forecast_budget_per_week,
            rules.pending_readings,
            rules.clear_readings,
            rules.update_every_s,
        )
        self._open: dict[int, Standing] = {}

    # --- what is kept -----------------------------------------------------------------------

    @property
    def columns(self) -> tuple[Approach, Blocks]:
        """What is kept of channels with limits."""
        return self._approach, self._blocks

    def limited(self, rows: Rows) -> Flags:
        """(B,) the channel has limits."""
        return self._limited[rows]

    @property
    def open(self) -> dict[int, Standing]:
        """Row -> its open alert about limits; a restart puts back what it kept of it."""
        return self._open

    def change_rules(self, rules: Alerts) -> None:
        """The next readings are held to these."""
        self._rules = rules
        self._approach.change_rules(
            rules.forecast_budget_per_week,
            rules.pending_readings,
            rules.clear_readings,
            rules.update_every_s,
        )

    # --- channels ---------------------------------------------------------------------------

    def reset(self, rows: Rows, index: int) -> None:
        """New channels of one stream, or of none (-1), have these rows."""
        stream = self._streams[index] if index >= 0 else None
        limited = stream is not None and not (stream.low is None and stream.high is None)
        self._limited[rows] = limited
        if stream is None or not limited:
            return
        self._any = True
        self._forecaster[rows] = index
        self._blocks.reset(rows)
        low = -np.inf if stream.low is None else stream.low
        self._approach.reset(rows, low, np.inf if stream.high is None else stream.high)

    def retire(self, row: int, now_s: float) -> list[Alert]:
        """Forget a channel; an alert that it leaves behind is cleared."""
        self._limited[row] = False
        if row not in self._open:
            return []
        return [self._clear(row, now_s, float(self._windows.last(np.array([row]))[0]))]

    # --- readings ---------------------------------------------------------------------------

    def observe(self, readings: Readings, step: Flags, gap: Flags, warming: Flags) -> list[Alert]:
        """Take a round of readings, at most one a channel, that the windows already have.

        `step`: it begins a new step of the grid; `gap`: it comes after a silence.
        """
        if not self._any:
            return []
        limited = self._limited[readings.rows]
        if not limited.any():
            return []
        readings, step, gap = readings.take(limited), step[limited], gap[limited]
        if gap.any():
            self._interrupt(readings.rows[gap])
        self._forecast(readings.take(step))
        changes = self._approach.advance(
            readings.rows, readings.times, readings.values, warming[limited]
        )
        return self._documents(readings, changes)

    def _interrupt(self, rows: Rows) -> None:
        """Not known is how long the silence was, as the cadence has taken this reading already."""
        times = np.array([self._windows.recent(int(row), 2).times for row in rows])
        silence = times[:, -1] - times[:, 0]
        self._blocks.interrupt(rows, silence / self._cadence.interval_s(rows))

    def _forecast(self, readings: Readings) -> None:
        """Add the readings to the blocks, ask about those that are due, in one batch."""
        due = list(self._blocks.append(readings.rows, readings.values))
        if not due:
            return
        place = np.zeros(self._limited.size, dtype=np.intp)
        place[readings.rows] = np.arange(len(readings))
        for index in np.unique(self._forecaster[readings.rows]).tolist():
            forecaster = self._forecasters[index]
            if forecaster is not None:
                mine = [(level, rows[self._forecaster[rows] == index]) for level, rows in due]
                self._ask(forecaster, mine, readings.times, place)

    def _ask(
        self,
        forecaster: Forecaster,
        due: Sequence[tuple[int, Rows]],
        times: Floats,
        place: Rows,
    ) -> None:
        asked, windows, filled, limits = [], [], [], []
        for level, rows in due:
            window, count = self._blocks.windows(rows, level)
            for side, sign in enumerate(SIGNS):
                limit = sign * self._approach.limits(rows, side)
                chosen = np.isfinite(limit) & (count >= FEWEST_BLOCKS)
                asked.append((level, side, rows[chosen]))
                windows.append(sign * window[chosen])
                filled.append(count[chosen])
                limits.append(limit[chosen])
        if not sum(rows.size for *_, rows in asked):
            return
        found = forecaster.passages(*(np.concatenate(each) for each in (windows, filled, limits)))
        begin = 0
        for level, side, rows in asked:
            part = slice(begin, begin + rows.size)
            begin += rows.size
            block_s = self._cadence.interval_s(rows) * float(FACTOR) ** level
            now = times[place[rows]]
            when = (now + each[part] * block_s for each in found[1:])
            self._approach.learn(rows, side, level, Crossing(found.chance[part], *when))

    # --- alerts -----------------------------------------------------------------------------

    def ids(self) -> set[str]:
        """Of the open alerts."""
        return {each.id for each in list(self._open.values())}

    def count_active(self) -> Counter[Severity]:
        """Open alerts by severity."""
        return Counter(_severity(each.kind) for each in list(self._open.values()))

    def _documents(self, readings: Readings, changes: Changes) -> list[Alert]:
        alerts: list[Alert] = []
        changed = changes.ended | changes.warned | changes.exceeded | changes.updated
        for at in np.flatnonzero(changed).tolist():
            row, time_s = int(readings.rows[at]), float(readings.times[at])
            value = float(readings.values[at])
            if changes.ended[at]:
                alerts.append(self._clear(row, time_s, value, bool(changes.reached[at])))
            if changes.exceeded[at]:
                self._open[row] = self._exceeded(row, time_s, value)
                alerts.append(self._document(row, "raised", time_s, value))
            elif changes.warned[at]:
                self._open[row] = self._warned(row, time_s)
                alerts.append(self._document(row, "raised", time_s, value))
            elif changes.updated[at]:
                self._foresee(row, self._open[row], time_s)
                alerts.append(self._document(row, "updated", time_s, value))
        return alerts

    def _begin(self, row: int, kind: Kind, time_s: float) -> Standing:
        rows = np.array([row])
        # No topic, and so no channel's name, has a # in it: the id belongs to no other alert.
        name = f"{self._table[row].name}#{KIND_NAMES[kind]}"
        identity = documents.alert_id(self._instance, name, time_s)
        limit = float(self._approach.limits(rows, int(self._approach.side(rows)[0]))[0])
        return Standing(identity, kind, time_s, limit, "", 1.0, None)

    def _exceeded(self, row: int, time_s: float, value: float) -> Standing:
        standing = self._begin(row, Kind.RANGE, time_s)
        unit = self._unit(row)
        side = "above" if self._high(row) else "below"
        standing.reason = f"{value:.6g}{unit} is {side} its limit of {standing.limit:.6g}{unit}"
        if value == standing.limit:
            standing.reason = f"{value:.6g}{unit} is its limit"
        return standing

    def _warned(self, row: int, time_s: float) -> Standing:
        standing = self._begin(row, Kind.FORECAST, time_s)
        self._foresee(row, standing, time_s)
        return standing

    def _foresee(self, row: int, standing: Standing, now_s: float) -> None:
        """Let an early warning say what the newest forecast does."""
        found = self._approach.crossing(np.array([row]), np.array([now_s]))
        chance, *times = (float(each[0]) for each in found)
        verb = "reaches" if self._high(row) else "falls to"
        when = documents.span(*(max(each - now_s, 0.0) for each in times))
        standing.reason = f"{verb} {standing.limit:.6g}{self._unit(row)} in {when}"
        standing.score = chance / SURE
        standing.crossing = documents.Crossing(*(documents.iso(each) for each in times))

    def _clear(self, row: int, time_s: float, value: float, reached: bool = False) -> Alert:
        how = "reached" if reached else "over"
        self._open[row].reason = f"{how}; it was: {self._open[row].reason}"
        cleared = self._document(row, "cleared", time_s, value)
        del self._open[row]
        return cleared

    def _document(self, row: int, transition: Transition, time_s: float, value: float) -> Alert:
        channel, standing = self._table[row], self._open[row]
        kind, severity = KIND_NAMES[standing.kind], _severity(standing.kind)
        forecaster = self._forecasters[channel.stream] if channel.stream >= 0 else None
        self._transitions[kind, severity, transition] += 1
        when = documents.iso(time_s)
        return Alert(
            id=standing.id,
            transition=transition,
            channel=channel.name,
            labels=channel.labels,
            kind=kind,
            severity=severity,
            reason=standing.reason,
            score=standing.score,
            value=value,
            expected=None,
            lower=None,
            upper=None,
            unit=channel.unit,
            started_at=documents.iso(standing.started_s),
            updated_at=when,
            cleared_at=when if transition == "cleared" else None,
            contributors=[Contributor(channel.name, 1.0)],
            recent=documents.samples(self._windows.recent(row, RECENT_READINGS)),
            model=forecaster.name if forecaster and standing.kind == Kind.FORECAST else "",
            instance=self._instance,
            runbook_url=self._rules.runbook_url,
            limit=standing.limit,
            crosses_at=standing.crossing,
        )

    def _high(self, row: int) -> bool:
        return int(self._approach.side(np.array([row]))[0]) == HIGH

    def _unit(self, row: int) -> str:
        unit = self._table[row].unit
        return f" {unit}" if unit else ""


def _severity(kind: Kind) -> Severity:
    """An early warning leaves time to act; out of limits there is none left."""
    return "warning" if kind == Kind.FORECAST else "critical"
