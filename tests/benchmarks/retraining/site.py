"""A daemon without its broker, on the plant's clock.

Readings go through the daemon's pipeline, history, outbox and retrainer. The retrainer has no
thread of its own here: what is due is done between two readings, so that a run can be repeated to
the last bit.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np

from anomalyd.adapters.outbox import FILE, Outbox, Transition
from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Floats, Readings
from anomalyd.runtime import registry
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.history import History
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.retrain import Retrainer
from anomalyd.settings import Alerts, Channels, Retrain, Settings, State, Stream
from tests.benchmarks.retraining.signals import MEMBERS, START_S

STREAM = Stream(topic="plant/{machine}/{sensor}", group_by=("machine",))
_CAPACITY = 256


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert; seconds since the beginning."""

    machine: int
    channel: int
    at_s: float


class Site:
    """`machines` of `MEMBERS` channels each."""

    def __init__(self, folder: Path, machines: int, rules: Retrain | None, alerts: Alerts) -> None:
        """`rules`: None = it never retrains."""
        settings = Settings(
            channels=Channels(max=_CAPACITY),
            alerts=alerts,
            state=State(directory=folder),
            streams=(STREAM,),
            retrain=rules or Retrain(every_h=0.0),
        )
        self.now_s = 0.0
        self.raised: list[Raised] = []
        self.steps: list[tuple[float, str, str, str]] = []
        self.errors: list[Floats] = []
        self._confirms: Callable[[Raised], bool] = lambda raised: False
        self._told_alerts = 0
        conditions = Conditions()
        self.store = registry.open_store(folder, 16)
        served = registry.load((STREAM,), folder, _CAPACITY, self.store)
        self.pipeline = Pipeline(
            "plant", settings.channels, settings.alerts, (STREAM,), served.predictors
        )
        self.history = History(
            folder / "history", settings.history, self.pipeline.table, conditions
        )
        self.outbox = Outbox(folder / FILE)
        self.retrainer = Retrainer(
            settings, self.store, self.history, self.pipeline, lambda change: change(),
            conditions, self._told, lambda: None, lambda: START_S + self.now_s,
        )  # fmt: skip
        names = [(m, s) for m in range(machines) for s in range(MEMBERS)]
        added = [self.pipeline.add(Channel(f"m{m}/s{s}", {}, 0, "", f"m{m}")) for m, s in names]
        self.rows = np.array(added, dtype=np.intp)

    def live(
        self,
        times_s: Floats,
        values: Floats,
        confirms: Callable[[Raised], bool] = lambda raised: False,
        turn_every: int = 10,
    ) -> None:
        """(R,) and (R, channels) readings. `confirms`: whether an operator confirms an alert, at
        once. `turn_every`: readings from one look at what is due to the next."""
        self._confirms = confirms
        for at, (self.now_s, row) in enumerate(zip(times_s.tolist(), values, strict=True)):
            when = np.full(self.rows.size, START_S + self.now_s)
            outcome = self.pipeline.step(Readings(self.rows, when, row))
            self.errors.append(np.abs(row - outcome.verdicts.expected).astype(np.float32))
            self.history.record(outcome.verdicts)
            for alert in outcome.alerts:
                if alert.transition != "updated":
                    self._take(alert)
            if at % turn_every == 0:
                self.retrainer.turn()

    def _take(self, alert: Alert) -> None:
        at_s = datetime.fromisoformat(alert.updated_at).timestamp()
        self._told_alerts += 1
        about = (alert.id, alert.channel, alert.kind, "", alert.transition, at_s)
        self.outbox.add([Transition(self._told_alerts, *about, msgspec.json.encode(alert))])
        if alert.transition != "raised":
            return
        machine, channel = (int(part[1:]) for part in alert.channel.split("/"))
        raised = Raised(machine, channel, at_s - START_S)
        self.raised.append(raised)
        if self._confirms(raised):
            self.outbox.judge(alert.id, "confirmed", at_s, None, None)
            self.pipeline.judge(alert.channel, alert.id, fault=True)
            self.retrainer.confirmed()

    def count(self, step: str) -> int:
        """Of the retrainer's steps, those."""
        return sum(each == step for _, each, _, _ in self.steps)

    def _told(self, step: str, version: str, reason: str) -> None:
        self.steps.append((self.now_s, step, version, reason))
        print(f"    {self.now_s / 86400.0:6.2f} d  {step}: {reason}", file=sys.stderr, flush=True)


@contextmanager
def site(machines: int, rules: Retrain | None, alerts: Alerts | None = None) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as folder:
        made = Site(Path(folder), machines, rules, alerts or Alerts())
        made.history.start()
        made.retrainer.open()
        with closing(made.outbox):
            yield made
            made.history.stop(10.0)
