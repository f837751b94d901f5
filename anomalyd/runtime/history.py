"""What scoring has seen, kept for training: every reading that is kept has its verdict with it.

The pipeline's thread calls `record` after each batch: it copies columns into a buffer and returns.
A full buffer, or one of five minutes, goes to the thread `history`, which leaves out what the
budget has no room for (`thinning.py`) and writes the rest in chunks (`adapters/chunk.py`), at the
latest a quarter of an hour after they were seen: that is what a power cut costs. The oldest chunks
go first. Where the disk is full or too slow, readings are dropped and counted; scoring waits for
nothing. Whoever trains gets a copy that is read back from the files.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import traceback
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomalyd.adapters import chunk as files
from anomalyd.detection.channels import ChannelTable
from anomalyd.detection.reading import Rows, Verdicts
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.past import GAP_INTERVALS, Past, read_past
from anomalyd.runtime.stretches import SEEN, Seen, Stretches
from anomalyd.settings import History as Rules

log = logging.getLogger(__name__)

CONDITION = "history"
BUFFER_READINGS = 131_072
CHUNK_READINGS = 131_072
_HAND_OVER_S = 300.0
_WRITE_S = 900.0
_BUFFERS_WAITING = 4
_NICENESS = 10
_FLUSHED_WITHIN_S = 60.0
_MB = 1e6


@dataclass(frozen=True, slots=True)
class _Batch:
    """A buffer on its way to the writer; nobody else has it any more."""

    seen: Seen
    channels: list[str]


class History:
    """Owner of the thread `history` and of the folder of chunk files."""

    def __init__(
        self,
        folder: Path,
        rules: Rules,
        table: ChannelTable,
        conditions: Conditions,
        seed: int = 0,
    ) -> None:
        """`table` is the pipeline's, looked at by `record` alone. `seed`: which stretches are kept
        where the budget has no room for all."""
        self.dropped = 0
        """readings that were seen and could not be kept"""
        self.kept = 0
        """readings in the files that this process has written"""
        self._folder = folder
        self._most_bytes = rules.max_mb * _MB
        self._table = table
        self._conditions = conditions
        # Guards the buffer: the pipeline fills it, any thread may hand it over.
        self._lock = threading.Lock()
        self._buffer: Seen = np.zeros(BUFFER_READINGS, SEEN)
        self._size = 0
        self._begun_at = time.monotonic()
        self._names: list[str] = []
        self._retired = table.retired
        self._place = np.full(table.capacity, -1, dtype=np.int32)
        self._waiting: queue.Queue[_Batch | threading.Event | None]
        self._waiting = queue.Queue(_BUFFERS_WAITING)
        self._begin = partial(Stretches, rules.readings_per_channel_per_day, seed)
        self._stretches = self._begin()
        self._written_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Write what is there and end; False where that took too long. Called when nothing is
        recorded any more."""
        if self.alive and self._hand_over(timeout_s) and self._put(None, timeout_s):
            self._thread.join(timeout_s)
        return not self.alive

    def copy(
        self,
        since_s: float,
        until_s: float,
        most_readings: int,
        channels: Collection[str] | None = None,
        gap_intervals: float = GAP_INTERVALS,
    ) -> Past:
        """All that was seen up to now and kept, for training; not for the pipeline's thread.
        `past.read_past` tells the rest."""
        flushed = threading.Event()
        if self._hand_over(_FLUSHED_WITHIN_S) and self._put(flushed, _FLUSHED_WITHIN_S):
            flushed.wait(_FLUSHED_WITHIN_S)
        return read_past(self._folder, since_s, until_s, most_readings, channels, gap_intervals)

    # --- on the pipeline's thread -----------------------------------------------------------

    def record(self, verdicts: Verdicts) -> None:
        """Take a batch, after it was scored."""
        with self._lock:
            for begin in range(0, verdicts.rows.size, BUFFER_READINGS):
                self._append(verdicts, slice(begin, begin + BUFFER_READINGS))

    def _append(self, verdicts: Verdicts, part: slice) -> None:
        rows = verdicts.rows[part]
        full = self._size + rows.size > BUFFER_READINGS
        if full or time.monotonic() - self._begun_at > _HAND_OVER_S:
            self._put(self._detach(), 0.0)
        to = self._buffer[self._size : self._size + rows.size]
        to["channel"] = self._places(rows)
        to["time"] = verdicts.times[part]
        to["value"] = verdicts.values[part]
        to["score"] = verdicts.score[part]
        to["state"] = verdicts.state[part]
        to["kind"] = verdicts.kind[part]
        to["learnt"] = verdicts.learnt[part]
        self._size += rows.size

    def _places(self, rows: Rows) -> NDArray[np.int32]:
        """(B,) places of the rows' channels in the names that go with the buffer. A row may have
        become another channel's, but only after one was retired."""
        if self._table.retired != self._retired:
            self._retired = self._table.retired
            self._place.fill(-1)
        places: NDArray[np.int32] = self._place[rows]
        if places.size and places.min() < 0:
            for row in np.unique(rows[places < 0]).tolist():
                self._place[row] = len(self._names)
                self._names.append(self._table[row].name)
            places = self._place[rows]
        return places

    def _detach(self) -> _Batch:
        """Called with the lock."""
        batch = _Batch(self._buffer[: self._size], self._names)
        self._buffer = np.zeros(BUFFER_READINGS, SEEN)
        self._size = 0
        self._begun_at = time.monotonic()
        self._names = []
        self._place.fill(-1)
        return batch

    def _hand_over(self, timeout_s: float) -> bool:
        with self._lock:
            batch = self._detach()
        # Without the lock: the pipeline must not wait for the writer.
        return self._put(batch, timeout_s)

    def _put(self, item: _Batch | threading.Event | None, timeout_s: float) -> bool:
        try:
            self._waiting.put(item, timeout_s > 0.0, timeout_s)
        except queue.Full:
            if isinstance(item, _Batch):
                self._lose(item.seen.size, "the disk is slower than the readings are")
            return False
        return True

    def _lose(self, readings: int, why: str) -> None:
        self.dropped += readings
        self._conditions.begin(CONDITION, f"{why}; readings are not kept for training")

    # --- on the thread `history` ------------------------------------------------------------

    def _run(self) -> None:
        # 10 is what `nice` adds by default: scoring goes first.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            self._prepare()
            while (item := self._waiting.get()) is not None:
                self._take(item)
            self._write()
        except Exception:
            trace = " | ".join(traceback.format_exc().splitlines()[1:])
            log.critical("the history thread died: %s", trace)

    def _prepare(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            files.sweep(self._folder)
        except OSError as error:
            self._lose(0, f"{self._folder}: {error.strerror}")

    def _take(self, item: _Batch | threading.Event) -> None:
        if isinstance(item, threading.Event):
            self._write()
            item.set()
            return
        self._stretches.add(item.seen, item.channels)
        old = time.monotonic() - self._written_at > _WRITE_S
        if old or len(self._stretches) >= CHUNK_READINGS:
            self._write()

    def _write(self) -> None:
        self._written_at = time.monotonic()
        chunk = self._stretches.take()
        if self._stretches.names > 2 * self._table.capacity:
            self._stretches = self._begin()  # names of channels that came and went
        if chunk is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            files.write(self._folder, chunk)
            files.prune(self._folder, self._most_bytes)
        except OSError as error:
            self._lose(len(chunk), f"{self._folder}: {error.strerror}")
            return
        self.kept += len(chunk)
        self._conditions.end(CONDITION)
