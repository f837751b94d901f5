"""`make bench-retraining`: what learning on site is worth, on a simulated plant that changes.

Eight channels to a machine, a reading of each every 15 minutes: a daily cycle, the machine's load
cycle behind a lag of each channel's own, the asset's wander, noise. Over the weeks the season
lowers and turns the daily cycle, wear slows the load cycle and doubles the lags and the noise. Each
machine has a fault of its own (a shift, a burst of noise, a swing) that first comes in the second
week and then once a week; the first one's alert is confirmed as an operator would do it.

Everything goes through the daemon's pipeline, history, outbox and retrainer, on the plant's clock;
the retrainer has no thread of its own here: what is due is done between two readings, so that a run
can be repeated to the last bit. Both plants of a table see the same readings. False alarms are
those raised on a machine that has had no fault for a day. A fault is found if an alert is raised on
its channel, from its beginning to an hour after its end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import torch

from anomalyd.adapters.models.manifest import NEXT_STEP, Manifest
from anomalyd.adapters.outbox import FILE, Outbox, Transition
from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Floats, Readings
from anomalyd.model import checkpoint
from anomalyd.model.checkpoint import shipped_network
from anomalyd.model.fine_tuning import FineTuningPlan, fine_tune
from anomalyd.model.next_step import NextStep, NextStepConfig
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.runtime import registry
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.history import History
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.retrain import Retrainer
from anomalyd.settings import Channels, Retrain, Settings, State, Stream
from tests.benchmarks.detection.table import Table
from tests.runtime import test_gate as gate

MEMBERS, WEEK_S, DAY_S = 8, 7 * 86400.0, 86400.0
START_S = 1_699_833_600.0  # a Monday
INTERVAL_S = 900.0
STREAM = Stream(topic="plant/{machine}/{sensor}", group_by=("machine",))
KINDS = ("shift", "noise", "swing")
_SIZE, _LASTS_S, _LATE_S = 8.0, 4 * 3600.0, 3600.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Of one channel; seconds since the beginning."""

    machine: int
    channel: int
    kind: str
    start_s: float
    end_s: float

    def finds(self, alert: Alert) -> bool:
        at_s = _at_s(alert)
        return (
            alert.channel == f"m{self.machine}/s{self.channel}"
            and self.start_s <= at_s <= self.end_s + _LATE_S
        )

    def touches(self, alert: Alert) -> bool:
        """The alert may come of it, on any channel of the machine."""
        at_s, machine = _at_s(alert), alert.channel.partition("/")[0]
        return machine == f"m{self.machine}" and self.start_s <= at_s <= self.end_s + DAY_S


class Site:
    """A daemon without its broker."""

    def __init__(self, folder: Path, machines: int, rules: Retrain | None) -> None:
        """`rules`: None = it never retrains."""
        settings = Settings(
            channels=Channels(max=256),
            state=State(directory=folder),
            streams=(STREAM,),
            retrain=rules or Retrain(every_h=0.0),
        )
        self.now_s = 0.0
        self.alerts: list[Alert] = []
        self.steps: list[tuple[float, str, str, str]] = []
        self.errors: list[Floats] = []
        self._told_alerts = 0
        conditions = Conditions()
        self.store = registry.open_store(folder, 16)
        served = registry.load((STREAM,), folder, 256, self.store)
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
        names = [f"m{m}/s{s}" for m in range(machines) for s in range(MEMBERS)]
        added = [
            self.pipeline.add(Channel(name, {}, 0, "", f"m{at // MEMBERS}", name.split("/")[1]))
            for at, name in enumerate(names)
        ]
        self.rows = np.array(added, dtype=np.intp)

    def live(self, times_s: Floats, values: Floats, confirm: Sequence[Fault] = ()) -> None:
        """(R,) and (R, channels) readings; the first alert of each fault to confirm is confirmed
        as soon as it is raised."""
        left = list(confirm)
        for self.now_s, row in zip(times_s.tolist(), values, strict=True):
            at = np.full(self.rows.size, START_S + self.now_s)
            outcome = self.pipeline.step(Readings(self.rows, at, row))
            self.errors.append(np.abs(row - outcome.verdicts.expected))
            self.history.record(outcome.verdicts)
            for alert in outcome.alerts:
                self._keep(alert)
                found = next((f for f in left if f.finds(alert)), None)
                if alert.transition == "raised" and found is not None:
                    left.remove(found)
                    self.outbox.judge(alert.id, "confirmed", at[0], None, None)
                    self.retrainer.confirmed()
            self.retrainer.turn()

    def _keep(self, alert: Alert) -> None:
        if alert.transition == "raised":
            self.alerts.append(alert)
        at_s = START_S + _at_s(alert)
        self._told_alerts += 1
        about = (alert.id, alert.channel, alert.kind, "", alert.transition, at_s)
        self.outbox.add([Transition(self._told_alerts, *about, msgspec.json.encode(alert))])

    def _told(self, step: str, version: str, reason: str) -> None:
        self.steps.append((self.now_s, step, version, reason))
        print(f"    {self.now_s / DAY_S:6.2f} d  {step}: {reason}", file=sys.stderr, flush=True)


