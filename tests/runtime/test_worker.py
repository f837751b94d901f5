"""The pipeline thread's rules: everything that arrived is scored, also when it is to stop; it shows
its progress, forgets who fell silent, and an exception ends it and nothing hides that."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anomalyd.adapters.mqtt import Echo
from anomalyd.adapters.outbox import Window
from anomalyd.detection import silence
from anomalyd.runtime import registry, worker
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.inbox import Inbox, Message
from anomalyd.runtime.intake import Intake
from anomalyd.runtime.journal import Journal
from anomalyd.runtime.journal_entry import Asked, Entry
from anomalyd.runtime.maintenance import Maintenance
from anomalyd.runtime.pipeline import Outcome, Pipeline
from anomalyd.runtime.streams import reorder_for
from anomalyd.runtime.worker import LATENCY_BOUNDS_S, Worker
from anomalyd.settings import Alerts, Channels, Stream

WITHIN_S = 10.0
_SUSPECT_S = 0.6
STREAM = Stream(topic="bare/{sensor}", value="")


pytestmark = pytest.mark.usefixtures("one_thread")


class Parts:
    """A worker and what is around it."""

    def __init__(
        self,
        publish: Callable[[Outcome], None] = lambda outcome: None,
        retire_after_s: float = 3600.0,
        linger_s: float = 0.001,
        stream: Stream = STREAM,
        folder: Path | None = None,
        ask: Callable[[], None] = lambda: None,
        echo: Callable[[], Echo | None] = lambda: None,
    ) -> None:
        """`folder`: of the journal; None: there is none."""
        served = registry.load([stream], Path(), 64)
        self.inbox = Inbox(100_000)
        self.pipeline = Pipeline("main", Channels(max=64), Alerts(), [stream], served.predictors)
        intake = Intake([stream], self.pipeline, 60.0)
        self.maintenance = Maintenance()
        self.journal: Journal | None = None
        if folder:
            self.journal = Journal(
                folder, 1.0, self.pipeline.table, intake.topic, lambda tickets: None, Conditions()
            )
        self.worker = Worker(
            self.inbox, intake, self.pipeline, publish, linger_s, retire_after_s, self.maintenance,
            ask=ask, echo=echo, journal=self.journal,
            reorder=reorder_for([stream], self.pipeline.table),
        )  # fmt: skip

    def put(self, count: int, sensor: str = "x") -> None:
        for number in range(count):
            now = time.monotonic()
            self.inbox.put(Message(f"bare/{sensor}", str(number).encode(), now))


@contextmanager
def running(parts: Parts) -> Iterator[Parts]:
    parts.worker.start()
    try:
        yield parts
    finally:
        parts.inbox.close()
        assert parts.worker.join(WITHIN_S)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.005)


def test_what_arrives_is_scored_and_handed_on() -> None:
    """In batches of whatever has come, in the order in which it came."""
    outcomes: list[Outcome] = []
    with running(Parts(outcomes.append)) as parts:
        assert "pipeline" in {thread.name for thread in threading.enumerate()}
        parts.put(500)
        wait_until(lambda: parts.pipeline.readings_scored == 500)
    values = [value for outcome in outcomes for value in outcome.verdicts.values.tolist()]
    assert [float(number) for number in range(500)] == values
    assert parts.worker.batches == len(outcomes)


def test_what_is_later_than_the_tolerance_is_left_out() -> None:
    """And the last one is scored when nothing more comes, though no reading shows its time."""
    outcomes: list[Outcome] = []
    tolerant = Stream(topic="bare/{sensor}", value="value", time="ts", reorder_s=0.5)
    with running(Parts(outcomes.append, stream=tolerant)) as parts:
        for at in (0.0, 2.0, 2.6, 1.0):
            payload = f'{{"ts": {1_700_000_000 + at}, "value": {at}}}'.encode()
            parts.inbox.put(Message("bare/x", payload, time.monotonic()))
        wait_until(lambda: parts.pipeline.readings_scored == 3)
    values = [value for outcome in outcomes for value in outcome.verdicts.values.tolist()]
    assert ([0.0, 2.0, 1.0, 2.6], {"late": 1}) == (values, parts.pipeline.rejected)
    assert {"late": "x"} == parts.pipeline.rejected_of


def test_what_comes_out_of_order_is_scored_in_order() -> None:
    outcomes: list[Outcome] = []
    tolerant = Stream(topic="bare/{sensor}", value="value", time="ts", reorder_s=0.5)
    with running(Parts(outcomes.append, stream=tolerant)) as parts:
        for at in (0.0, 0.2, 0.1, 0.4, 0.3, 10.0):
            payload = f'{{"ts": {1_700_000_000 + at}, "value": {at}}}'.encode()
            parts.inbox.put(Message("bare/x", payload, time.monotonic()))
        wait_until(lambda: parts.pipeline.readings_scored == 6)
    values = [value for outcome in outcomes for value in outcome.verdicts.values.tolist()]
    assert ([0.0, 0.1, 0.2, 0.3, 0.4, 10.0], {}) == (values, parts.pipeline.rejected)


def test_a_closed_inbox_is_emptied_before_the_end() -> None:
    """Draining: what had arrived gets its verdict, and then the thread ends."""
    parts = Parts()
    for _ in range(500):
        for sensor in range(60):
            parts.put(1, str(sensor))
    parts.inbox.close()
    assert not parts.worker.alive
    parts.worker.start()
    assert parts.worker.join(WITHIN_S)
    assert (False, 30_000) == (parts.worker.alive, parts.pipeline.readings_scored)


def test_a_channel_that_is_born_in_maintenance_is_so_in_the_journal(tmp_path: Path) -> None:
    """Before its first reading: what is done again must not alarm."""
    parts = Parts(folder=tmp_path)
    assert parts.journal
    until_s = time.time() + 3600.0
    parts.maintenance.offer((Window("new", until_s, 0.0, None, None),))
    parts.journal.start()
    with running(parts):
        parts.put(1, "new")
        parts.put(1, "other")
    parts.journal.stop(WITHIN_S)
    again, entries = Parts(folder=tmp_path), list[Entry]()
    assert again.journal
    again.journal.replay(0, lambda topic, name: ["new", "other"].index(name), entries.append)
    asked = [(each.asked, each.readings.rows.tolist(), each.readings.times) for each in entries]
    at = next(at for at, (what, rows, _) in enumerate(asked) if what == Asked.SCORE and 0 in rows)
    told = [(rows, times) for what, rows, times in asked[:at] if what == Asked.MAINTAIN]
    assert until_s == next(times[rows.index(0)] for rows, times in told if 0 in rows)


def test_a_full_batch_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lingering gathers a batch; a backlog of whole batches is scored at once."""
    for bound in ("_SMALLEST_BATCH", "_LARGEST_BATCH"):
        monkeypatch.setattr(worker, bound, 10)
    monkeypatch.setattr(worker, "_ENOUGH", 10)
    parts = Parts(linger_s=2 * WITHIN_S)
    parts.put(100)
    with running(parts):
        wait_until(lambda: parts.pipeline.readings_scored == 100)
    assert 10 == parts.worker.batches


