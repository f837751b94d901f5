"""The state on disk: restored before the daemon listens, saved while it runs and at its end.

| thread   | does                                                            |
|----------|------------------------------------------------------------------|
| main     | `open`, `restore`, `start`; `finish`, after the pipeline's end   |
| pipeline | `tick` between two batches: copies the columns, when a save is due |
| state    | writes what was copied                                           |

A save that fails is the condition `state`: told once, tried again when the next is due, ended by
the first that succeeds. Nothing waits for a disk: while a generation is being written, the next is
not copied. No lock: the hand-over is a queue of one, and each figure is written by one thread.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from anomalyd import __version__
from anomalyd.adapters import store
from anomalyd.errors import ServiceFailed, StateError
from anomalyd.runtime import memory
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.intake import Intake
from anomalyd.runtime.memory import Facts, Memory, Recalled
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Stream

log = logging.getLogger(__name__)

_CONDITION = "state"


class About(msgspec.Struct, frozen=True):
    """What a generation holds beside the arrays."""

    readings: int
    """scored up to here, over all restarts: what came later is not in it"""
    topics: dict[str, str]
    """channel -> the topic that it speaks on"""
    facts: Facts
    journal: int = 0
    """first segment of the journal whose readings are not in it"""
    ahead_s: dict[str, float] = {}
    """channel -> how far its times were ahead of the host's clock; of those that have their own"""
    behind_s: float = 0.0
    """how far the host's clock was behind most of them"""


@dataclass(frozen=True, slots=True)
class _Copy:
    """What is to be written."""

    memory: Memory
    topics: dict[str, str]
    ahead_s: dict[str, float]
    behind_s: float
    readings: int
    taken_s: float
    journal: int


