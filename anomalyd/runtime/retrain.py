"""Learning on site: a challenger is trained and judged; then it is on trial, until it is trusted.

One thread of low priority, `retrain`, owns all of it: it trains from a copy of the history, yields
while the daemon is busy, and stops within a second. What a restart must not forget (the schedule, a
round that was cut off, who is on trial) is in the agenda.

After each round the asset classes learn (`asset_retrain.py`).

    idle -> training -> gate -> shadow -> promoted, the former one in shadow -> idle
                          |        |               |
                       rejected  rejected      rolled back
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from anomalyd import __version__
from anomalyd.adapters.machine import give_back_memory
from anomalyd.adapters.models.manifest import NEXT_STEP, Manifest
from anomalyd.adapters.models.store import ModelStore
from anomalyd.detection.channels import Channel
from anomalyd.detection.relation import MEMBERS
from anomalyd.errors import AnomalydError, ModelError, Stopped
from anomalyd.model import checkpoint
from anomalyd.model.next_step import NextStep
from anomalyd.model.segment import Cut, Segment, split
from anomalyd.model.torch_library import load_torch
from anomalyd.runtime.agenda import AgendaFile, Round
from anomalyd.runtime.asset_retrain import AssetRetrainer
from anomalyd.runtime.casebook import Casebook
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.history import History
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.rehearsal import Plant
from anomalyd.runtime.trial import Step, Trial
from anomalyd.settings import Settings

if TYPE_CHECKING:
    from anomalyd.runtime.gate import GateReport

log = logging.getLogger(__name__)

_LOOK_S = 0.5
_NICENESS = 19
_HOUR_S = 3600.0
_HELD_OUT = 0.25  # of the time of the history
_SHORTEST = 128  # readings of a stretch that is worth anything
_MOST_READINGS = 2_000_000
_LEARNT_PIECES = 64  # shown to the gate, to tell learning by heart
_DRIFT_PAUSE_S = 6.0 * _HOUR_S  # from one round to one because of drift
_DRIFT_LOOK_S = 60.0
_MOST_BEGINNINGS = 3  # of one round: what ends the daemon each time must not do so for ever


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
        self._cases = Casebook(settings.state.directory, history, self._mates)
        self._agenda = AgendaFile(settings.state.directory, conditions)
        self._trial = Trial(
            settings.retrain.shadow_h, store, pipeline, self._agenda, self._do, self._step, clock
        )
        self._assets = AssetRetrainer(
            settings, store, history, pipeline, self._cases, self._agenda, self._do, self._step,
            self._yield, self._note_progress, self.results, clock,
        )  # fmt: skip
        self._drift_s = 0.0
        self._wanted = threading.Event()
        self._judged = threading.Event()
        self._judged.set()  # whatever was confirmed before a restart
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

    def confirmed(self) -> None:
        """Somebody has confirmed an alert: it becomes a case; from any thread."""
        self._judged.set()

    # --- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        self.open()
        while not self._stop.wait(_LOOK_S):
            self.turn()

    def open(self) -> None:
        """Go on from what a restart has left; once, before the first turn."""
        self._guarded(self._open)

    def turn(self) -> None:
        """Do whatever is due; a whole round of training, where that is. The thread does so for
        ever; who has no thread calls it as often as it likes."""
        self._guarded(self._look)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Stopped:
            return
        except (AnomalydError, OSError) as error:
            self._fail(str(error))
        except Exception:
            # It must not take the daemon with it: what serves goes on serving.
            self._fail(" | ".join(traceback.format_exc().splitlines()[-3:]))

    def _open(self) -> None:
        own = (each for each in self._store.list() if each.role == NEXT_STEP)
        self.judged_s = max((each.created_s for each in own), default=0.0) or self.judged_s
        self._trial.open()
        self._assets.open()
        if not self._agenda.now.due_s:
            self._agenda.note(due_s=self._first_due_s(), begun_s=self._clock())

    def _fail(self, why: str) -> None:
        self.progress = 0.0
        agenda, now_s = self._agenda.now, self._clock()
        if agenda.round is not None or agenda.due_s < now_s:
            self._agenda.note(due_s=max(agenda.due_s, now_s + _HOUR_S), round=None)
        if self._conditions.now().get("retrain") != why:
            self.results["failed"] += 1
            self._step("failed", self._trial.challenger or "", why)
        self._conditions.begin("retrain", why)

    def _look(self) -> None:
        self._keep_cases()
        tried = self._trial.look()
        self._assets.follow()
        if not tried:
            self._consider()
        self._assets.look()

    def _consider(self) -> None:
        """A round that was cut off, or a new one where it is time."""
        begun = self._agenda.now.round
        if begun is None or begun.champion != self._trial.current:
            why = begun.why if begun is not None else self._due()
            if why is None:
                return
            begun = self._begin_round(why)
        if begun.begun >= _MOST_BEGINNINGS:
            raise ModelError(f"the round that began {begun.begun} times never came to its end")
        self._agenda.note(round=replace(begun, begun=begun.begun + 1))
        try:
            self._retrain(begun)
        except Stopped:
            # That was no fault of the round's.
            self._agenda.note(round=replace(begun, begun=0))
            raise
        finally:
            give_back_memory()
        self._agenda.note(round=None)

    def _begin_round(self, why: str) -> Round:
        now_s, rules = self._clock(), self._rules
        self._agenda.take_progress()
        self._agenda.note(due_s=now_s + rules.every_h * _HOUR_S, begun_s=now_s)
        begun = Round(self._trial.current, now_s - rules.history_h * _HOUR_S, now_s, why)
        self._agenda.note(assets=begun if self._pipeline.asset_classes else None)
        return begun

    def _due(self) -> str | None:
        """Why a round should begin now."""
        if self._store.take_request() or self._wanted.is_set():
            self._wanted.clear()
            return "asked for"
        now_s, every_s = self._clock(), self._rules.every_h * _HOUR_S
        if every_s <= 0.0:
            return None
        # A schedule that has become denser moves it nearer.
        if now_s >= min(self._agenda.now.due_s, self._agenda.now.begun_s + 2.0 * every_s):
            return f"every {self._rules.every_h:g} h"
        return self._drift(now_s)

    def _drift(self, now_s: float) -> str | None:
        """Whether the residuals have moved, at most once in some hours."""
        if now_s < max(self._agenda.now.begun_s + _DRIFT_PAUSE_S, self._drift_s + _DRIFT_LOOK_S):
            return None
        self._drift_s = now_s
        found: list[str] = []
        pipeline = self._pipeline

        def look() -> None:
            rows, drift = pipeline.served(pipeline.predictors.default), pipeline.drift
            if drift.plant_drifted(rows):
                found.append(f"drift, on {int(drift.drifted(rows).sum())} of {rows.size} channels")

        self._do(look)
        return found[0] if found else None

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

    def _retrain(self, this: Round) -> None:
        self._cases.keep()
        past = self._history.copy(this.since_s, this.until_s, _MOST_READINGS)
        give_back_memory()
        plant = self._plant()
        known = self._cases.without_confirmed(
            [each for each in past.stretches(_SHORTEST) if each.channel in plant.channels]
        )
        readings = sum(each.times.size for each in known)
        if readings < self._rules.least_readings:
            least = self._rules.least_readings
            self._wait_for_more(
                this, f"{readings} readings of history, retrain.least_readings is {least}"
            )
            return
        first, last = min(each.times[0] for each in known), max(each.times[-1] for each in known)
        learnt, held = split(known, last - _HELD_OUT * (last - first))
        # Only here: what serves needs no torch, and doesn't wait or pay for it.
        load_torch()
        from anomalyd.model.fine_tuning import enough
        from anomalyd.runtime.gate import judge

        if not enough(learnt, self._rules.seed):
            self._wait_for_more(this, "of no channel enough readings count as normal yet")
            return
        self._do(lambda: self._pipeline.drift.reset(np.array(self._trial.rows())))
        about = f"{this.why}; {readings} readings of {len(plant.channels)} channels"
        self._step("started", "", about)
        champion = self._trial.network(self._trial.current)
        challenger = self._tune(champion, learnt)
        give_back_memory()
        report = judge(
            champion, challenger, plant, _long(held), self._cases.all(),
            _long(learnt)[:_LEARNT_PIECES], each=self._yield,
            original=checkpoint.shipped_network(),
        )  # fmt: skip
        self.progress = 0.0
        self._enter(challenger, report, float(first), float(last))

    def _wait_for_more(self, this: Round, why: str) -> None:
        self.results["too-little"] += 1
        log.info("models: not retrained, %s: %s", this.why, why)

    def _tune(self, champion: NextStep, learnt: Sequence[Segment]) -> NextStep:
        from anomalyd.model.fine_tuning import FineTuningPlan, fine_tune

        def progress(step: int, loss: float) -> None:
            self.progress = step / self._rules.steps

        plan = FineTuningPlan(steps=self._rules.steps)
        tune = partial(
            fine_tune, champion, learnt, self._rules.seed, plan, self._should_stop, progress
        )
        kept = self._agenda.take_progress()
        try:
            tuned = tune(kept)
        except ModelError as error:
            if kept is None:
                raise
            log.info("models: the training begins anew: %s", error)
            tuned = tune(None)
        if not tuned.done:
            self._agenda.keep_progress(tuned.progress)
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
            parent=self._trial.current,
            data_since_s=since_s,
            data_until_s=until_s,
            metrics=metrics,
            reason=report.reason,
        )
        card = {"parent": self._trial.current, "seed": self._rules.seed}
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
        self._trial.enter(version, network)
        self._step("shadow", version, report.reason)

    def _note_progress(self, share: float) -> None:
        self.progress = share

    def _keep_cases(self) -> None:
        if self._judged.is_set():
            self._judged.clear()
            self._cases.keep()

    def _plant(self) -> Plant:
        pipeline, found = self._pipeline, list[Channel]()

        def look() -> None:
            found.extend(pipeline.table[row] for row in self._trial.rows())

        self._do(look)
        settings = self._settings
        channels = {each.name: each for each in found}
        return Plant(channels, settings.streams, settings.channels, settings.alerts)

    def _mates(self, channel: str) -> list[str]:
        """The channels of its asset that are compared, itself among them; else itself alone."""
        channels = self._plant().channels
        own = channels.get(channel)
        if own is None or own.asset is None:
            return [channel]
        mates = [name for name, each in channels.items() if each.asset == own.asset]
        return mates[:MEMBERS] if channel in mates[:MEMBERS] else [channel]

    # --- yielding ---------------------------------------------------------------------------

    def _should_stop(self) -> bool:
        while (why := self._busy()) is not None and not self._stop.wait(_LOOK_S):
            if not self._waits:
                log.info("models: retraining waits: %s", why)
            self._waits = True
        self._waits = False
        self._keep_cases()
        return self._stop.is_set()

    def _yield(self) -> None:
        if self._should_stop():
            raise Stopped

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


def _long(segments: Sequence[Cut]) -> list[Cut]:
    return [each for each in segments if each.times.size >= _SHORTEST]