@contextmanager
def site(machines: int, rules: Retrain | None) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as folder:
        made = Site(Path(folder), machines, rules)
        made.history.start()
        made.retrainer.open()
        with closing(made.outbox):
            yield made
            made.history.stop(10.0)


def _at_s(alert: Alert) -> float:
    return datetime.fromisoformat(alert.updated_at).timestamp() - START_S


# --- the signals ----------------------------------------------------------------------------------


def signals(seed: int, machines: int, weeks: float, interval_s: float, ageing: bool) -> Floats:
    """(R, channels) without faults, in units of the noise when new."""
    rows = round(weeks * WEEK_S / interval_s)
    made = [
        _machine(np.random.default_rng((seed, m)), rows, interval_s, ageing)
        for m in range(machines)
    ]
    return np.concatenate(made, axis=1)


def _machine(rng: np.random.Generator, rows: int, interval_s: float, ageing: bool) -> Floats:
    age = np.linspace(0.0, 1.0, rows)[:, None] * ageing
    day = np.arange(rows)[:, None] * interval_s / DAY_S
    height, turn = rng.uniform(1.0, 6.0, MEMBERS), rng.uniform(0.0, 1.0, MEMBERS)
    season = 15.0 * np.sin(2.0 * np.pi * age / 2.0) * rng.uniform(-1.0, 1.0, MEMBERS)
    daily = height * (1.0 - 0.6 * age) * np.sin(2.0 * np.pi * (day + turn + 0.2 * age))
    period_s = rng.uniform(1.5, 6.0) * 3600.0 * (1.0 + 0.6 * age[:, 0])
    phase = np.cumsum(interval_s / period_s * rng.uniform(0.95, 1.05, rows))
    load = (phase % 1.0 < rng.uniform(0.4, 0.6)).astype(float)
    lag = np.exp(rng.uniform(np.log(600.0), np.log(3600.0), MEMBERS)) / interval_s
    gain, share = rng.uniform(-8.0, 8.0, MEMBERS), rng.uniform(-3.0, 3.0, MEMBERS)
    drive, out, state = rng.standard_normal(rows), np.empty((rows, MEMBERS)), np.zeros(MEMBERS)
    wander = 0.0
    for at in range(rows):
        wander += (drive[at] - wander) * interval_s / 60_000.0
        state = state + (load[at] - state) / np.maximum(lag * (1.0 + age[at]), 1.0)
        out[at] = gain * state + share * 10.0 * wander
    noise = rng.standard_normal((rows, MEMBERS)) * (1.0 + age)
    return np.asarray(100.0 + season + daily + out + noise)


def disturb(values: Floats, faults: Sequence[Fault], interval_s: float, seed: int) -> Floats:
    """The same with the faults, `_SIZE` times the noise when new."""
    values = values.copy()
    for number, fault in enumerate(faults):
        rng = np.random.default_rng((seed, 7, number))
        span = slice(round(fault.start_s / interval_s), round(fault.end_s / interval_s))
        column = values[span, fault.machine * MEMBERS + fault.channel]
        steps = np.arange(column.size)
        column += (
            _SIZE
            * {
                "shift": np.ones(column.size),
                "noise": rng.standard_normal(column.size),
                "swing": np.sin(2.0 * np.pi * steps / 6.0),
            }[fault.kind]
        )
    return values


# --- the tables -----------------------------------------------------------------------------------