@pytest.mark.parametrize(
    ("quick_s", "long_s", "sizes"),
    [(0.0, 100.0, [100] * 8), (100.0, 100.0, [100, 200, 400, 100]), (0.0, 0.0, [100] * 8)],
)
def test_a_batch_is_as_large_as_the_last_was_quick(
    monkeypatch: pytest.MonkeyPatch, quick_s: float, long_s: float, sizes: list[int]
) -> None:
    """A backlog of one channel is many steps: it shows its progress, and can be stopped."""
    for name, value in (("_SMALLEST_BATCH", 100), ("_QUICK_S", quick_s), ("_LONG_S", long_s)):
        monkeypatch.setattr(worker, name, value)
    told: list[int] = []
    parts = Parts(lambda outcome: told.append(len(outcome.verdicts.rows)))
    parts.put(800)
    with running(parts):
        wait_until(lambda: parts.pipeline.readings_scored == 800)
    assert sizes == [size for size in told if size]


def test_lingering_ends_when_enough_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """More would hardly make a reading cheaper; fewer wait."""
    monkeypatch.setattr(worker, "_ENOUGH", 10)
    parts = Parts(linger_s=2 * WITHIN_S)
    parts.put(9)
    with running(parts):
        parts.put(1)
        wait_until(lambda: parts.pipeline.readings_scored == 10)
    assert 1 == parts.worker.batches


