"""What is done again at a start: what the pipeline was asked since the state that was restored.

The journal hands in its entries in order; `finish` comes after the last. Called on the main thread,
before the pipeline's own runs. Alerts are told again under the ids that they had, and the outbox
knows those that it has. Nothing here may look at a clock but that of the entries: what comes of
them must be what came of them before, up to the last bits of a network's steps, which depend on
who else is in them. When each channel had its last confirmed fault is known from the beginning,
later ones too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from anomalyd.detection.reading import Floats, Readings, Rows
from anomalyd.detection.reorder import Reorder
from anomalyd.runtime.intake import Intake
from anomalyd.runtime.journal_entry import Asked, Entry
from anomalyd.runtime.pipeline import Outcome, Pipeline

log = logging.getLogger(__name__)

_AT_ONCE = 8192  # readings that are scored in one step
_SET_BACK_S = 1.0
_NONE: Rows = np.empty(0, dtype=np.intp)


class Recovery:
    """One start."""

    def __init__(
        self,
        pipeline: Pipeline,
        intake: Intake,
        reorder: Reorder | None,
        tell: Callable[[Outcome], None],
        saved_s: float,
    ) -> None:
        """`saved_s`: the listener's clock when the state was copied; 0 where there is none."""
        self._pipeline, self._intake = pipeline, intake
        self._reorder = reorder
        self._tell = tell
        self._newest_s = saved_s
        self._waiting: list[tuple[Readings, Floats]] = []
        self._asked = {
            Asked.SILENT: self._fall_silent,
            Asked.DEAD: self._die,
            Asked.RETIRE: self._retire,
            Asked.RESUME: self._resume,
            Asked.SHIFT: self._shift,
        }

    def again(self, entry: Entry) -> None:
        """Ask it once more."""
        if entry.asked != Asked.SHIFT:
            self._newest_s = max(self._newest_s, entry.now_s)
        if entry.asked == Asked.SCORE:
            self._score(entry)
            return
        self._step()
        if entry.asked == Asked.MAINTAIN:
            self._pipeline.maintain_again(entry.readings.rows, entry.readings.times)
            return
        self._asked[entry.asked](entry.readings.rows, entry.now_s)

    def find(self, topic: str, name: str) -> int | None:
        """The row of a channel; a new one comes after what was scored without it."""
        if self._pipeline.table.find(name) is None:
            self._step()
        return self._intake.reopen(topic, name)

    def finish(self, now_s: float) -> float:
        """There is no more; `now_s` on the listener's clock. Where that was set back meanwhile,
        what is timed by it goes back too, or its readings would be late until then: by how much,
        for the journal."""
        self._step()
        back_s = self._newest_s - now_s
        if back_s > _SET_BACK_S:
            log.warning("the host's clock was set back by %.3g s while the daemon was down", back_s)
            self._shift(_NONE, -back_s)
            return -back_s
        return 0.0

    def _score(self, entry: Entry) -> None:
        readings = entry.readings
        if self._reorder is not None:
            readings, _ = self._reorder.order(readings, entry.now_s)
        if len(readings):
            self._waiting.append((readings, np.full(len(readings), entry.now_s)))
        if sum(len(each) for each, _ in self._waiting) >= _AT_ONCE:
            self._step()

    def _step(self) -> None:
        """Many batches give what they gave one by one."""
        if not self._waiting:
            return
        batches, clocks = zip(*self._waiting, strict=True)
        self._waiting = []
        outcome = self._pipeline.step(
            Readings(
                np.concatenate([each.rows for each in batches]),
                np.concatenate([each.times for each in batches]),
                np.concatenate([each.values for each in batches]),
            ),
            np.concatenate(clocks),
        )
        self._tell(Outcome.of(outcome.alerts))

    def _fall_silent(self, rows: Rows, now_s: float) -> None:
        self._tell(self._pipeline.fall_silent(rows))

    def _die(self, rows: Rows, now_s: float) -> None:
        if self._reorder is not None:
            self._tell(Outcome.of(self._pipeline.step(self._reorder.release(rows), now_s).alerts))
        self._tell(self._pipeline.die(rows, now_s))

    def _retire(self, rows: Rows, now_s: float) -> None:
        for row in rows.tolist():
            if self._reorder is not None:
                self._reorder.forget(row)
            self._tell(Outcome.of(self._intake.retire(row, now_s)))

    def _resume(self, rows: Rows, now_s: float) -> None:
        self._pipeline.resume(now_s)

    def _shift(self, rows: Rows, jump_s: float) -> None:
        self._newest_s += jump_s
        self._pipeline.shift(jump_s)
        self._intake.skew.shift(jump_s)
        if self._reorder is not None:
            self._reorder.shift(jump_s)
