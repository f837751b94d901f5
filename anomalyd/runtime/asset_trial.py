"""Asset models on trial: a challenger in shadow before it serves its class; the former one in
shadow after that, until what serves is trusted. As `trial.py` has it for the predictor.

Called by the retrainer, on its thread. Another model serves a class only once none of its channels
is under an alert of its relations, whose residual would be another then, or after twice the time;
the way back from one that floods doesn't wait for that. A step is first in the registry, on disk,
and then in service.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from anomalyd.adapters.models.manifest import Manifest
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

_PATIENCE = 2.0
"""times `shadow_h` that a promotion waits for a class without alerts"""


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
        self._waits = False

    @property
    def on(self) -> bool:
        """A model of the class is on trial."""
        return self.predictor in self._pipeline.asset_shadows

    def open(self) -> None:
        """Go on from what a restart has left: a trial, or the watch over a promotion."""
        tried = self._agenda.now.asset_trials.get(self._role, Tried("", 0.0))
        current, *before = self._store.served(self._role)
        waiting = [each for each in self._store.list() if self._is_tried(each)]
        try:
            if tried.version == current and before:
                self._former = version = before[0]
            elif waiting and tried.version != current:
                self._challenger = version = waiting[-1].version
            else:
                self._forget()
                return
            self._begin(version, self._load(version))
        except ModelError as error:
            log.warning("models: %s: the trial can't go on: %s", self._role, error)
            self._challenger = None
            self._forget()
            return
        finally:
            self._dismiss(waiting)
        watches = self._challenger is None
        if tried.watched == watches and tried.version in (current, self._challenger):
            self._since_s = self._clock() - tried.tried_s

    def _is_tried(self, each: Manifest) -> bool:
        return (each.role, each.status) == (self._role, "shadow")

    def _dismiss(self, waiting: Sequence[Manifest]) -> None:
        """Nobody tries these any more, but for the challenger."""
        for each in waiting:
            if each.version != self._challenger:
                why = "its trial ended while the daemon was away"
                self._store.reject(each.version, why, self._clock())

    def enter(self, version: str, network: AssetNetwork) -> None:
        """A challenger that the gate has accepted goes into shadow."""
        self._begin(version, network)
        self._challenger = version
        self._note(version, 0.0)

    def look(self) -> None:
        """Follow what was done by hand, and go on with the trial."""
        if not self._follow() or not self.on:
            return
        tried_s = self._clock() - self._since_s
        version = self._challenger or self.predictor.name
        noted = self._agenda.now.asset_trials.get(self._role)
        if noted is None or tried_s - noted.tried_s >= NOTE_S:
            self._note(version, tried_s)
        if self._challenger is not None:
            self._try_out(self._challenger, tried_s)
        else:
            self._watch(tried_s)

    # --- the registry -----------------------------------------------------------------------

    def _follow(self) -> bool:
        """Let what is current in the registry serve, whoever made it so; False while that waits."""
        stamp = self._store.stamp(self._role)
        if self._stamp == stamp:
            return True
        self._stamp = stamp  # what can't be read is told once
        network, name = self._current()
        if name == self.predictor.name:
            return True
        current = self._store.current(self._role)
        back = self.on and self._challenger is None and current == self._former
        # The way back doesn't wait: it may be from one that floods, and never is calm.
        if not back and not self._calm():
            self._stamp = None
            self._wait("to serve")
            return False
        self._waits = False
        why = self._store.show(current, self._role).reason
        if self.on and current == self._challenger:
            self._note(current, 0.0, watched=True)
            self._serve(current, why)
            return True
        if back:
            self._swap()
        else:
            self._renew(network, name)
        self._end()
        self._tell("promoted", name, f"{self._role}: {why}")
        return True

    def _wait(self, what: str) -> None:
        if not self._waits:
            log.info(
                "models: %s waits %s until no channel of the class is under an alert of its "
                "relations",
                self._role,
                what,
            )
        self._waits = True

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
            return
        if tried_s < self._shadow_s or not self._proven():
            return
        # An alert that stands for ever must not keep a class from its model.
        if tried_s < _PATIENCE * self._shadow_s and not self._calm():
            self._wait("to be promoted")
            return
        self._waits = False
        why = (
            f"{tally.raised} assets found odd in shadow in {tally.readings} comparisons, "
            f"{tally.raised_serving} by what served"
        )
        # Its time in shadow must never pass for a watch over it.
        self._note(version, 0.0, watched=True)
        self._store.promote(version, why, self._clock(), self._role)
        self._stamp = self._store.stamp(self._role)
        self._serve(version, why)

    def _serve(self, version: str, why: str) -> None:
        """The shadow takes the place of what serves, which becomes the shadow."""
        self._former = next(iter(self._store.served(self._role)[1:]), "")
        self._swap()
        self._challenger, self._since_s = None, self._clock()
        self._tell("promoted", version, f"{self._role}: {why}")

    def _watch(self, tried_s: float) -> None:
        """What serves is new; the former one scores beside it."""
        why = unfit(turned(self._tally()), "since its promotion")
        if why is not None:
            failed = self.predictor.name
            self._forget()
            back = self._store.rollback(self._role, why, self._clock())
            if back == self._former:
                self._swap()
            else:  # that is on disk no more
                self._renew(*self._current())
            self._end()
            self._tell("rolled-back", failed, f"{self._role}: {why}; {back} serves again")
        elif tried_s >= self._shadow_s and self._proven():
            self._end()

    def _swap(self) -> None:
        self._do(lambda: self._pipeline.swap_assets(self.predictor))

    def _calm(self) -> bool:
        calm = list[bool]()
        self._do(lambda: calm.append(self._pipeline.calm(self.predictor)))
        return calm[0]

    def _load(self, version: str) -> AssetNetwork:
        """Raises ModelError, also where it is for other channels than the class has now."""
        self._store.check(version, self._role)
        return asset_network(self._store.path(version, self._role))

    def _begin(self, version: str, network: AssetNetwork) -> None:
        """Raises ModelError where it has other seats than what serves."""
        seats = (*network.config.members, *network.config.inputs)
        if seats != self.predictor.seats:
            raise ModelError(f"{version}: its channels are {seats}, not {self.predictor.seats}")
        self._do(lambda: self._pipeline.begin_asset_shadow(self.predictor, network, version))
        self._since_s = self._clock()

    def _end(self) -> None:
        self._do(lambda: self._pipeline.end_asset_shadow(self.predictor))
        self._challenger, self._waits = None, False
        self._forget()

    def _note(self, version: str, tried_s: float, watched: bool | None = None) -> None:
        watched = self._challenger is None if watched is None else watched
        trials = self._agenda.now.asset_trials
        tried = Tried(version, tried_s, watched)
        self._agenda.note(asset_trials={**trials, self._role: tried})

    def _forget(self) -> None:
        trials = dict(self._agenda.now.asset_trials)
        if trials.pop(self._role, None) is not None:
            self._agenda.note(asset_trials=trials)

    def _proven(self) -> bool:
        shadow = self._pipeline.asset_shadows.get(self.predictor)
        return shadow is not None and shadow.proven

    def _tally(self) -> Tally:
        shadow = self._pipeline.asset_shadows.get(self.predictor)
        return shadow.tally if shadow is not None else NOTHING


def asset_network(path: Path) -> AssetNetwork:
    """Raises ModelError."""
    found = checkpoint.load(path).network
    if not isinstance(found, AssetNetwork):
        raise ModelError(f"{path}: no asset model")
    return found
