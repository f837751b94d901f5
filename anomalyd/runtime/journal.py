"""The journal: what the pipeline was asked since the last save, so that a kill or a power cut loses
no reading, and no alert. What changes the rules themselves (a reload, another model, a verdict) is
not in it, but makes a save due.

| thread   | does                                                                     |
|----------|---------------------------------------------------------------------------|
| main     | `replay`, before the pipeline's thread runs; `start`, `stop`              |
| pipeline | `keep` after each batch, `note` what else was asked, `mark` when the state |
|          | is copied, `tick` between                                                 |
| state    | `forget`, when a generation is on the disk                                |
| journal  | writes what was handed over in one piece, syncs, then acknowledges        |

Messages of QoS 1 are acknowledged when their readings would survive a power cut; those of QoS 0 are
written too, so that windows have no hole, but nobody waits for the disk. Before an alert is told,
what led to it is on the disk, so it is raised again under the same id.

Where the disk is full, or slower than `_SLOW_S`, that is the condition `journal`: scoring goes on,
and messages are acknowledged once they are scored, as they would be without a journal.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomalyd.adapters.segments import Segments, record
from anomalyd.detection.channels import ChannelTable
from anomalyd.detection.reading import NOTHING, Floats, Readings, Rows
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.journal_entry import Asked, Channels, Entry, decode, encode, of_rows
from anomalyd.runtime.receipts import NOTHING_SIFTED, Receipts, Sifted

log = logging.getLogger(__name__)

CONDITION, DAMAGED = "journal", "journal_damaged"
_SLOW_S = 2.0
_RETRY_S = 1.0
_NAMED_TIMES = 2  # where one record is damaged, the rows of all later ones still have names
_MOST_WAITING = 64_000_000
_MB = 1_000_000
_EMPTY = Entry(Asked.SCORE, 0.0, (), NOTHING, NOTHING_SIFTED.ids, NOTHING_SIFTED.digests)


@dataclass(slots=True)
class _Batch:
    """On its way to the disk."""

    content: bytes
    readings: int
    tickets: NDArray[np.int64]
    handed_s: float
    sync: bool
    """somebody waits for the disk"""
    acknowledged: bool = False
    written: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class _Begin:
    number: int


@dataclass(frozen=True, slots=True)
class _Forget:
    before: int


class Journal:
    """Owner of the thread `journal` and of the folder of segments."""

    def __init__(
        self,
        folder: Path,
        most_mb: float,
        table: ChannelTable,
        topic_of: Callable[[int], str],
        acknowledge: Callable[[Sequence[int]], None],
        conditions: Conditions,
    ) -> None:
        """`table`, and `topic_of` a row, are looked at by `keep` alone."""
        self.receipts = Receipts()
        self.replayed = 0
        """readings"""
        self.dropped = 0
        """readings that could not be written"""
        self._segments = Segments(folder)
        self._most_bytes = most_mb * _MB
        self._table = table
        self._topic_of = topic_of
        self._acknowledge = acknowledge
        self._conditions = conditions
        self._number = 0
        self._named = np.zeros(table.capacity, dtype=np.int8)
        self._retired = table.retired
        self._name_again = False
        # Guards the batches that are owed an acknowledgement, and that each gets one only.
        self._lock = threading.Lock()
        self._owed: deque[_Batch] = deque()
        self._waiting_bytes = 0
        self._queue: queue.SimpleQueue[_Batch | _Begin | _Forget | None] = queue.SimpleQueue()
        self._open: int | None = None
        self._retry_s = 0.0
        """when to try again; 0: the last one worked"""
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    # --- on the main thread -----------------------------------------------------------------

    def replay(
        self,
        since: int,
        find: Callable[[str, str], int | None],
        again: Callable[[Entry], None],
    ) -> None:
        """Have done `again` what was kept from segment `since` on, in its order; `find(topic,
        name)` a row. What can't be read is told, and costs nothing else."""
        began, left_out = time.monotonic(), 0
        try:
            numbers = self._segments.find()
            self._number = max([since, *numbers]) + 1
        except OSError as error:
            numbers = []
            # Whatever is there, and can't be seen, has lower numbers.
            self._number = max(since, int(time.time())) + 1
            self._fail(error)
        for number in numbers:
            try:
                left_out += self._replay(number, number >= since, find, again)
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or str(error)
                self._tell_damage(number, f"what comes next in it is left out: {why}")
        if self.replayed or left_out:
            log.info(
                "journal replayed readings=%d left_out=%d seconds=%.1f",
                self.replayed, left_out, time.monotonic() - began,
            )  # fmt: skip

    def _replay(
        self,
        number: int,
        wanted: bool,
        find: Callable[[str, str], int | None],
        again: Callable[[Entry], None],
    ) -> int:
        """A segment; how many readings have no channel any more. Where it is not `wanted`, of its
        messages is only noted which they were."""
        rows, left_out = np.full(self._table.capacity, -1, dtype=np.intp), 0
        damaged, cut_off = self._segments.damaged, self._segments.cut_off
        for body in self._segments.read(number):
            entry = decode(body)
            self.receipts.note(entry.ids, entry.digests)
            if not wanted:
                continue
            for row, topic, name in entry.channels:
                rows = _longer(rows, row)
                rows[row] = -1 if (found := find(topic, name)) is None else found
            kept = entry.readings
            rows = _longer(rows, int(kept.rows.max(initial=0)))
            moved = Readings(rows[kept.rows], kept.times, kept.values)
            moved = moved.take(moved.rows >= 0)
            left_out += len(kept) - len(moved)
            self.replayed += len(moved) * (entry.asked == Asked.SCORE)
            again(replace(entry, readings=moved))
        if self._segments.damaged > damaged:
            passed = self._segments.damaged - damaged
            self._tell_damage(number, f"{passed} bytes of it can't be read")
        if self._segments.cut_off > cut_off:
            ended = self._segments.cut_off - cut_off
            log.warning("journal segment=%d ends in %d bytes that are no record", number, ended)
        return left_out

    def _tell_damage(self, number: int, what: str) -> None:
        lost = "readings that were acknowledged may be lost; a save ends this"
        where = f"{self._segments.folder}: segment {number}"
        self._conditions.begin(DAMAGED, f"{where}: {what}; {lost}")

    def start(self) -> None:
        self._queue.put(_Begin(self._number))
        self._thread.start()

    def settle(self, timeout_s: float) -> None:
        """Wait until all that was handed over is written and acknowledged."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            owed = list(self._owed)
        for batch in owed:
            batch.written.wait(max(deadline - time.monotonic(), 0.0))

    def stop(self, timeout_s: float) -> None:
        """Write what is there and end."""
        if self.alive:
            self._queue.put(None)
            self._thread.join(timeout_s)

    # --- on the pipeline's thread -----------------------------------------------------------

    def keep(
        self,
        readings: Readings,
        sifted: Sifted,
        now_s: float,
        dead: Rows | None = None,
        urgent: bool = False,
        sync: bool = False,
    ) -> None:
        """These were asked for at `now_s`, on the listener's clock: let them survive, then
        acknowledge. `dead`: channels whose end was announced among them. `urgent`: wait for that a
        little, because they have led to an alert."""
        asked = [(Asked.SCORE, readings, sifted)]
        if dead is not None and dead.size:
            asked.append((Asked.DEAD, of_rows(dead, now_s), NOTHING_SIFTED))
        self._hand(asked, now_s, urgent, sync)

    def note(self, asked: Asked, rows: Rows, now_s: float, urgent: bool = False) -> None:
        """This was asked, beside readings; before channels are retired, while they have names."""
        self._hand([(asked, of_rows(rows, now_s), NOTHING_SIFTED)], now_s, urgent)

    def note_maintenance(self, rows: Rows, until_s: Floats) -> None:
        """These channels are in maintenance until then (B,), -inf: in none."""
        until = Readings(rows, until_s, np.zeros(rows.size))
        self._hand([(Asked.MAINTAIN, until, NOTHING_SIFTED)], 0.0)

    def mark(self) -> int:
        """Begin a segment, of what comes after the columns were copied; its number. It goes on
        with the receipts: the broker may send again what it sent long ago."""
        self._number += 1
        self._named[:] = 0
        self._queue.put(_Begin(self._number))
        self._hand([(Asked.SCORE, NOTHING, self.receipts.all())], 0.0, sync=True)
        return self._number

    def _hand(
        self,
        asked: Sequence[tuple[Asked, Readings, Sifted]],
        now_s: float,
        urgent: bool = False,
        sync: bool = False,
    ) -> None:
        tickets = asked[0][2].tickets
        batch = _Batch(b"", 0, tickets, time.monotonic(), bool(tickets.size) or urgent or sync)
        count = sum(len(readings) for what, readings, _ in asked if what == Asked.SCORE)
        if self._waiting_bytes < _MOST_WAITING:
            batch.content = b"".join(
                record(*encode(self._entry(what, readings, sifted, now_s)))
                for what, readings, sifted in asked
            )
            batch.readings = count
        else:
            self.dropped += count
            self._name_again = True
        with self._lock:
            self._owed.append(batch)
            self._waiting_bytes += len(batch.content)
        self._queue.put(batch)
        if urgent and CONDITION not in self._conditions.now():
            batch.written.wait(_SLOW_S)

    def _entry(self, asked: Asked, readings: Readings, sifted: Sifted, now_s: float) -> Entry:
        channels = self._new_channels(readings.rows)
        return Entry(asked, now_s, channels, readings, sifted.ids, sifted.digests)

    def tick(self) -> None:
        """Don't let the broker wait for a disk that hangs."""
        late_s = time.monotonic() - _SLOW_S
        with self._lock:
            late = [each for each in self._owed if each.handed_s < late_s]
        if late:
            self._conditions.begin(CONDITION, self._why("slow"))
            for batch in late:
                self._give(batch)

    def _new_channels(self, rows: Rows) -> Channels:
        if self._name_again or self._table.retired != self._retired:
            self._named[:], self._name_again = 0, False
            self._retired = self._table.retired
        new = np.unique(rows[self._named[rows] < _NAMED_TIMES])
        self._named[new] += 1
        return [(row, self._topic_of(row), self._table[row].name) for row in new.tolist()]

    # --- on other threads -------------------------------------------------------------------

    def forget(self, before: int) -> None:
        """The readings of older segments are in two generations of the state."""
        self._queue.put(_Forget(before))

    # --- on its own thread ------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._pass(self._next()):
                pass
        except Exception:
            trace = " | ".join(traceback.format_exc().splitlines()[1:])
            log.critical("the journal thread died: %s", trace)
        finally:
            self._segments.close()

    def _next(self) -> _Batch | _Begin | _Forget | None:
        """What comes next. A disk that failed is tried meanwhile, with a record of nothing: where
        no more readings come, the condition would outlast its cause."""
        while True:
            if CONDITION not in self._conditions.now():
                return self._queue.get()
            try:
                return self._queue.get(timeout=max(self._retry_s - time.monotonic(), 0.0))
            except queue.Empty:
                try:
                    self._append(record(*encode(_EMPTY)), sync=True)
                except OSError as error:
                    self._fail(error)

    def _pass(self, first: _Batch | _Begin | _Forget | None) -> bool:
        """Everything that waits; the batches that come one after the other in one piece."""
        item: _Batch | _Begin | _Forget | None = first
        batches: list[_Batch] = []
        while True:
            if isinstance(item, _Batch):
                batches.append(item)
            else:
                self._write(batches)
                batches = []
                if item is None:
                    return False
                self._turn(item)
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                self._write(batches)
                return True

    def _turn(self, item: _Begin | _Forget) -> None:
        try:
            if isinstance(item, _Begin):
                self._open = item.number
                self._segments.open(item.number)
            else:
                self._segments.remove_before(item.before)
                # What is left of it is in a generation now.
                self._conditions.end(DAMAGED)
        except OSError as error:
            self._fail(error)

    def _write(self, batches: Sequence[_Batch]) -> None:
        if not batches:
            return
        if self._retry_s <= time.monotonic():
            try:
                self._append(
                    b"".join(each.content for each in batches),
                    sync=any(each.sync for each in batches),
                )
            except OSError as error:
                self._fail(error)
        if self._retry_s:
            self._name_again = True
            self.dropped += sum(each.readings for each in batches)
        for batch in batches:
            self._give(batch)
        with self._lock:
            for _ in batches:
                self._waiting_bytes -= len(self._owed.popleft().content)
        for batch in batches:
            batch.written.set()

    def _append(self, content: bytes, sync: bool) -> None:
        began = time.monotonic()
        if self._segments.size + len(content) > self._most_bytes:
            raise OSError("it has reached state.journal_mb, and no state was saved meanwhile")
        if not self._segments.is_open and self._open is not None:
            self._segments.open(self._open)
        self._segments.append(content)
        if sync:
            self._segments.sync()
        self._retry_s = 0.0
        if time.monotonic() - began < _SLOW_S:
            self._conditions.end(CONDITION)

    def _give(self, batch: _Batch) -> None:
        with self._lock:
            given, batch.acknowledged = batch.acknowledged, True
        if not given and batch.tickets.size:
            self._acknowledge(batch.tickets)  # type: ignore[arg-type]

    def _fail(self, error: Exception) -> None:
        self._retry_s = time.monotonic() + _RETRY_S
        self._conditions.begin(CONDITION, self._why(getattr(error, "strerror", None) or str(error)))

    def _why(self, what: str) -> str:
        return (
            f"{self._segments.folder}: {what}; readings are acknowledged once they are scored, a "
            "restart now would lose those since the last save"
        )


def _longer(rows: Rows, row: int) -> Rows:
    """With a place for `row`: the table may have been larger."""
    missing = row + 1 - rows.size
    return np.pad(rows, (0, missing), constant_values=-1) if missing > 0 else rows
