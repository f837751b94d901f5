"""The journal's rules: durable, then acknowledged, once; replayed as it was; and a disk that fails
or hangs holds up neither scoring nor the broker."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anomalyd.adapters.segments import HEAD, Segments
from anomalyd.detection.channels import Channel, ChannelTable
from anomalyd.detection.reading import NOTHING, Readings
from anomalyd.runtime import journal
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.inbox import Message
from anomalyd.runtime.journal import CONDITION, Journal
from anomalyd.runtime.journal_entry import Asked, Entry
from anomalyd.runtime.receipts import NOTHING_SIFTED

WITHIN_S = 10.0
CONNECTION = 1 << 17


class Parts:
    """A journal, and what it tells others."""

    def __init__(self, folder: Path, most_mb: float = 1.0) -> None:
        self.table = ChannelTable(10)
        self.conditions = Conditions()
        self.acknowledged: list[int] = []
        self.journal = Journal(
            folder, most_mb, self.table, lambda row: f"plant/{self.table[row].name}",
            self._acknowledge, self.conditions,
        )  # fmt: skip
        self.replayed: list[tuple[str, float, float]] = []
        self.asked: list[tuple[Asked, list[str], float]] = []

    def _acknowledge(self, tickets: object) -> None:
        assert isinstance(tickets, np.ndarray)
        self.acknowledged += tickets.tolist()

    def find(self, topic: str, name: str) -> int | None:
        assert f"plant/{name}" == topic
        row = self.table.find(name)
        return self.table.add(Channel(name, {}, 0)) if row is None else row

    def start(self, since: int = 0) -> None:
        self.journal.replay(since, self.find, self._again)
        self.journal.start()

    def _again(self, entry: Entry) -> None:
        readings = entry.readings
        if entry.asked != Asked.SCORE:
            names = [self.table[row].name for row in readings.rows.tolist()]
            self.asked.append((entry.asked, names, entry.now_s))
            return
        columns = (readings.rows.tolist(), readings.times.tolist(), readings.values.tolist())
        self.replayed += [
            (self.table[row].name, time_s, value)
            for row, time_s, value in zip(*columns, strict=True)
        ]

    def keep(self, name: str, at_s: float, mid: int, urgent: bool = False) -> None:
        """A reading, and the message of QoS 1 that it came in."""
        row = self.find(f"plant/{name}", name)
        message = Message(f"plant/{name}", b"%f" % at_s, 0.0, False, CONNECTION | mid)
        sifted = self.journal.receipts.sift([message])
        one = np.ones(1)
        readings = Readings(np.array([row], dtype=np.intp), at_s * one, 0.1 * one)
        self.journal.keep(readings, sifted, at_s, urgent=urgent)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.005)


def test_what_was_acknowledged_is_replayed_as_it_was(tmp_path: Path) -> None:
    """By the channels' names: their rows may be others then. Nothing is stopped here: it is as
    after a kill."""
    parts = Parts(tmp_path)
    parts.start()
    for at, name in enumerate("abcab"):
        parts.keep(name, float(at), at + 1)
    parts.journal.settle(WITHIN_S)
    assert [CONNECTION | mid for mid in range(1, 6)] == parts.acknowledged
    again = Parts(tmp_path)
    again.find("plant/c", "c")
    again.start()
    assert [(name, float(at), 0.1) for at, name in enumerate("abcab")] == again.replayed


def test_a_mark_parts_what_the_state_has_from_what_it_lacks(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    parts.start()
    parts.keep("a", 1.0, 1)
    mark = parts.journal.mark()
    parts.keep("a", 2.0, 2)
    parts.journal.settle(WITHIN_S)
    again = Parts(tmp_path)
    again.start(mark)
    assert [("a", 2.0, 0.1)] == again.replayed
    # What is older is known all the same, where the broker sends it again.
    message = Message("plant/a", b"%f" % 1.0, 0.0, False, CONNECTION | 0x1_0000 | 1)
    assert [] == again.journal.receipts.sift([message]).messages
    again.journal.forget(mark)
    again.journal.stop(WITHIN_S)
    assert mark == min(Segments(tmp_path).find())


def test_a_disk_that_fails_at_a_mark_parts_them_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after it is looked for behind it, and may be all that is left."""
    parts = Parts(tmp_path)
    parts.start()
    parts.keep("a", 1.0, 1)
    parts.journal.settle(WITHIN_S)
    fails = [True]
    works = os.fdatasync

    def once(descriptor: int) -> None:
        if fails:
            fails.clear()
            raise OSError(5, "Input/output error")
        works(descriptor)

    monkeypatch.setattr(os, "fdatasync", once)
    mark = parts.journal.mark()
    wait_until(lambda: not fails and CONDITION not in parts.conditions.now())
    parts.keep("a", 2.0, 2)
    parts.journal.settle(WITHIN_S)
    parts.journal.forget(mark)
    parts.keep("a", 3.0, 3)
    parts.journal.settle(WITHIN_S)
    again = Parts(tmp_path)
    again.start(mark)
    assert [("a", 2.0, 0.1), ("a", 3.0, 0.1)] == again.replayed


