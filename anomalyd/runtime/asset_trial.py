"""Asset models on trial: a challenger in shadow before it serves its class; the former one in
shadow after that, until what serves is trusted. As `trial.py` has it for the predictor.

Called by the retrainer, on its thread. Another model serves a class only once none of its channels
is under alert, whose residual would be another then; the way back from one that floods doesn't wait
for that. A step is first in the registry, on disk, and then in service.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from anomalyd.adapters.models.store import ModelStore
from anomalyd.errors import ModelError
from anomalyd.model import checkpoint
from anomalyd.model.asset import AssetNetwork
from anomalyd.model.asset_predictor import AssetPredictor
from anomalyd.runtime import registry
from anomalyd.runtime.agenda import AgendaFile, Tried
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.shadow import NOTHING, Tally
from anomalyd.runtime.trial import HOUR_S, NOTE_S, Step, turned, unfit

log = logging.getLogger(__name__)


class AssetTrial:
    """Who serves one class of assets, and who is tried beside it."""

    def __init__(
        self,
        role: str,
        predictor: AssetPredictor,
        shadow_h: float,
        store: ModelStore,
        pipeline: Pipeline,
        agenda: AgendaFile,
        do: Callable[[Callable[[], None]], None],
        tell: Callable[[Step, str, str], None],
        clock: Callable[[], float],
    ) -> None:
        """`predictor`: serves the class in the pipeline, whatever its network. `do`: has something
        done on the pipeline's thread, and returns when it is."""
        self._role = role
        self.predictor = predictor
        self._shadow_s = shadow_h * HOUR_S
        self._store = store
        self._pipeline = pipeline
        self._agenda = agenda
        self._do = do
        self._tell = tell
        self._clock = clock
        self._challenger: str | None = None
        self._former = ""
        self._since_s = 0.0
        self._stamp: int | None = None

    @property
    def on(self) -> bool:
        """A model of the class is on trial."""
        return self.predictor in self._pipeline.asset_shadows

    def open(self) -> None:
        """Go on from what a restart has left: a trial, or the watch over a promotion."""
        tried = self._agenda.now.asset_trials.get(self._role)
        if tried is None:
            return
        current, *before = self._store.served(self._role)
        watched = tried.version == current
        try:
            if watched:
                self._former = version = before[0]
            else:
                self._challenger = version = tried.version
            self._begin(version, asset_network(self._store.path(version, self._role)))
        except (ModelError, IndexError) as error:
            log.warning("models: %s: the trial can't go on: %s", self._role, error)
            self._challenger = None
            self._forget()
        self._since_s = self._clock() - tried.tried_s

    def enter(self, version: str, network: AssetNetwork) -> None:
        """A challenger that the gate has accepted goes into shadow."""
        self._begin(version, network)
        self._challenger = version
        self._agenda_notes(version, 0.0)

    def look(self) -> None:
        """Follow what was done by hand, and go on with the trial."""
        self._follow()
        if not self.on:
            return
        tried_s = self._clock() - self._since_s
        version = self._challenger or self.predictor.name
        noted = self._agenda.now.asset_trials.get(self._role)
        if noted is None or tried_s - noted.tried_s >= NOTE_S:
            self._agenda_notes(version, tried_s)
        if self._challenger is not None:
            self._try_out(self._challenger, tried_s)
        else:
            self._watch(tried_s)

    # --- the registry -----------------------------------------------------------------------

    def _follow(self) -> None:
        """Let what is current in the registry serve, whoever made it so."""
        stamp = self._store.stamp(self._role)
        if self._stamp == stamp:
            return
        self._stamp = stamp  # what can't be read is told once
        network, name = self._current()
        if name == self.predictor.name:
            return
        if not self._calm():
            self._stamp = None
            return
        current = self._store.current(self._role)
        why = self._store.show(current, self._role).reason
        if self.on and current == self._challenger:
            self._serve(current, why)
            return
        if self.on and self._challenger is None and current == self._former:
            self._do(lambda: self._pipeline.swap_assets(self.predictor))
        else:
            self._renew(network, name)
        self._end()
        self._tell("promoted", name, f"{self._role}: {why}")

    def _current(self) -> tuple[AssetNetwork, str]:
        """What the registry says serves, and its name. Raises ModelError."""
        path, version = registry.current(self._store, self._role)
        return asset_network(path), version or registry.name_of(path, checkpoint.load(path))

    def _renew(self, network: AssetNetwork, name: str) -> None:
        """Without a trial: its residuals are commissioned anew."""
        self._do(lambda: self._pipeline.renew(self.predictor, network, name))

    # --- on trial ---------------------------------------------------------------------------

    def _try_out(self, version: str, tried_s: float) -> None:
        tally = self._tally()
        why = unfit(tally, "in shadow")
        if why is not None:
            self._store.reject(version, why, self._clock())
            self._end()
            self._tell("rejected", version, f"{self._role}: {why}")
        elif tried_s >= self._shadow_s and tally.readings and self._calm():
            why = (
                f"{tally.raised} assets found odd in shadow in {tally.readings} comparisons, "
                f"{tally.raised_serving} by what served"
            )
            self._store.promote(version, why, self._clock(), self._role)
            self._stamp = self._store.stamp(self._role)
            self._serve(version, why)

    def _serve(self, version: str, why: str) -> None:
        """The shadow takes the place of what serves, which becomes the shadow."""
        self._former = next(iter(self._store.served(self._role)[1:]), "")
        self._do(lambda: self._pipeline.swap_assets(self.predictor))
        self._challenger, self._since_s = None, self._clock()
        self._agenda_notes(version, 0.0)
        self._tell("promoted", version, f"{self._role}: {why}")

    def _watch(self, tried_s: float) -> None:
        """What serves is new; the former one scores beside it."""
        why = unfit(turned(self._tally()), "since its promotion")
        if why is not None:
            failed = self.predictor.name
            back = self._store.rollback(self._role, why, self._clock())
            if back == self._former:
                self._do(lambda: self._pipeline.swap_assets(self.predictor))
            else:  # that is on disk no more
                self._renew(*self._current())
            self._end()
            self._tell("rolled-back", failed, f"{self._role}: {why}; {back} serves again")
        elif tried_s >= self._shadow_s:
            self._end()

    def _calm(self) -> bool:
        calm = list[bool]()
        self._do(lambda: calm.append(self._pipeline.calm(self.predictor)))
        return calm[0]

    def _begin(self, version: str, network: AssetNetwork) -> None:
        self._do(lambda: self._pipeline.begin_asset_shadow(self.predictor, network, version))
        self._since_s = self._clock()

    def _end(self) -> None:
        self._do(lambda: self._pipeline.end_asset_shadow(self.predictor))
        self._challenger = None
        self._forget()

    def _agenda_notes(self, version: str, tried_s: float) -> None:
        trials = self._agenda.now.asset_trials
        self._agenda.note(asset_trials={**trials, self._role: Tried(version, tried_s)})

    def _forget(self) -> None:
        trials = dict(self._agenda.now.asset_trials)
        if trials.pop(self._role, None) is not None:
            self._agenda.note(asset_trials=trials)

    def _tally(self) -> Tally:
        shadow = self._pipeline.asset_shadows.get(self.predictor)
        return shadow.tally if shadow is not None else NOTHING


def asset_network(path: Path) -> AssetNetwork:
    """Raises ModelError."""
    found = checkpoint.load(path).network
    if not isinstance(found, AssetNetwork):
        raise ModelError(f"{path}: no asset model")
    return found
