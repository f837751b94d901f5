"""Learning on site, of asset classes: each learns anew from the history; the better one serves.

Called by the retrainer on its thread: `look` after each of its rounds, `follow` at every look. A
class is trained from nothing, not fine-tuned: that takes seconds, and a round that is cut off
begins again after a restart, without the classes that are done. An accepted challenger goes on
trial (`asset_trial.py`); a class with a model on trial is left alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from anomalyd import __version__
from anomalyd.adapters.machine import give_back_memory
from anomalyd.adapters.models.manifest import SHIPPED, Manifest
from anomalyd.adapters.models.store import ModelStore
from anomalyd.errors import AnomalydError, ModelError, Stopped
from anomalyd.model import checkpoint
from anomalyd.model.asset import AssetNetwork
from anomalyd.model.torch_library import load_torch
from anomalyd.runtime import registry
from anomalyd.runtime.agenda import AgendaFile, Round
from anomalyd.runtime.asset_trial import AssetTrial, asset_network
from anomalyd.runtime.casebook import Casebook
from anomalyd.runtime.history import History
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.trial import Step
from anomalyd.settings import Settings

if TYPE_CHECKING:
    from anomalyd.runtime.asset_gate import AssetIncident
    from anomalyd.runtime.asset_rows import AssetRows
    from anomalyd.runtime.gate import GateReport

log = logging.getLogger(__name__)

_HELD_OUT = 0.25  # of the time of the rows
_MOST_READINGS = 2_000_000
# Training looks at a fifth of them in one go, in which it can't be stopped: about half a second.
_MOST_ROWS = 8192
_LEAST_ROWS = 1000
_MOST_BEGINNINGS = 3


class AssetRetrainer:
    """Who serves each class of assets, and what it learns."""

    def __init__(
        self,
        settings: Settings,
        store: ModelStore,
        history: History,
        pipeline: Pipeline,
        cases: Casebook,
        agenda: AgendaFile,
        do: Callable[[Callable[[], None]], None],
        tell: Callable[[Step, str, str], None],
        each: Callable[[], None],
        progress: Callable[[float], None],
        results: Counter[str],
        clock: Callable[[], float],
    ) -> None:
        """`do`: has something done on the pipeline's thread, and returns when it is. `each`: called
        often, waits while the daemon is busy, and raises Stopped."""
        self._rules = settings.retrain
        self._store = store
        self._history = history
        self._pipeline = pipeline
        self._cases = cases
        self._agenda = agenda
        self._do = do
        self._tell = tell
        self._each = each
        self._progress = progress
        self._results = results
        self._clock = clock
        self._trials: dict[str, AssetTrial] = {}
        for stream, predictor in pipeline.asset_classes.items():
            role = registry.role_of(Path(settings.streams[stream].model or ""))
            self._trials[role] = AssetTrial(
                role, predictor, settings.retrain.shadow_h, store, pipeline, agenda, do, tell, clock
            )

    def open(self) -> None:
        """Go on from what a restart has left."""
        for trial in self._trials.values():
            trial.open()

    def follow(self) -> None:
        """Let what is current in the registry serve, whoever made it so; go on with the trials. One
        class that can't does not stop the others; raises what it raised."""
        failed: list[Exception] = []
        for trial in self._trials.values():
            try:
                trial.look()
            except (AnomalydError, OSError) as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def look(self) -> None:
        """The round that is due, where one is."""
        begun = self._agenda.now.assets
        if begun is None:
            return
        if begun.begun >= _MOST_BEGINNINGS:
            self._agenda.note(assets=None)
            raise ModelError(f"asset models: a round began {begun.begun} times and never ended")
        self._agenda.note(assets=replace(begun, begun=begun.begun + 1))
        try:
            self._round(begun)
        except Stopped:
            self._agenda.note(assets=replace(begun, begun=0))
            raise
        except BaseException:
            self._agenda.note(assets=None)
            raise
        finally:
            self._progress(0.0)
            give_back_memory()
        self._agenda.note(assets=None)
        self.follow()

    def _round(self, this: Round) -> None:
        load_torch()
        from anomalyd.runtime.asset_rows import rows_of

        seats = self._seats()
        names = {name for of in seats.values() for each in of.values() for name in each}
        past = self._history.copy(this.since_s, this.until_s, _MOST_READINGS, names)
        segments = self._cases.without_confirmed(list(past.stretches()))
        for role, trial in self._trials.items():
            if trial.on:
                log.info("models: %s not retrained, %s: another is on trial", role, this.why)
            elif not self._is_done(role, this):
                members = trial.predictor.members
                rows = rows_of(segments, seats[role], members)
                self._learn(role, seats[role], members, rows, this.why)

    def _seats(self) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """Role -> asset -> its channels."""
        found: dict[str, Mapping[str, Sequence[str]]] = {}

        def look() -> None:
            for role, trial in self._trials.items():
                found[role] = self._pipeline.seats(trial.predictor)

        self._do(look)
        return found

    def _is_done(self, role: str, this: Round) -> bool:
        """Before a restart cut the round off."""
        return any(
            each.role == role and each.data_until_s is not None and each.created_s >= this.until_s
            for each in self._store.list()
        )

    def _learn(
        self,
        role: str,
        seats: Mapping[str, Sequence[str]],
        members: int,
        rows: Sequence[AssetRows],
        why: str,
    ) -> None:
        from anomalyd.runtime.asset_gate import judge_asset
        from anomalyd.runtime.asset_rows import drawn, split_rows

        first_s = min((each.times[0] for each in rows), default=0.0)
        last_s = max((each.times[-1] for each in rows), default=0.0)
        learnt, held = split_rows(rows, last_s - _HELD_OUT * (last_s - first_s))
        count = sum(each.times.size for each in learnt)
        if count < _LEAST_ROWS or not held:
            self._results["too-little"] += 1
            log.info("models: %s not retrained, %s: %d rows to learn from", role, why, count)
            return
        self._tell("started", "", f"{role}: {why}; {count} rows of {len(seats)} assets")
        seed = self._rules.seed
        path, champion = registry.current(self._store, role)
        before, original = asset_network(path), asset_network(self._store.path(SHIPPED, role))
        challenger = self._train(drawn(learnt, _MOST_ROWS, seed), before)
        report = judge_asset(
            before, challenger, learnt, drawn(held, _MOST_ROWS, seed),
            self._incidents(seats, members), original, self._each,
        )  # fmt: skip
        manifest = Manifest(
            role=role,
            created_s=self._clock(),
            seed=seed,
            code_version=__version__,
            parent=champion or SHIPPED,
            data_since_s=float(first_s),
            data_until_s=float(last_s),
            metrics=report.metrics,
            reason=report.reason,
        )
        self._enter(challenger, manifest, report)

    def _train(self, rows: Sequence[AssetRows], before: AssetNetwork) -> AssetNetwork:
        from anomalyd.model import asset_training

        def stop() -> bool:
            self._each()
            return False

        steps = self._rules.steps
        network, _ = asset_training.train(
            [each.values for each in rows],
            before.config,
            self._rules.seed,
            asset_training.AssetPlan(steps=steps),
            stop,
            lambda step, loss: self._progress(step / steps),
        )
        return network

    def _incidents(
        self, seats: Mapping[str, Sequence[str]], members: int
    ) -> Sequence[AssetIncident]:
        """The cases that have the readings of a whole asset of the class."""
        from anomalyd.runtime.asset_gate import AssetIncident
        from anomalyd.runtime.asset_rows import rows_of

        found = []
        for case in self._cases.all():
            rows = rows_of(case.segments, seats, members, all_learnt=True)
            if rows:
                found.append(AssetIncident(case.alert, case.start_s, case.end_s, rows))
        return found

    def _enter(self, network: AssetNetwork, manifest: Manifest, report: GateReport) -> None:
        """Into the registry, and current there where the gate says so."""
        card = {"parent": manifest.parent, "seed": manifest.seed}
        version = self._store.add(checkpoint.dump(network, card), manifest)
        if report.accepted:
            self._results["shadow"] += 1
            self._store.shadow(version, report.reason, self._clock())
            self._trials[manifest.role].enter(version, network)
            self._tell("shadow", version, f"{manifest.role}: {report.reason}")
        else:
            self._results["rejected"] += 1
            self._store.reject(version, report.reason, self._clock())
            self._tell("rejected", version, f"{manifest.role}: {report.reason}")