def test_what_has_waited_already_lingers_no_more() -> None:
    """For instance behind the batch before: `linger_s` counts from its arrival."""
    parts = Parts(linger_s=0.5)
    parts.inbox.put(Message("bare/x", b"1", time.monotonic() - 0.5))
    begin = time.monotonic()
    with running(parts):
        wait_until(lambda: parts.pipeline.readings_scored == 1)
        assert time.monotonic() - begin < 0.4


def test_progress_is_shown_also_when_nothing_comes() -> None:
    """The watchdog is fed by it: silence on the broker is not a stuck daemon."""
    with running(Parts()) as parts:
        begin = parts.worker.progress_at
        wait_until(lambda: parts.worker.progress_at > begin)
        again = parts.worker.progress_at
        wait_until(lambda: parts.worker.progress_at > again)


def test_latency_is_counted_once_for_each_reading() -> None:
    """From its arrival to its verdict, into the buckets that are exported; what was refused has
    none."""
    with running(Parts()) as parts:
        parts.inbox.put(Message("bare/late", b"1", time.monotonic() - 3.0))
        parts.inbox.put(Message("bare/broken", b"high", time.monotonic()))
        parts.put(10)
        wait_until(lambda: parts.pipeline.readings_scored == 11)
        wait_until(lambda: int(parts.worker.latency_counts.sum()) == 11)
    slow = LATENCY_BOUNDS_S.index(5.0)
    assert 1 == parts.worker.latency_counts[slow]
    assert 3.0 < parts.worker.latency_sum_s < 3.0 + WITHIN_S


def test_who_fell_silent_is_retired(monkeypatch: pytest.MonkeyPatch) -> None:
    """And who speaks stays."""
    monkeypatch.setattr(worker, "_HOUSEKEEPING_S", 0.01)
    with running(Parts(retire_after_s=1.0)) as parts:
        parts.put(1, "old")
        wait_until(lambda: len(parts.pipeline.table) == 1)

        def only_new() -> bool:
            parts.put(1, "new")
            return [each.name for _, each in parts.pipeline.table.listing()] == ["new"]

        wait_until(only_new)


class Hearer:
    """A broker that answers when it is told to, and a sensor that has spoken and falls silent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker, "_HOUSEKEEPING_S", 0.01)
        monkeypatch.setattr(silence, "SHORTEST_SUSPECT_S", _SUSPECT_S)
        self.alerts: list[Alert] = []
        self.asked = 0
        self.answers: deque[Echo] = deque()
        self.come: Callable[[Outcome], None] = lambda outcome: None
        """at the end of a batch"""
        self.parts = Parts(self._publish, ask=self._ask, echo=self._echo)

    def _publish(self, outcome: Outcome) -> None:
        self.alerts.extend(outcome.alerts)
        self.come(outcome)

    def _ask(self) -> None:
        self.asked += 1

    def _echo(self) -> Echo | None:
        return self.answers.popleft() if self.answers else None

    def be_silent(self) -> float:
        """For longer than it may be, with some looks behind that; until when, monotonic."""
        until = time.monotonic() + 2 * _SUSPECT_S
        wait_until(lambda: time.monotonic() > until)
        asked = self.asked
        wait_until(lambda: self.asked > asked + 1)
        return until


def test_silence_is_what_the_broker_has_answered_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer there is none, however late it is; where the answer itself came late,
    nobody listened, and silence begins anew."""
    hearer = Hearer(monkeypatch)
    monkeypatch.setattr(worker, "STALL_S", 2 * _SUSPECT_S)
    with running(hearer.parts) as parts:
        parts.put(50)
        wait_until(lambda: parts.pipeline.readings_scored == 50)
        now_s = hearer.be_silent()
        hearer.answers.append(Echo(now_s, now_s + 2 * _SUSPECT_S + 0.1))
        hearer.be_silent()
        assert [] == hearer.alerts
        now_s = hearer.be_silent()
        hearer.answers.append(Echo(now_s, now_s))
        wait_until(lambda: bool(hearer.alerts))
    assert ["stale"] == [each.kind for each in hearer.alerts]


