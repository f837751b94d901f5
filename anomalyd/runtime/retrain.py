"""Learning on site: a challenger is trained, judged, tried in shadow, promoted, and taken back.

One thread of low priority, `retrain`, owns all of it: it trains from a copy of the history, yields
while the daemon is busy, and stops within a second. The pipeline's columns are changed on the
pipeline's thread, by what it is asked to do between two batches. A step is first in the registry,
on disk, and then in service, so whatever kills the daemon, exactly one version is current.

    idle -> training -> gate -> shadow -> promoted, the former one in shadow -> idle
                          |        |               |
                       rejected  rejected      rolled back
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Literal

import numpy as np

from anomalyd import __version__
from anomalyd.adapters.models.manifest import NEXT_STEP, SHIPPED, Manifest
from anomalyd.adapters.models.store import ModelStore
from anomalyd.adapters.outbox import FILE, Outbox, Record
from anomalyd.detection.channels import Channel
from anomalyd.errors import AnomalydError, ModelError
from anomalyd.model import checkpoint
from anomalyd.model.fine_tuning import FineTuningPlan, Stopped, fine_tune
from anomalyd.model.next_step import NextStep
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.model.segment import Cut, Segment, split
from anomalyd.runtime import registry
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.gate import GateReport, judge, poisson_tail
from anomalyd.runtime.history import History
from anomalyd.runtime.incidents import Incident, Incidents
from anomalyd.runtime.memory import rebuild
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.rehearsal import Plant
from anomalyd.runtime.shadow import NOTHING, Tally
from anomalyd.settings import Settings

log = logging.getLogger(__name__)

Step = Literal["started", "rejected", "shadow", "promoted", "rolled-back", "failed"]

_LOOK_S = 0.5
_NICENESS = 19
_HOUR_S = 3600.0
_HELD_OUT = 0.25  # of the time of the history
_SHORTEST = 128  # readings of a stretch that is worth anything
_MOST_READINGS = 2_000_000
_LEARNT_PIECES = 64  # shown to the gate, to tell learning by heart
_ROWS_AT_ONCE = 200  # rebuilt between two batches
_DOUBT = 1e-3  # probability that what follows the promise looks like a flood
_BEFORE_S, _AFTER_S = _HOUR_S, 600.0  # of an incident


class Retrainer:
    """Owner of the thread `retrain`."""

    def __init__(
        self,
        settings: Settings,
        store: ModelStore,
        history: History,
        pipeline: Pipeline,
        ask: Callable[[Callable[[], None]], None],
        conditions: Conditions,
        tell: Callable[[Step, str, str], None],
        busy: Callable[[], str | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`ask`: has something done on the pipeline's thread. `tell`: step, version, reason.
        `busy`: why training must wait now."""
        self.results: Counter[str] = Counter()
        """rejected, shadow, failed -> retrainings that ended so"""
        self.steps: Counter[str] = Counter()
        self.progress = 0.0
        """of the training that goes on; 0 where none does"""
        self.success_s = 0.0
        """when a challenger last passed the gate"""
        self.judged_s = clock()
        """when the gate last judged a challenger; before the first, the start"""
        self._settings = settings
        self._rules = settings.retrain
        self._store = store
        self._history = history
        self._pipeline = pipeline
        self._ask = ask
        self._conditions = conditions
        self._tell = tell
        self._busy = busy
        self._clock = clock
        self._incidents = Incidents(settings.state.directory / "incidents")
        self._kept: set[str] = set()
        self._current, self._stamp = "", 0
        self._challenger: str | None = None
        self._since_s = 0.0
        self._due_s = self._first_due_s()
        self._wanted = threading.Event()
        self._stop = threading.Event()
        self._waits = False
        self._thread = threading.Thread(target=self._run, name="retrain", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """False where it took too long."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def request(self) -> None:
        """Retrain as soon as nothing else is on trial; from any thread."""
        self._wanted.set()

    # --- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        self._stamp = self._store.stamp(NEXT_STEP)
        own = (each for each in self._store.list() if each.role == NEXT_STEP)
        self.judged_s = max((each.created_s for each in own), default=0.0) or self.judged_s
        # What serves: one that can't be loaded was passed by at the start.
        self._current = registry.current(self._store, NEXT_STEP)[1] or SHIPPED
        self._resume()
        while not self._stop.wait(_LOOK_S):
            try:
                self._look()
            except Stopped:
                return
            except (AnomalydError, OSError) as error:
                self._fail(str(error))
            except Exception:
                # It must not take the daemon with it: what serves goes on serving.
                self._fail(" | ".join(traceback.format_exc().splitlines()[-3:]))

    def _resume(self) -> None:
        """A restart ended the shadow of a challenger: it begins anew."""
        for each in self._store.list():
            if (each.role, each.status, each.parent) == (NEXT_STEP, "shadow", self._current):
                try:
                    self._begin(each.version, self._network(each.version))
                except (Stopped, ModelError) as error:
                    log.warning("models: version=%s can't go on in shadow: %s", each.version, error)
                else:
                    self._challenger = each.version
                return

    def _fail(self, why: str) -> None:
        self.progress = 0.0
        self._due_s = max(self._due_s, self._clock() + _HOUR_S)
        if self._conditions.now().get("retrain") != why:
            self.results["failed"] += 1
            self._step("failed", self._challenger or "", why)
        self._conditions.begin("retrain", why)

    def _look(self) -> None:
        stamp = self._store.stamp(NEXT_STEP)
        if stamp != self._stamp:
            self._stamp = stamp
            now = self._store.current(NEXT_STEP)
            if now != self._current:
                self._follow(now)
        if self._pipeline.shadow is None:
            self._consider()
        elif self._challenger is not None:
            self._try_out(self._challenger)
        else:
            self._watch()

    def _consider(self) -> None:
        if self._store.take_request():
            self._wanted.set()
        asked = self._wanted.is_set()
        if asked or (self._rules.every_h > 0.0 and self._clock() >= self._due_s):
            self._wanted.clear()
            self._due_s = self._clock() + self._rules.every_h * _HOUR_S
            self._retrain("asked for" if asked else f"every {self._rules.every_h:g} h")

    def _first_due_s(self) -> float:
        """After a whole interval; spread over it, so that a fleet doesn't train at one time."""
        name = hashlib.sha256(self._settings.instance.encode()).digest()
        spread = int.from_bytes(name[:4], "big") / 2**32
        return self._clock() + (1.0 + spread) * self._rules.every_h * _HOUR_S

    def _step(self, step: Step, version: str, reason: str) -> None:
        self.steps[step] += 1
        log.info("models: %s version=%s: %s", step, version or "none", reason)
        self._tell(step, version, reason)

    # --- training ---------------------------------------------------------------------------

    def _retrain(self, why: str) -> None:
        until_s = self._clock()
        since_s = until_s - self._rules.history_h * _HOUR_S
        self._keep_incidents()
        past = self._history.copy(since_s, until_s, _MOST_READINGS)
        plant = self._plant()
        known = [each for each in past.stretches(_SHORTEST) if each.channel in plant.channels]
        readings = sum(each.times.size for each in known)
        if readings < self._rules.least_readings:
            self.results["too-little"] += 1
            log.info(
                "models: not retrained, %s: %d readings of history, retrain.least_readings is %d",
                why, readings, self._rules.least_readings,
            )  # fmt: skip
            return
        first, last = min(each.times[0] for each in known), max(each.times[-1] for each in known)
        learnt, held = split(known, last - _HELD_OUT * (last - first))
        self._step("started", "", f"{why}; {readings} readings of {len(plant.channels)} channels")
        champion = self._network(self._current)
        challenger = self._tune(champion, learnt)
        incidents = self._incidents.all()
        report = judge(
            champion, challenger, plant, _long(held), incidents, _long(learnt)[:_LEARNT_PIECES],
            each=self._yield, original=checkpoint.shipped_network(),
        )  # fmt: skip
        self.progress = 0.0
        self._enter(challenger, report, float(first), float(last))

    def _tune(self, champion: NextStep, learnt: Sequence[Segment]) -> NextStep:
        def progress(step: int, loss: float) -> None:
            self.progress = step / self._rules.steps

        plan = FineTuningPlan(steps=self._rules.steps)
        tuned = fine_tune(champion, learnt, self._rules.seed, plan, self._should_stop, progress)
        if not tuned.done:
            raise Stopped
        return tuned.network

    def _enter(self, network: NextStep, report: GateReport, since_s: float, until_s: float) -> None:
        """Into the registry, and into shadow where the gate says so."""
        metrics: Mapping[str, object] = report.metrics
        manifest = Manifest(
            role=NEXT_STEP,
            created_s=self._clock(),
            seed=self._rules.seed,
            code_version=__version__,
            parent=self._current,
            data_since_s=since_s,
            data_until_s=until_s,
            metrics=metrics,
            reason=report.reason,
        )
        card = {"parent": self._current, "seed": self._rules.seed}
        version = self._store.add(checkpoint.dump(network, card), manifest)
        self.judged_s = manifest.created_s
        if not report.accepted:
            self._conditions.end("retrain")
            self.results["rejected"] += 1
            self._store.reject(version, report.reason, self._clock())
            self._step("rejected", version, report.reason)
            return
        self._conditions.end("retrain")
        self.results["shadow"] += 1
        self.success_s = self._clock()
        self._store.shadow(version, report.reason, self._clock())
        self._begin(version, network)
        self._challenger = version
        self._step("shadow", version, report.reason)

    def _keep_incidents(self) -> None:
        """Every confirmed alert as a case, while the history still has its readings."""
        for each in self._confirmed():
            if each.id in self._kept:
                continue
            self._kept.add(each.id)
            end_s = each.cleared_s or each.started_s + _AFTER_S
            past = self._history.copy(
                each.started_s - _BEFORE_S, end_s + 1.0, _MOST_READINGS, [each.channel]
            )
            segments = list(past.stretches())
            if any(segment.times[-1] >= each.started_s for segment in segments):
                case = Incident(each.id, each.channel, each.kind, each.started_s, end_s, segments)
                self._incidents.keep(case)

    def _confirmed(self) -> list[Record]:
        path = self._settings.state.directory / FILE
        if not path.exists():
            return []
        try:
            with closing(Outbox(path, read_only=True)) as outbox:
                return outbox.confirmed()
        except sqlite3.Error as error:
            log.warning("models: the confirmed alerts can't be read: %s", error)
            return []

    def _plant(self) -> Plant:
        pipeline, found = self._pipeline, list[Channel]()

        def look() -> None:
            found.extend(pipeline.table[row] for row in self._rows(pipeline))

        self._do(look)
        settings = self._settings
        channels = {each.name: each for each in found}
        return Plant(channels, settings.streams, settings.channels, settings.alerts)

    @staticmethod
    def _rows(pipeline: Pipeline) -> list[int]:
        """Of the channels on trial; on the pipeline's thread."""
        rows: list[int] = pipeline.served(pipeline.predictors.default).tolist()
        return rows

    def _network(self, version: str) -> NextStep:
        found = registry.inspect(self._store.path(version), NEXT_STEP).network
        if not isinstance(found, NextStep):
            raise ModelError(f"{version}: no next-step network")
        return found

    # --- yielding ---------------------------------------------------------------------------

    def _should_stop(self) -> bool:
        while (why := self._busy()) is not None and not self._stop.wait(_LOOK_S):
            if not self._waits:
                log.info("models: retraining waits: %s", why)
            self._waits = True
        self._waits = False
        return self._stop.is_set()

    def _yield(self) -> None:
        if self._should_stop():
            raise Stopped

    # --- on trial ---------------------------------------------------------------------------

    def _try_out(self, version: str) -> None:
        tally = self._tally()
        why = unfit(tally, "in shadow")
        if why is not None:
            self._store.reject(version, why, self._clock())
            self._end()
            self._step("rejected", version, why)
        elif self._clock() - self._since_s >= self._rules.shadow_h * _HOUR_S and tally.readings:
            reason = (
                f"{tally.raised} alerts in shadow on {tally.readings} readings, "
                f"{tally.raised_serving} of what served"
            )
            self._store.promote(version, reason, self._clock())
            self._serve(version, reason)

    def _serve(self, version: str, reason: str) -> None:
        """The shadow takes the place of what serves, which becomes the shadow."""
        self._do(self._pipeline.swap)
        self._current, self._challenger, self._since_s = version, None, self._clock()
        self._step("promoted", version, reason)

    def _watch(self) -> None:
        """What serves is new; the former one scores beside it."""
        tally = self._tally()
        turned = Tally(
            tally.readings, tally.raised_serving, tally.raised, tally.promised,
            tally.unknown_serving, tally.unknown,
        )  # fmt: skip
        why = unfit(turned, "since its promotion")
        if why is not None:
            back = self._store.rollback(NEXT_STEP, why, self._clock())
            self._do(self._pipeline.swap)
            self._end()
            former, self._current = self._current, back
            self._step("rolled-back", former, f"{why}; {back} serves again")
        elif self._clock() - self._since_s >= self._rules.shadow_h * _HOUR_S:
            self._end()

    def _follow(self, version: str) -> None:
        """Somebody has promoted or rolled back by hand."""
        self._begin(version, self._network(version))
        pipeline, rows = self._pipeline, list[int]()
        self._do(lambda: rows.extend(self._rows(pipeline)))
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            self._do(partial(self._rebuild, rows[begin : begin + _ROWS_AT_ONCE]))
        self._serve(version, "by hand")

    def _rebuild(self, rows: Sequence[int]) -> None:
        """On the pipeline's thread; one that was retired meanwhile does no harm."""
        shadow = self._pipeline.shadow
        if shadow is not None:
            rebuild(self._pipeline, shadow.predictor, np.array(rows, dtype=np.intp))

    def _begin(self, version: str, network: NextStep) -> None:
        pipeline = self._pipeline
        serving = pipeline.predictors.serving
        predictor = NextStepPredictor(network, version, pipeline.table.capacity, serving.bank)
        self._do(lambda: pipeline.begin_shadow(pipeline.predictors.default, predictor))
        self._since_s = self._clock()

    def _end(self) -> None:
        self._do(self._pipeline.end_shadow)
        self._challenger = None

    def _tally(self) -> Tally:
        shadow = self._pipeline.shadow
        return shadow.tally if shadow is not None else NOTHING

    def _do(self, change: Callable[[], None]) -> None:
        """On the pipeline's thread, between two batches; returns when it is done."""
        done = threading.Event()

        def both() -> None:
            change()
            done.set()

        self._ask(both)
        # However long that takes: a slow pipeline must not end this thread, and the daemon with it.
        while not done.wait(_LOOK_S):
            if self._stop.is_set():
                raise Stopped


def unfit(tally: Tally, when: str) -> str | None:
    """Why a model must not serve, from what it did beside another."""
    if tally.unknown:
        return f"its forecasts are not finite, on {tally.unknown} readings {when}"
    expected = max(tally.promised, float(tally.raised_serving))
    if tally.raised > 1 and poisson_tail(tally.raised, expected) < _DOUBT:
        return (
            f"{tally.raised} alerts {when}; the other raised {tally.raised_serving} on the same "
            f"{tally.readings} readings, promised are {tally.promised:.2g}"
        )
    return None


def _long(segments: Sequence[Cut]) -> list[Cut]:
    return [each for each in segments if each.times.size >= _SHORTEST]