def test_a_full_journal_is_a_condition_until_a_save(tmp_path: Path) -> None:
    """Messages are acknowledged all the same."""
    parts = Parts(tmp_path, most_mb=0.0002)
    parts.start()
    for mid in range(1, 9):
        parts.keep("a", float(mid), mid)
    parts.journal.settle(WITHIN_S)
    assert 8 == len(parts.acknowledged)
    assert "state.journal_mb" in parts.conditions.now()["journal"]
    parts.journal.forget(parts.journal.mark())
    mids = iter(range(9, 60_000))

    def recovered() -> bool:
        parts.keep("a", 1e6, next(mids))
        time.sleep(0.05)
        return "journal" not in parts.conditions.now()

    wait_until(recovered)
    assert parts.journal.dropped > 0
    parts.journal.stop(WITHIN_S)


def test_a_disk_that_hangs_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoring goes on, the broker gets its acknowledgements, each once, and it is told."""
    monkeypatch.setattr(journal, "_SLOW_S", 0.1)
    monkeypatch.setattr(Segments, "sync", lambda self: time.sleep(0.5))
    parts = Parts(tmp_path)
    parts.start()
    began = time.monotonic()
    parts.keep("a", 1.0, 1)
    assert time.monotonic() - began < 0.2
    while not parts.acknowledged:
        parts.journal.tick()
        assert time.monotonic() - began < 0.4
        time.sleep(0.01)
    assert "slow" in parts.conditions.now()["journal"]
    parts.journal.settle(WITHIN_S)
    assert [CONNECTION | 1] == parts.acknowledged


@pytest.mark.parametrize("failing", ["append", "sync"])
@pytest.mark.parametrize("saving", [False, True])
def test_a_disk_that_works_again_is_noticed_without_a_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, saving: bool
) -> None:
    """However often a segment begins; and the record of nothing, with which it was tried, is none
    when it is replayed."""
    parts = Parts(tmp_path)
    parts.start()
    with monkeypatch.context() as broken:
        broken.setattr(Segments, failing, refuse)
        parts.keep("a", 1.0, 1)
        wait_until(lambda: "no room" in parts.conditions.now().get("journal", ""))

    def recovered() -> bool:
        if saving:
            parts.journal.mark()
            time.sleep(0.2)
        return not parts.conditions.now()

    wait_until(recovered)
    parts.keep("a", 2.0, 2)
    parts.journal.stop(WITHIN_S)
    again = Parts(tmp_path)
    again.start()
    assert ("a", 2.0, 0.1) == again.replayed[-1]


def refuse(*unused: object) -> None:
    raise OSError("no room")


def test_what_else_was_asked_comes_back_in_its_place(tmp_path: Path) -> None:
    """Deaths with the readings that they came with, of channels whose rows are others then."""
    parts = Parts(tmp_path)
    parts.start()
    parts.keep("a", 1.0, 1)
    b = parts.find("plant/b", "b")
    assert b is not None
    parts.journal.note(Asked.SILENT, np.array([b]), 2.0)
    parts.journal.keep(NOTHING, NOTHING_SIFTED, 3.0, dead=np.array([b]))
    parts.journal.note(Asked.SHIFT, np.array([], dtype=np.intp), -4.0)
    parts.journal.settle(WITHIN_S)
    again = Parts(tmp_path)
    again.find("plant/b", "b")
    again.start()
    assert [("a", 1.0, 0.1)] == again.replayed
    assert [
        (Asked.SILENT, ["b"], 2.0), (Asked.DEAD, ["b"], 3.0), (Asked.SHIFT, [], -4.0)
    ] == again.asked  # fmt: skip


def test_the_receipts_outlive_the_segments(tmp_path: Path) -> None:
    """A broker that was away for two saves sends what was scored before them."""
    parts = Parts(tmp_path)
    parts.start()
    parts.keep("a", 1.0, 1)
    parts.journal.forget(parts.journal.mark())
    parts.journal.stop(WITHIN_S)
    assert 1 == len(Segments(tmp_path).find())
    again = Parts(tmp_path)
    again.start()
    message = Message("plant/a", b"%f" % 1.0, 0.0, False, CONNECTION | 0x1_0000 | 1)
    assert [] == again.journal.receipts.sift([message]).messages


def test_damage_is_told_and_costs_no_more_than_its_record(tmp_path: Path) -> None:
    """Until a save holds what is left."""
    parts = Parts(tmp_path)
    parts.start()
    for mid in range(1, 6):
        parts.keep("a", float(mid), mid)
        parts.journal.settle(WITHIN_S)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    mark = b"\xa5\x00\xffR"
    records = [mark + each for each in content.split(mark)[1:]]
    for damaged in range(5):
        # Its last byte: what it says of its channel is as good as lost.
        hurt = [each[:-1] + b"?" if at == damaged else each for at, each in enumerate(records)]
        path.write_bytes(HEAD + b"".join(hurt))
        again = Parts(tmp_path)
        again.journal.replay(0, again.find, again._again)
        whole = [float(mid) for mid in range(1, 6) if mid != damaged + 1]
        assert whole == [at_s for _, at_s, _ in again.replayed]
        assert ("journal_damaged" in again.conditions.now()) == (damaged < 4)
    path.write_bytes(HEAD + b"".join([records[0][:-1] + b"?", *records[1:]]))
    again = Parts(tmp_path)
    again.start()
    assert "can't be read" in again.conditions.now()["journal_damaged"]
    again.journal.forget(again.journal.mark())
    wait_until(lambda: not again.conditions.now())
    again.journal.stop(WITHIN_S)


def test_a_journal_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    """And the segments after it are read."""
    parts = Parts(tmp_path)
    parts.start()
    parts.keep("a", 1.0, 1)
    parts.journal.mark()
    parts.keep("a", 2.0, 2)
    parts.journal.stop(WITHIN_S)
    first = min(tmp_path.iterdir())
    first.write_bytes(first.read_bytes().replace(b"journal-2", b"journal-9", 1))
    again = Parts(tmp_path)
    again.start()
    assert [("a", 2.0, 0.1)] == again.replayed
    assert "format anomalyd-journal-9, but this" in again.conditions.now()["journal_damaged"]
    again.journal.stop(WITHIN_S)


def test_an_alert_waits_until_its_reading_would_survive(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    parts.start()
    parts.keep("a", 1.0, 1, urgent=True)
    assert [CONNECTION | 1] == parts.acknowledged