def test_what_came_before_the_answer_is_scored_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sensor that seems to be silent may be in it."""
    hearer = Hearer(monkeypatch)
    with running(hearer.parts) as parts:
        parts.put(50)
        wait_until(lambda: parts.pipeline.readings_scored == 50)
        now_s = hearer.be_silent()

        def come(outcome: Outcome) -> None:
            """While another sensor's reading is scored."""
            if not hearer.answers and parts.pipeline.readings_scored == 51:
                parts.put(1)
                hearer.answers.append(Echo(now_s, time.monotonic()))

        hearer.come = come
        parts.put(1, "other")
        wait_until(lambda: parts.pipeline.readings_scored == 52)
        wait_until(lambda: not hearer.answers)
        hearer.be_silent()
    assert [] == hearer.alerts


def test_a_host_that_stood_still_has_heard_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the broker has answered since: its window may hold back what was said."""
    hearer = Hearer(monkeypatch)
    monkeypatch.setattr(worker, "STALL_S", 2 * _SUSPECT_S)
    with running(hearer.parts) as parts:
        parts.put(50)
        wait_until(lambda: parts.pipeline.readings_scored == 50)
        parts.worker.ask(lambda: time.sleep(3 * _SUSPECT_S))
        asked = hearer.asked
        wait_until(lambda: hearer.asked > asked)
        now_s = time.monotonic()
        hearer.answers.append(Echo(now_s, now_s))
        wait_until(lambda: not hearer.answers)
    assert [] == hearer.alerts


def test_an_exception_ends_the_thread_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Half-changed columns must not go on: `alive` tells the service, which ends the process."""

    def fail(outcome: Outcome) -> None:
        raise ZeroDivisionError("out of luck")

    parts = Parts(fail)
    with caplog.at_level(logging.ERROR):
        parts.worker.start()
        parts.put(1)
        assert parts.worker.join(WITHIN_S)
    assert not parts.worker.alive
    (message,) = caplog.messages
    assert message.startswith("the pipeline thread died: ")
    assert message.endswith("ZeroDivisionError: out of luck")


def test_joining_gives_up_after_a_while() -> None:
    """A pipeline that hangs must not keep the daemon from ending."""
    hang = threading.Event()

    def wait(outcome: Outcome) -> None:
        hang.wait(WITHIN_S)

    parts = Parts(wait)
    parts.worker.start()
    parts.put(1)
    parts.inbox.close()
    assert not parts.worker.join(0.1)
    hang.set()
    assert parts.worker.join(WITHIN_S)


def test_a_change_is_made_between_two_batches_on_its_thread() -> None:
    """Columns have one owner: whoever wants to change them asks it."""
    made: list[str] = []
    with running(Parts()) as parts:
        parts.worker.ask(lambda: made.append(threading.current_thread().name))
        wait_until(lambda: made == ["pipeline"])


def test_a_new_pace_holds_from_the_next_batch_on() -> None:
    """Channels that have been silent for longer than is now allowed are retired."""
    with running(Parts(retire_after_s=3600.0)) as parts:
        parts.put(1)
        wait_until(lambda: len(parts.pipeline.table) == 1)
        parts.worker.ask(lambda: parts.worker.pace(0.0, 0.01))
        wait_until(lambda: len(parts.pipeline.table) == 0)
