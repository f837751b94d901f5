"""The watch over silent channels: time passes, nothing usable comes, and an alert says so.

Called by the pipeline on its thread: with every round of readings, by `Pipeline.tick` as time
passes, and where a device announces its end. Out come documents of kind `stale`, beside the
channel's other alerts. An alert starts at the channel's last reading, so that live and replay give
it the same id, or at the end that was announced.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from anomalyd.detection.cadence import Cadence
from anomalyd.detection.channels import ChannelTable
from anomalyd.detection.reading import KIND_NAMES, Flags, Floats, Kind, Rows
from anomalyd.detection.silence import Silence
from anomalyd.detection.window import Windows
from anomalyd.runtime import alerts as documents
from anomalyd.runtime.alerts import Alert, Contributor, Severity, Transition
from anomalyd.runtime.open_alerts import RECENT_READINGS
from anomalyd.settings import Alerts

_KIND = KIND_NAMES[Kind.STALE]
_SEVERITY: Severity = "warning"


@dataclass(frozen=True, slots=True)
class _Open:
    """An alert that has been raised and not cleared."""

    id: str
    started_s: float
    raised_s: float
    reason: str


class SilenceWatch:
    """Owner of the columns about silences, and of the open alerts about them."""

    def __init__(
        self,
        instance: str,
        rules: Alerts,
        table: ChannelTable,
        windows: Windows,
        cadence: Cadence,
        transitions: Counter[tuple[str, str, str]],
    ) -> None:
        self._instance, self._rules = instance, rules
        self._table, self._windows, self._cadence = table, windows, cadence
        self._transitions = transitions
        self._silence = Silence(table.capacity)
        self._open: dict[int, _Open] = {}
        self._mortal = False
        """somebody has announced an end: before that, nobody need be looked up"""

    def reset(self, rows: Rows, watched: bool) -> None:
        """New channels have these rows; where not `watched`, their silence means nothing."""
        self._silence.reset(rows, watched)

    def resume(self, now_s: float) -> None:
        """Nobody listened until now."""
        self._silence.resume(now_s)

    def shift(self, jump_s: float) -> None:
        """The listener's clock was set."""
        self._silence.shift(jump_s)

    def recall(self) -> None:
        """The columns were put back from before a restart: what was told then is still open."""
        for row, channel in self._table.listing():
            self._mortal |= bool(self._silence.died_s(np.array([row]))[0] < np.inf)
            if self._silence.told(np.array([row]))[0] and _KIND in self._rules.quality:
                self._open[row] = self._standing(row, channel.name)

    def change_rules(self, rules: Alerts) -> None:
        """From the next silence on."""
        self._rules = rules

    def retire(self, row: int, now_s: float) -> list[Alert]:
        """Forget a channel; an alert that it leaves behind is cleared."""
        self._silence.reset(np.array([row]), False)
        return [self._clear(row, now_s)] if row in self._open else []

    def heard(
        self, rows: Rows, times: Floats, silent_s: Floats, now_s: Floats | float
    ) -> list[Alert]:
        """Usable readings have come, of each channel at most one."""
        back: Flags = self._silence.learn(rows, silent_s, now_s)
        if not np.count_nonzero(back):
            return []
        ended = zip(rows[back].tolist(), times[back].tolist(), strict=True)
        return [self._clear(row, time_s) for row, time_s in ended if row in self._open]

    def overdue(self, now_s: float) -> Rows:
        """Channels that are silent for too long, and not told yet."""
        return self._silence.overdue(now_s)

    def told(self, rows: Rows) -> Flags:
        """(B,) it counts as silent."""
        return self._silence.told(rows)

    def tell(self, rows: Rows) -> list[Alert]:
        """They count as silent from here on; documents where alerts are wanted."""
        self._silence.tell(rows)
        if _KIND not in self._rules.quality:
            return []
        return [self._raise(row) for row in rows.tolist()]

    def die(self, rows: Rows, now_s: float) -> list[Alert]:
        """Their devices have announced their end."""
        ended = self._silence.die(rows, now_s)
        self._mortal |= bool(ended.size)
        if _KIND not in self._rules.quality:
            return []
        return [self._raise(row) for row in ended.tolist()]

    def revive(self, rows: Rows, now_s: Floats) -> list[Alert]:
        """Their devices spoke at `now_s` (B,), usable or not; whose end was announced is alive
        again."""
        if not self._mortal:
            return []
        back = self._silence.revive(rows, now_s)
        first = dict(zip(rows[::-1].tolist(), now_s[::-1].tolist(), strict=True))
        return [self._clear(row, first[row]) for row in back.tolist() if row in self._open]

    # --- alerts -----------------------------------------------------------------------------

    def ids(self) -> set[str]:
        """Of the open alerts."""
        return {each.id for each in list(self._open.values())}

    def count_active(self) -> Counter[Severity]:
        """Open alerts by severity."""
        return Counter({_SEVERITY: len(self._open)})

    def _standing(self, row: int, name: str) -> _Open:
        rows = np.array([row])
        last_s, bound_s = (
            float(self._cadence.last_s(rows)[0]),
            float(self._silence.bound_s(rows)[0]),
        )
        died_s = float(self._silence.died_s(rows)[0])
        # No topic, and so no channel's name, has a # in it: the id belongs to no other alert.
        if died_s < np.inf:
            identity = documents.alert_id(self._instance, f"{name}#death", died_s)
            return _Open(identity, died_s, died_s, "its node or device announced its death")
        identity = documents.alert_id(self._instance, f"{name}#{_KIND}", last_s)
        reason = f"no usable reading for {documents.lasted(bound_s)}, far longer than ever before"
        return _Open(identity, last_s, last_s + bound_s, reason)

    def _raise(self, row: int) -> Alert:
        standing = self._open[row] = self._standing(row, self._table[row].name)
        return self._document(row, "raised", standing.raised_s, standing.reason)

    def _clear(self, row: int, time_s: float) -> Alert:
        standing = self._open[row]
        cleared = self._document(
            row, "cleared", max(time_s, standing.raised_s), f"over; it was: {standing.reason}"
        )
        del self._open[row]
        return cleared

    def _document(self, row: int, transition: Transition, time_s: float, reason: str) -> Alert:
        channel, standing = self._table[row], self._open[row]
        self._transitions[_KIND, _SEVERITY, transition] += 1
        when = documents.iso(time_s)
        return Alert(
            id=standing.id,
            transition=transition,
            channel=channel.name,
            labels=channel.labels,
            kind=_KIND,
            severity=_SEVERITY,
            reason=reason,
            score=1.0,
            value=float(self._windows.last(np.array([row]))[0]),
            expected=None,
            lower=None,
            upper=None,
            unit=channel.unit,
            started_at=documents.iso(standing.started_s),
            updated_at=when,
            cleared_at=when if transition == "cleared" else None,
            contributors=[Contributor(channel.name, 1.0)],
            recent=documents.samples(self._windows.recent(row, RECENT_READINGS)),
            model="",
            instance=self._instance,
            runbook_url=self._rules.runbook_url,
        )