class StateKeeper:
    """Owner of the thread `state` and of the state directory."""

    def __init__(
        self,
        directory: Path,
        save_every_s: float,
        streams: Sequence[Stream],
        pipeline: Pipeline,
        intake: Intake,
        conditions: Conditions,
        mark: Callable[[], int] = lambda: 0,
        saved: Callable[[int], None] = lambda before: None,
    ) -> None:
        """`mark`: called when columns are copied, begins a segment of the journal, and numbers it.
        `saved`: called on the thread `state`; no generation needs segments before that one."""
        self.journal = 0
        """first segment that what was restored doesn't hold"""
        self.saved_s = 0.0
        """seconds since 1970 of the newest generation; 0 before the first"""
        self.save_s = 0.0
        """what writing it took"""
        self.copy_s = 0.0
        """what copying took, which the pipeline waits for"""
        self.restored = 0
        """channels"""
        self._directory = directory
        self._every_s = save_every_s
        self._streams = streams
        self._pipeline = pipeline
        self._intake = intake
        self._conditions = conditions
        self._store = store.Store(directory)
        self._lock: IO[str] | None = None
        self._mark = mark
        self._saved = saved
        self._readings_before = 0
        self._due_s = time.monotonic() + save_every_s
        self._hurried = False
        self._copies: queue.Queue[_Copy | None] = queue.Queue(maxsize=1)
        self._idle = threading.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._run, name="state", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    # --- on the main thread -----------------------------------------------------------------

    def open(self) -> None:
        """Take the directory. Raises ServiceFailed where another daemon has it."""
        try:
            self._lock = store.lock(self._directory)
        except OSError as error:
            self._fail(error)

    def restore(self, now_s: float) -> Recalled | None:
        """Let the pipeline go on from the newest generation that can be used."""
        for found in self._store.generations():
            try:
                if isinstance(found, StateError):
                    raise found
                recalled = self._recall(found, now_s)
            except StateError as error:
                log.warning("state skipped: %s", error)
                continue
            self._tell(found, recalled, now_s)
            return recalled
        log.info("state: a clean start, there is no generation in %s", self._directory)
        return None

    def start(self) -> None:
        self._due_s = time.monotonic() + self._every_s
        self._thread.start()

    def finish(self, save: bool, timeout_s: float) -> None:
        """End the thread, then `save` once more and let go of the directory."""
        if self._thread.is_alive():
            if not self._idle.wait(timeout_s):
                log.error("state: the disk took no generation within %g s", timeout_s)
                return
            self._copies.put(None)
            self._thread.join(timeout_s)
        if save:
            self._write(self._copy())
        if self._lock:
            self._lock.close()

    def hurry(self) -> None:
        """Save as soon as the pipeline is between two batches: what came before need not, or must
        not, be done again. From any thread."""
        self._hurried = True

    # --- on the pipeline's thread -----------------------------------------------------------

    def tick(self) -> None:
        """Copy the columns and hand them over, where that is due. Between two batches only."""
        now = time.monotonic()
        due = now >= self._due_s
        if not (due or self._hurried):
            return
        if not self._idle.is_set():
            if due:
                self._due_s = now + self._every_s
                why = f"{self._directory}: slow, the last generation is still being written"
                self._conditions.begin(_CONDITION, why)
            return  # what is in a hurry follows right behind it
        self._due_s, self._hurried = now + self._every_s, False
        try:
            copy = self._copy()
        except MemoryError as error:
            self._fail(error)
            return
        self.copy_s = time.monotonic() - now
        self._idle.clear()
        self._copies.put_nowait(copy)

    def _copy(self) -> _Copy:
        readings = self._readings_before + self._pipeline.readings_scored
        kept = memory.remember(self._pipeline, self._streams)
        topics, ahead_s = self._intake.topics(), self._intake.ahead_s()
        behind_s = self._intake.skew.behind_s
        return _Copy(kept, topics, ahead_s, behind_s, readings, time.time(), self._mark())

    # --- on its own thread ------------------------------------------------------------------

    def _run(self) -> None:
        while (copy := self._copies.get()) is not None:
            self._write(copy)
            del copy  # a hundred megabytes, while it waits for the next
            self._idle.set()

    def _write(self, copy: _Copy) -> None:
        began = time.monotonic()
        try:
            if self._lock is None:
                self._lock = store.lock(self._directory)
            about = msgspec.json.encode(
                About(
                    copy.readings, copy.topics, copy.memory.facts, copy.journal, copy.ahead_s,
                    copy.behind_s,
                )
            )  # fmt: skip
            self._store.save(copy.memory.arrays, about, __version__, copy.taken_s)
        except (OSError, MemoryError, ServiceFailed) as error:
            self._fail(error)
            return
        self.save_s = time.monotonic() - began
        self.saved_s = copy.taken_s
        # The generation before this one is kept, and needs those since it was copied.
        self._saved(self.journal)
        self.journal = copy.journal
        self._conditions.end(_CONDITION)

    def _fail(self, error: OSError | MemoryError | ServiceFailed) -> None:
        why = getattr(error, "strerror", None) or str(error) or "out of memory"
        self._conditions.begin(
            _CONDITION,
            f"{self._directory}: {why}; a restart now would lose what was learnt since the last "
            f"save; trying again every {self._every_s:g} s",
        )

    # --- restoring --------------------------------------------------------------------------

    def _recall(self, found: store.Generation, now_s: float) -> Recalled:
        name = f"generation {found.number} of version {found.manifest.version}"
        try:
            about = msgspec.json.decode(found.manifest.about, type=About)
        except msgspec.MsgspecError as error:
            raise StateError(f"{name}: of another version ({error})") from error
        try:
            kept = Memory(found.arrays, about.facts)
            recalled = memory.recall(self._pipeline, self._streams, kept, now_s)
        except StateError as error:
            raise StateError(f"{name}: {error}") from error
        self._readings_before = about.readings
        self.journal = about.journal
        self._intake.adopt(
            {row: about.topics.get(channel, "") for channel, row in recalled.rows.items()},
            time.monotonic(),
        )
        self._intake.recall_ahead(
            {row: about.ahead_s.get(channel, np.nan) for channel, row in recalled.rows.items()},
            about.behind_s,
        )
        return recalled

    def _tell(self, found: store.Generation, recalled: Recalled, now_s: float) -> None:
        self.restored = len(recalled.rows)
        self.saved_s = found.manifest.created_s
        log.info(
            "state restored generation=%d channels=%d rebuilt=%d down_s=%.0f",
            found.number,
            self.restored,
            recalled.rebuilt,
            now_s - found.manifest.created_s,
        )
        if recalled.anew:
            log.warning(
                "state: %d channels begin anew, their stream is gone, means something else now, or "
                "channels.max is too small: %s%s",
                len(recalled.anew),
                ", ".join(recalled.anew[:5]),
                ", ..." if len(recalled.anew) > 5 else "",
            )
