"""Learning on site: a challenger is trained, judged, tried in shadow, promoted, and taken back.

One thread of low priority, `retrain`, owns all of it: it trains from a copy of the history, yields
while the daemon is busy, and stops within a second. The pipeline's columns are changed on the
pipeline's thread, by what it is asked to do between two batches. A step is first in the registry,
on disk, and then in service, so whatever kills the daemon, exactly one version is current. What a
restart must not forget (the schedule, a round that was cut off, who is on trial) is in the agenda.

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
from typing import Literal

import numpy as np
from msgspec.structs import replace

from anomalyd import __version__
from anomalyd.adapters.machine import give_back_memory
from anomalyd.adapters.models.manifest import NEXT_STEP, SHIPPED, Manifest
from anomalyd.adapters.models.store import ModelStore
from anomalyd.detection.channels import Channel
from anomalyd.errors import AnomalydError, ModelError
from anomalyd.model import checkpoint
from anomalyd.model.fine_tuning import FineTuningPlan, Stopped, fine_tune
from anomalyd.model.next_step import NextStep
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.model.segment import Cut, Segment, split
from anomalyd.runtime import registry
from anomalyd.runtime.agenda import AgendaFile, Round
from anomalyd.runtime.casebook import Casebook
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.gate import GateReport, judge, poisson_tail
from anomalyd.runtime.history import History
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
_DRIFT_PAUSE_S = 6.0 * _HOUR_S  # from one round to one because of drift
_DRIFT_LOOK_S = 60.0
_NOTE_S = 300.0  # of a trial, that a restart may repeat
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
        self._cases = Casebook(settings.state.directory, history)
        self._agenda = AgendaFile(settings.state.directory, conditions)
        self._current, self._former, self._stamp = "", "", 0
        self._challenger: str | None = None
        self._since_s = 0.0
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
        self._stamp = self._store.stamp(NEXT_STEP)
        own = (each for each in self._store.list() if each.role == NEXT_STEP)
        self.judged_s = max((each.created_s for each in own), default=0.0) or self.judged_s
        # What serves: one that can't be loaded was passed by at the start.
        self._current = registry.current(self._store, NEXT_STEP)[1] or SHIPPED
        named = self._store.current(NEXT_STEP)
        if named != self._current:
            why = f"it can't be loaded; {self._current} serves"
            self._store.rollback(NEXT_STEP, why, self._clock())
            self._trust(self._current)
            self._step("rolled-back", named, why)
        if not self._agenda.now.due_s:
            self._agenda.note(due_s=self._first_due_s(), begun_s=self._clock())
        if self._current != self._agenda.now.trusted:
            self._resume_watch()
        else:
            self._resume_shadow()

    def _resume_watch(self) -> None:
        """A restart came between a promotion and the end of the watch over it."""
        back = self._store.served(NEXT_STEP)[1:]
        for version in back:
            try:
                network = self._network(version)
            except ModelError as error:
                log.warning("models: %s; it is no way back", error)
                continue
            tried_s = self._tried_s(self._current)
            self._begin(version, network)
            self._build_up()
            self._former, self._since_s = version, self._clock() - tried_s
            self._store.dismiss(NEXT_STEP, "another is on trial", self._clock())
            return
        self._trust(self._current)

    def _resume_shadow(self) -> None:
        """A restart ended the shadow of a challenger: it goes on."""
        for each in self._store.list():
            if (each.role, each.status, each.parent) == (NEXT_STEP, "shadow", self._current):
                try:
                    network = self._network(each.version)
                except ModelError as error:
                    log.warning("models: version=%s can't go on in shadow: %s", each.version, error)
                    continue
                self._begin(each.version, network)
                self._build_up()
                self._challenger = each.version
                self._since_s = self._clock() - self._tried_s(each.version)
                return
        self._store.dismiss(
            NEXT_STEP, f"{self._current} serves, which is not its parent", self._clock()
        )

    def _tried_s(self, version: str) -> float:
        agenda = self._agenda.now
        return agenda.tried_s if agenda.trial == version else 0.0

    def _fail(self, why: str) -> None:
        self.progress = 0.0
        agenda, now_s = self._agenda.now, self._clock()
        if agenda.round is not None or agenda.due_s < now_s:
            self._agenda.note(due_s=max(agenda.due_s, now_s + _HOUR_S), round=None)
        if self._conditions.now().get("retrain") != why:
            self.results["failed"] += 1
            self._step("failed", self._challenger or "", why)
        self._conditions.begin("retrain", why)

    def _look(self) -> None:
        self._keep_cases()
        stamp = self._store.stamp(NEXT_STEP)
        if stamp != self._stamp:
            self._stamp = stamp
            now = self._store.current(NEXT_STEP)
            if now != self._current:
                self._follow(now)
        if self._pipeline.shadow is None:
            self._consider()
            return
        tried_s = self._clock() - self._since_s
        version = self._challenger or self._current
        if tried_s - self._tried_s(version) >= _NOTE_S:
            self._agenda.note(trial=version, tried_s=tried_s)
        if self._challenger is not None:
            self._try_out(self._challenger)
        else:
            self._watch()

    def _consider(self) -> None:
        """A round that was cut off, or a new one where it is time."""
        begun = self._agenda.now.round
        if begun is None or begun.champion != self._current:
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
        return Round(self._current, now_s - rules.history_h * _HOUR_S, now_s, why)

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
        plant = self._plant()
        known = self._cases.without_confirmed(
            [each for each in past.stretches(_SHORTEST) if each.channel in plant.channels]
        )
        readings = sum(each.times.size for each in known)
        if readings < self._rules.least_readings:
            self.results["too-little"] += 1
            log.info(
                "models: not retrained, %s: %d readings of history, retrain.least_readings is %d",
                this.why, readings, self._rules.least_readings,
            )  # fmt: skip
            return
        self._do(lambda: self._pipeline.drift.reset(np.array(self._rows(self._pipeline))))
        first, last = min(each.times[0] for each in known), max(each.times[-1] for each in known)
        learnt, held = split(known, last - _HELD_OUT * (last - first))
        about = f"{this.why}; {readings} readings of {len(plant.channels)} channels"
        self._step("started", "", about)
        champion = self._network(self._current)
        challenger = self._tune(champion, learnt)
        report = judge(
            champion, challenger, plant, _long(held), self._cases.all(),
            _long(learnt)[:_LEARNT_PIECES], each=self._yield,
            original=checkpoint.shipped_network(),
        )  # fmt: skip
        self.progress = 0.0
        self._enter(challenger, report, float(first), float(last))

    def _tune(self, champion: NextStep, learnt: Sequence[Segment]) -> NextStep:
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

    def _keep_cases(self) -> None:
        if self._judged.is_set():
            self._judged.clear()
            self._cases.keep()

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
        self._keep_cases()
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
            # Its time in shadow must never pass for a watch over it.
            self._agenda.note(trial="", tried_s=0.0)
            self._store.promote(version, reason, self._clock())
            self._serve(version, reason)

    def _serve(self, version: str, reason: str) -> None:
        """The shadow takes the place of what serves, which becomes the shadow."""
        self._do(self._pipeline.swap)
        self._former, self._current = self._current, version
        self._challenger, self._since_s = None, self._clock()
        self._agenda.note(trial=version, tried_s=0.0)
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
            if back != self._former:  # which is on disk no more
                self._begin(back, self._network(back))
                self._build_up()
            self._do(self._pipeline.swap)
            self._end()
            former, self._current = self._current, back
            self._trust(back)
            self._step("rolled-back", former, f"{why}; {back} serves again")
        elif self._clock() - self._since_s >= self._rules.shadow_h * _HOUR_S:
            self._end()
            self._trust(self._current)

    def _trust(self, version: str) -> None:
        self._agenda.note(trial="", tried_s=0.0, trusted=version)

    def _follow(self, version: str) -> None:
        """Somebody has promoted or rolled back by hand."""
        self._begin(version, self._network(version))
        self._build_up()
        self._serve(version, "by hand")

    def _build_up(self) -> None:
        """Give the shadow the state that it would have, had it always scored: from the windows."""
        pipeline, rows = self._pipeline, list[int]()
        self._do(lambda: rows.extend(self._rows(pipeline)))
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            self._do(partial(self._rebuild, rows[begin : begin + _ROWS_AT_ONCE]))

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
