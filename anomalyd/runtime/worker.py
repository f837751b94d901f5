"""The pipeline's thread: takes what has arrived, scores it in one step, hands on what came of it.

Adaptive batches: the oldest message of a batch waits for `linger_s`, or until `_ENOUGH` are there;
under heavy load a batch is what arrived during the last one, as far as that can be scored in less
than half a second, and waits for nothing. The thread ends when the inbox is closed and empty; an
exception ends it at once, and the service with it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from anomalyd.adapters.mqtt import Echo
from anomalyd.detection.reading import NOTHING, Readings, Rows
from anomalyd.detection.reorder import MOST_HELD, Reorder
from anomalyd.runtime.clock import Clock
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.hearing import STALL_S
from anomalyd.runtime.inbox import Inbox, Message
from anomalyd.runtime.intake import Intake
from anomalyd.runtime.journal import Journal
from anomalyd.runtime.journal_entry import Asked
from anomalyd.runtime.maintenance import Maintenance
from anomalyd.runtime.pipeline import Outcome, Pipeline
from anomalyd.runtime.receipts import NOTHING_SIFTED, Sifted
from anomalyd.runtime.window import Window

log = logging.getLogger(__name__)

LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SMALLEST_BATCH, _LARGEST_BATCH = 200, 4_000
_QUICK_S, _LONG_S = 0.1, 0.4
"""a batch that took less may be followed by a larger one, one that took more by a smaller one"""
_ENOUGH = 300
"""messages that share what a step costs whatever its size: waiting for more would hardly pay"""
_IDLE_S = 0.5
_HOUSEKEEPING_S = 5.0
_JUMP_TOLD_S = 60.0
_NONE: Rows = np.empty(0, dtype=np.intp)


class Worker:
    """Owner of the thread `pipeline`."""

    def __init__(
        self,
        inbox: Inbox,
        intake: Intake,
        pipeline: Pipeline,
        publish: Callable[[Outcome], None],
        linger_s: float,
        retire_after_s: float,
        maintenance: Maintenance,
        between: Callable[[], None] = lambda: None,
        connects: Callable[[], int] = lambda: 1,
        ask: Callable[[], None] = lambda: None,
        echo: Callable[[], Echo | None] = lambda: None,
        conditions: Conditions | None = None,
        journal: Journal | None = None,
        reorder: Reorder | None = None,
    ) -> None:
        """`between`: called after each pass, when no column is in change. `connects`: the number of
        the connection to the broker, 0 while there is none: then nobody's silence is known. `ask`:
        have the broker answer, and `echo`: the answer, once: silence is what came before it.
        `journal`: lets readings survive, and acknowledges their messages. `reorder`: holds back
        those of streams that want it; None where none does."""
        self.progress_at = time.monotonic()
        """monotonic seconds of the last pass: the watchdog's evidence"""
        self.finished = False
        """it ended because the inbox was closed and empty: the columns are whole"""
        self.batches = 0
        self.latency_sum_s = 0.0
        self.latency_counts: NDArray[np.int64] = np.zeros(len(LATENCY_BOUNDS_S) + 1, dtype=np.int64)
        self._inbox = inbox
        self._intake = intake
        self._pipeline = pipeline
        self._publish = publish
        self._linger_s = linger_s
        self._retire_after_s = retire_after_s
        self._maintenance = maintenance
        self._between = between
        self._connects = connects
        self._conditions = conditions or Conditions()
        self._clock = Clock()
        self._connection = 0
        self._ask, self._hear_echo = ask, echo
        self._echo: Echo | None = None
        self._looked_at = np.inf
        self._jumped_at = -np.inf
        self._shed = self._hurried = 0
        self._most = _SMALLEST_BATCH
        self._journal = journal
        self._reorder = reorder
        self._window = Window()
        self._kept_house_at = time.monotonic()
        self._told: Counter[str] = Counter()
        self._changes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def ask(self, change: Callable[[], None]) -> None:
        """Have `change` done on this thread, between two batches: columns have one owner."""
        self._changes.put(change)

    def pace(self, linger_s: float, retire_after_s: float) -> None:
        """Called on its own thread, by a change that it was asked for."""
        self._linger_s = linger_s
        self._retire_after_s = retire_after_s

    def join(self, timeout_s: float) -> bool:
        """Wait for the end, after the inbox was closed; False where it took too long."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not (self._inbox.closed and not len(self._inbox)):
                self._inbox.wait(_IDLE_S)
                self._gather()
                self._pass()
            self.finished = True
        except Exception:
            # Whatever it was, half-changed columns must not go on: the service ends the process.
            trace = " | ".join(traceback.format_exc().splitlines()[1:])
            log.critical("the pipeline thread died: %s", trace)

    def _gather(self) -> None:
        """Wait for more messages to share the cost of a step; the oldest waits no longer than
        `linger_s`, and none where enough are there."""
        if not len(self._inbox) or self._inbox.closed:
            return
        linger_s = min(self._linger_s, self._window.linger_s)
        left_s = self._inbox.waits_since() + linger_s - time.monotonic()
        if left_s > 0.0:
            self._inbox.wait(left_s, _ENOUGH)

    def _pass(self) -> None:
        windows = self._maintenance.take()
        if windows is not None:
            self._pipeline.maintain(windows)
            if self._journal:
                self._journal.note_maintenance(*self._pipeline.maintained())
        while not self._changes.empty():
            self._changes.get()()
        self._follow_clock()
        self._follow_connection()
        self._follow_host()
        messages = self._inbox.take(self._most)
        if messages:
            began = time.monotonic()
            self._score(messages)
            self._size_batches(time.monotonic() - began)
        elif self._reorder is not None and len(self._reorder):
            # Nothing has come, and so nothing shows that the time of what is held has.
            self._advance(NOTHING, NOTHING_SIFTED)
        self._follow_silence()
        if self._journal:
            self._journal.tick()
        self.progress_at = time.monotonic()
        if self.progress_at - self._kept_house_at > _HOUSEKEEPING_S:
            self._keep_house()
        self._between()

    def _follow_clock(self) -> None:
        jump_s = self._clock.follow()
        if jump_s:
            self._note(Asked.SHIFT, _NONE, jump_s)
            self._pipeline.shift(jump_s)
            self._intake.skew.shift(jump_s)
            if self._reorder is not None:
                self._reorder.shift(jump_s)
            self._jumped_at = time.monotonic()
            self._conditions.begin("clock", f"the host's clock was set by {jump_s:+.3g} s")
        elif time.monotonic() - self._jumped_at > _JUMP_TOLD_S:
            self._conditions.end("clock")
            self._jumped_at = np.inf

    def _follow_connection(self) -> None:
        connection = self._connects()
        if connection and connection != self._connection:
            self._resume()
        self._connection = connection

    def _follow_host(self) -> None:
        """Who was stopped, or starved, has heard nobody."""
        looked_at, self._looked_at = self._looked_at, time.monotonic()
        if self._connection and self._looked_at - looked_at > STALL_S:
            self._resume()

    def _resume(self) -> None:
        now_s = self._clock.now_s()
        self._note(Asked.RESUME, _NONE, now_s)
        self._pipeline.resume(now_s)

    def _follow_silence(self) -> None:
        """The broker has answered: who had said nothing when it was asked is silent, once all that
        came before the answer is scored. A clock alone proves nothing: the network, the broker or
        this host may have stalled, and what was said is still on its way."""
        self._echo = echo = self._echo or self._hear_echo()
        if echo is None or self._inbox.waits_since() < echo.answered_s:
            return
        self._echo = None
        if not self._connection:
            return
        if echo.answered_s - echo.asked_s > STALL_S:
            self._resume()
            return
        rows = self._pipeline.overdue(echo.asked_s + self._clock.offset_s)
        if rows.size:
            self._note(Asked.SILENT, rows, self._clock.now_s(), urgent=True)
            self._publish(self._pipeline.fall_silent(rows))

    def _note(self, asked: Asked, rows: Rows, now_s: float, urgent: bool = False) -> None:
        if self._journal:
            self._journal.note(asked, rows, now_s, urgent)

    def _follow_load(self) -> None:
        shed = self._inbox.shed
        if shed != self._shed:
            why = "readings arrive faster than they are scored; the oldest of the busiest topics go"
            self._conditions.begin("overload", why)
        elif self._inbox.full:
            why = "readings arrive faster than they are scored; the broker keeps those of QoS 1"
            self._conditions.begin("overload", why)
        elif len(self._inbox) < self._inbox.capacity // 4:
            self._conditions.end("overload")
        self._shed = shed

    def _score(self, messages: Sequence[Message]) -> None:
        sifted = self._journal.receipts.sift(messages) if self._journal else NOTHING_SIFTED
        kept = sifted.messages if self._journal else messages
        readings, arrived = self._intake.read(kept, self._clock.offset_s)
        born, until_s = self._pipeline.take_born_maintained()
        if born.size and self._journal:
            self._journal.note_maintenance(born, until_s)
        self._advance(readings, sifted)
        self._measure(arrived)

    def _size_batches(self, took_s: float) -> None:
        """A backlog of few channels is many steps. What is stopped or killed in the middle of a
        batch has done nothing, and nobody hears of an alert before its end."""
        if took_s > _LONG_S:
            self._most = max(self._most // 2, _SMALLEST_BATCH)
        elif took_s < _QUICK_S:
            self._most = min(self._most * 2, _LARGEST_BATCH)

    def _advance(self, readings: Readings, sifted: Sifted) -> None:
        """Score what arrived, or what was held back until now, and let it survive before anybody
        is told what came of it."""
        now_s, ready = self._clock.now_s(), readings
        if self._reorder is not None:
            ready, _ = self._reorder.order(readings, now_s)
        outcomes = [self._pipeline.step(ready, now_s)]
        dead = self._intake.take_dead()
        if dead.size:
            if self._reorder is not None:
                last = self._reorder.release(dead)
                outcomes.append(self._pipeline.step(last, now_s))
            outcomes.append(self._pipeline.die(dead, now_s))
        if self._journal and (len(readings) or len(ready) or sifted.tickets.size or dead.size):
            urgent = any(each.alerts for each in outcomes)
            self._journal.keep(readings, sifted, now_s, dead, urgent)
            self._window.look(sifted.tickets.size, time.monotonic())
        for outcome in outcomes:
            self._publish(outcome)

    def _measure(self, arrived: NDArray[np.float64]) -> None:
        latency = time.monotonic() - arrived
        bins = np.searchsorted(LATENCY_BOUNDS_S, latency)
        self.latency_counts += np.bincount(bins, minlength=self.latency_counts.size)
        self.latency_sum_s += float(latency.sum())
        self.batches += 1

    def _follow_order(self, reorder: Reorder) -> None:
        if reorder.hurried != self._hurried:
            why = f"more than {MOST_HELD} readings wait for earlier ones; the oldest go on early"
            self._conditions.begin("reorder", why)
        elif len(reorder) < MOST_HELD // 2:
            self._conditions.end("reorder")
        self._hurried = reorder.hurried

    def _follow_skew(self) -> None:
        self._intake.skew.look()
        behind_s = self._intake.skew.behind_s
        if behind_s:
            why = f"the host's clock is {behind_s:.3g} s behind the times that most channels tell"
            self._conditions.begin("skew", why)
        else:
            self._conditions.end("skew")

    def _tell_losses(self) -> None:
        """What the counters say was lost since the last look, one line for each reason."""
        lost = Counter(self._pipeline.rejected)
        if self._journal:
            lost["repeated"] = self._journal.receipts.repeated
        lost["inbox"], lost["overload"] = self._inbox.dropped, self._inbox.shed
        for reason, count in (lost - self._told).items():
            of = self._pipeline.rejected_of.get(reason)
            whose = f" the last of channel={of}" if of else ""
            log.warning("rejected reason=%s count=%d%s", reason, count, whose)
        self._told = lost

    def _keep_house(self) -> None:
        self._kept_house_at = self.progress_at
        self._intake.flush(self.progress_at)
        self._tell_losses()
        self._follow_load()
        if self._reorder is not None:
            self._follow_order(self._reorder)
        self._follow_skew()
        self._ask()
        silent = self._intake.silent(self.progress_at, self._retire_after_s)
        if self._reorder is not None:
            for row in silent:
                self._reorder.forget(row)
        now_s = self._clock.now_s()
        if silent:
            self._note(Asked.RETIRE, np.array(silent, dtype=np.intp), now_s, urgent=True)
        cleared = [alert for row in silent for alert in self._intake.retire(row, now_s)]
        if cleared:
            self._publish(Outcome.of(cleared))