def plant(seed: int, machines: int, weeks: int, rules: Retrain) -> list[Table]:
    """Acceptance 1: weeks of a plant that changes, with retraining and without."""
    interval_s, rng = INTERVAL_S, np.random.default_rng(seed)
    faults = [
        _fault(rng, machine, week * WEEK_S + float(rng.uniform(0.0, 6.0)) * DAY_S, interval_s)
        for week in range(1, weeks)
        for machine in range(machines)
    ]
    values = signals(seed, machines, weeks, interval_s, ageing=True)
    values = disturb(values, faults, interval_s, seed)
    times = interval_s * np.arange(float(len(values)))
    title = f"{machines * MEMBERS} channels, {weeks} weeks, seed {seed}"
    by_week = Table(f"False alarms a week: {title}")
    whole = Table(f"Altogether: {title}")
    columns: dict[str, Sequence[int]] = {}
    budget = 0.0
    for name, learns in (("without", None), ("with retraining", rules)):
        with site(machines, learns) as made:
            begun = time.monotonic()
            made.live(times, values, faults[:machines])
            budget = made.pipeline.plant_budget_per_week
            false = [each for each in made.alerts if not any(f.touches(each) for f in faults)]
            at = [int(_at_s(each) // WEEK_S) for each in false]
            columns[name] = [at.count(week) for week in range(weeks)]
            later = faults[machines:]
            steps = [step for _, step, _, _ in made.steps]
            errors = np.stack(made.errors[-round(WEEK_S / interval_s) :])
            whole.add(
                {
                    "plant": name,
                    "false alarms": len(false),
                    "promised": budget * weeks,
                    "weeks over it": sum(each > budget for each in columns[name]),
                    "recurrences found": f"{_found(later, made.alerts)} of {len(later)}",
                    "error, last week": float(np.nanmean(errors)),
                    "rounds": steps.count("started"),
                    "promoted": steps.count("promoted"),
                    "rejected": steps.count("rejected"),
                    "back": steps.count("rolled-back"),
                    "s": round(time.monotonic() - begun),
                }
            )
    for week in range(weeks):
        counts = {name: each[week] for name, each in columns.items()}
        by_week.add({"week": str(week + 1), **counts, "budget": budget})
    return [by_week, whole]


def poison(seed: int, machines: int, weeks: int, rules: Retrain) -> list[Table]:
    """Acceptance 2: a week in which one machine is faulty 60 % of the time, then a round."""
    interval_s, table = INTERVAL_S, Table("A week in which machine 0 is faulty 60 % of the time")
    del weeks
    often = [
        Fault(0, 1, "shift", 2 * WEEK_S + at * 5 * 3600.0, 2 * WEEK_S + (at * 5 + 3) * 3600.0)
        for at in range(33)
    ]
    after = [
        Fault(0, 1, "shift", start := (24.0 + 1.3 * day) * DAY_S, start + _LASTS_S)
        for day in range(3)
    ]
    values = signals(seed, machines, 4, interval_s, ageing=False)
    values = disturb(values, [*often, *after], interval_s, seed)
    times = interval_s * np.arange(float(len(values)))
    cut = round(3 * WEEK_S / interval_s)
    for name, learns, confirm in (
        ("never retrained", None, []),
        ("unlabelled", rules, []),
        ("confirmed", rules, often),
    ):
        with site(machines, learns) as made:
            made.live(times[:cut], values[:cut], confirm)
            if learns is not None:
                made.retrainer.request()
            made.live(times[cut:], values[cut:])
            delays = [_delay_s(each, made.alerts) for each in after]
            last = [step for at, step, _, _ in made.steps if at >= 3 * WEEK_S and step != "started"]
            table.add(
                {
                    "week": name,
                    "found in it": f"{_found(often, made.alerts)} of {len(often)}",
                    "found afterwards": f"{_found(after, made.alerts)} of {len(after)}",
                    "minutes until": ", ".join(
                        "-" if each is None else f"{each / 60.0:.0f}" for each in delays
                    ),
                    "what came of the round": ", ".join(last) or "-",
                }
            )
    return [table]


def spoiled(seed: int, machines: int, weeks: int, rules: Retrain) -> list[Table]:
    """Acceptance 2: what the gate says of spoiled challengers; one that it can't know floods."""
    del weeks
    table = Table("Spoiled challengers, and what the gate says")
    nan = shipped_network()
    torch.manual_seed(seed)
    random = NextStep(NextStepConfig()).eval()
    with torch.no_grad():
        nan.head.bias[3] = torch.nan
    rng = np.random.default_rng(0)
    tiny = gate._cut("c0", 50.0 + np.cumsum(rng.normal(0.0, 1.0, 200)))
    plan = FineTuningPlan(steps=200, series_a_batch=1, length=200, learning_rate=4e-3, rehearsed=0)
    overfit = fine_tune(shipped_network(), [tiny], 1, plan).network
    case = gate._incident()
    for name, network, learnt in (
        ("honest", gate._honest(), ()),
        ("NaN", nan, ()),
        ("random weights", random, ()),
        ("overfit", overfit, (tiny,)),
        ("trained on the incident", gate._taught("jump"), ()),
    ):
        report = gate._judged(network, case, learnt=learnt)
        said = ", ".join(report.reasons) or "accepted"
        table.add({"challenger": name, "gate": said, "reason": report.reason})
    return [table, _flood(seed, machines, rules)]


def _flood(seed: int, machines: int, rules: Retrain) -> Table:
    """A version that is sound on disk, and goes wrong in service: its forecasts jump."""
    interval_s, table = 60.0, Table("A version that floods in service")
    values = signals(seed, machines, 2.0 / 7.0, interval_s, ageing=False)
    times = interval_s * np.arange(float(len(values)))
    with site(machines, rules.model_copy(update={"every_h": 0.0})) as made:
        made.live(times[:2000], values[:2000])
        about = Manifest(
            role=NEXT_STEP, created_s=START_S + made.now_s, seed=seed, code_version="bench"
        )
        version = made.store.add(checkpoint.dump(shipped_network(), {"by": "hand"}), about)
        made.store.promote(version, "by hand", START_S + made.now_s)
        made.live(times[2000:2060], values[2000:2060])
        serving = made.pipeline.predictors.serving
        assert isinstance(serving, NextStepPredictor)
        assert version == serving.name
        with torch.no_grad():
            serving._network.head.bias.add_(8.0)
        spoilt_s, before = made.now_s, len(made.alerts)
        made.live(times[2060:2180], values[2060:2180])
        back = [(at, reason) for at, step, _, reason in made.steps if step == "rolled-back"]
        table.add(
            {
                "alerts before": before,
                "alerts since": len(made.alerts) - before,
                "rolled back after, minutes": (back[0][0] - spoilt_s) / 60.0 if back else None,
                "reason": back[0][1] if back else "-",
            }
        )
    return table


def _fault(rng: np.random.Generator, machine: int, start_s: float, interval_s: float) -> Fault:
    """The machine's own kind, on its own channel, at a whole reading."""
    start_s = round(start_s / interval_s) * interval_s
    kind = KINDS[machine % len(KINDS)]
    return Fault(machine, 1 + machine % (MEMBERS - 1), kind, start_s, start_s + _LASTS_S)


def _found(faults: Sequence[Fault], alerts: Sequence[Alert]) -> int:
    return sum(_delay_s(fault, alerts) is not None for fault in faults)


def _delay_s(fault: Fault, alerts: Sequence[Alert]) -> float | None:
    return min((_at_s(each) - fault.start_s for each in alerts if fault.finds(each)), default=None)


SETS: dict[str, Callable[[int, int, int, Retrain], list[Table]]] = {
    "plant": plant,
    "poison": poison,
    "spoiled": spoiled,
}


def main() -> int:
    options = _arguments()
    torch.set_num_threads(1)
    rules = Retrain(
        every_h=options.every_h, history_h=504.0, shadow_h=24.0, steps=options.steps,
        seed=options.seed,
    )  # fmt: skip
    tables: list[Table] = []
    for name in options.set or SETS:
        made = SETS[name](options.seed, options.machines, options.weeks, rules)
        for table in made:
            print(table.text(), flush=True)
        tables += made
    if options.json:
        options.json.write_text(json.dumps([table.as_dict() for table in tables], indent=1))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.retraining")
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--seed", type=int, default=1, help="of everything drawn")
    parser.add_argument("--weeks", type=int, default=8, help="of the plant that changes")
    parser.add_argument("--machines", type=int, default=3, help="of 8 channels each")
    parser.add_argument("--every-h", type=float, default=168.0, help="retrain.every_h")
    parser.add_argument("--steps", type=int, default=160, help="retrain.steps")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
