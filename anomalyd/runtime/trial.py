"""A model on trial: a challenger in shadow before it serves; the former model in shadow after that,
until what serves is trusted.

Called by the retrainer, on its thread. The pipeline's columns are changed on the pipeline's thread,
by what it is asked to do between two batches. A step is first in the registry, on disk, and then in
service, so whatever kills the daemon, exactly one version is current.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np

from anomalyd.adapters.models.manifest import NEXT_STEP, SHIPPED
from anomalyd.adapters.models.store import ModelStore
from anomalyd.detection.poisson import poisson_tail
from anomalyd.errors import ModelError
from anomalyd.model.next_step import NextStep
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.runtime import registry
from anomalyd.runtime.agenda import AgendaFile
from anomalyd.runtime.memory import rebuild
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.shadow import NOTHING, Tally

log = logging.getLogger(__name__)

Step = Literal["started", "rejected", "shadow", "promoted", "rolled-back", "failed"]

HOUR_S = 3600.0
_ROWS_AT_ONCE = 200  # rebuilt between two batches
_DOUBT = 1e-3  # probability that what follows the promise looks like a flood
NOTE_S = 300.0
"""of a trial, that a restart may repeat"""


class Trial:
    """Who serves, and who is tried beside it."""

    def __init__(
        self,
        shadow_h: float,
        store: ModelStore,
        pipeline: Pipeline,
        agenda: AgendaFile,
        do: Callable[[Callable[[], None]], None],
        tell: Callable[[Step, str, str], None],
        clock: Callable[[], float],
    ) -> None:
        """`do`: has something done on the pipeline's thread, and returns when it is. `tell`: step,
        version, reason."""
        self.current = ""
        """the version that serves"""
        self.challenger: str | None = None
        """in shadow, before it serves"""
        self._shadow_s = shadow_h * HOUR_S
        self._store = store
        self._pipeline = pipeline
        self._agenda = agenda
        self._do = do
        self._tell = tell
        self._clock = clock
        self._former, self._stamp = "", 0
        self._since_s = 0.0

    def open(self) -> None:
        """Go on from what a restart has left."""
        self._stamp = self._store.stamp(NEXT_STEP)
        # What serves: one that can't be loaded was passed by at the start.
        self.current = registry.current(self._store, NEXT_STEP)[1] or SHIPPED
        named = self._store.current(NEXT_STEP)
        if named != self.current:
            why = f"it can't be loaded; {self.current} serves"
            self._store.rollback(NEXT_STEP, why, self._clock())
            self._trust(self.current)
            self._tell("rolled-back", named, why)
        if self.current == self._agenda.now.trusted or not self._resume_watch():
            self._resume_shadow()

    def look(self) -> bool:
        """Follow what was done by hand, and go on with the trial; False where nobody is on it."""
        stamp = self._store.stamp(NEXT_STEP)
        if stamp != self._stamp:
            self._stamp = stamp
            now = self._store.current(NEXT_STEP)
            if now != self.current:
                self._follow(now)
        if self._pipeline.shadow is None:
            return False
        tried_s = self._clock() - self._since_s
        version = self.challenger or self.current
        if tried_s - self._tried_s(version) >= NOTE_S:
            self._agenda.note(trial=version, tried_s=tried_s)
        if self.challenger is not None:
            self._try_out(self.challenger)
        else:
            self._watch()
        return True

    def enter(self, version: str, network: NextStep) -> None:
        """A challenger that the gate has accepted goes into shadow."""
        self._begin(version, network)
        self.challenger = version

    def network(self, version: str) -> NextStep:
        """Raises ModelError."""
        found = registry.inspect(self._store.path(version), NEXT_STEP).network
        if not isinstance(found, NextStep):
            raise ModelError(f"{version}: no next-step network")
        return found

    def rows(self) -> list[int]:
        """Of the channels that a trial is about; on the pipeline's thread."""
        pipeline = self._pipeline
        rows: list[int] = pipeline.served(pipeline.predictors.default).tolist()
        return rows

    # --- after a restart --------------------------------------------------------------------

    def _resume_watch(self) -> bool:
        """A restart came between a promotion and the end of the watch over it; False where there
        is no way back."""
        back = self._store.served(NEXT_STEP)[1:]
        for version in back:
            try:
                network = self.network(version)
            except ModelError as error:
                log.warning("models: %s; it is no way back", error)
                continue
            tried_s = self._tried_s(self.current)
            self._begin(version, network)
            self._build_up()
            self._former, self._since_s = version, self._clock() - tried_s
            return True
        self._trust(self.current)
        return False

    def _resume_shadow(self) -> None:
        """What a restart has ended, or a watch has kept waiting, goes on in shadow."""
        for each in self._store.list():
            if (each.role, each.status, each.parent) == (NEXT_STEP, "shadow", self.current):
                try:
                    network = self.network(each.version)
                except ModelError as error:
                    log.warning("models: version=%s can't go on in shadow: %s", each.version, error)
                    continue
                self._begin(each.version, network)
                self._build_up()
                self.challenger = each.version
                self._since_s = self._clock() - self._tried_s(each.version)
                return
        self._store.dismiss(
            NEXT_STEP, f"{self.current} serves, which is not its parent", self._clock()
        )

    def _tried_s(self, version: str) -> float:
        agenda = self._agenda.now
        return agenda.tried_s if agenda.trial == version else 0.0

    # --- on trial ---------------------------------------------------------------------------

    def _try_out(self, version: str) -> None:
        tally = self._tally()
        why = unfit(tally, "in shadow")
        if why is not None:
            self._store.reject(version, why, self._clock())
            self._end()
            self._tell("rejected", version, why)
        elif self._clock() - self._since_s >= self._shadow_s and tally.readings:
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
        self._former, self.current = self.current, version
        self.challenger, self._since_s = None, self._clock()
        self._agenda.note(trial=version, tried_s=0.0)
        self._tell("promoted", version, reason)

    def _watch(self) -> None:
        """What serves is new; the former one scores beside it."""
        why = unfit(turned(self._tally()), "since its promotion")
        if why is not None:
            back = self._store.rollback(NEXT_STEP, why, self._clock())
            if back != self._former:  # which is on disk no more
                self._begin(back, self.network(back))
                self._build_up()
            self._do(self._pipeline.swap)
            self._end()
            former, self.current = self.current, back
            self._trust(back)
            self._tell("rolled-back", former, f"{why}; {back} serves again")
        elif self._clock() - self._since_s >= self._shadow_s:
            self._end()
            self._trust(self.current)
            self._resume_shadow()

    def _trust(self, version: str) -> None:
        self._agenda.note(trial="", tried_s=0.0, trusted=version)

    def _follow(self, version: str) -> None:
        """Somebody has promoted or rolled back by hand."""
        self._begin(version, self.network(version))
        self._build_up()
        self._serve(version, "by hand")

    def _build_up(self) -> None:
        """Give the shadow the state that it would have, had it always scored: from the windows."""
        rows = list[int]()
        self._do(lambda: rows.extend(self.rows()))
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
        self.challenger = None

    def _tally(self) -> Tally:
        shadow = self._pipeline.shadow
        return shadow.tally if shadow is not None else NOTHING


def turned(tally: Tally) -> Tally:
    """The same where what serves is new, and the shadow what served before."""
    return Tally(
        tally.readings, tally.raised_serving, tally.raised, tally.promised,
        tally.unknown_serving, tally.unknown,
    )  # fmt: skip


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
