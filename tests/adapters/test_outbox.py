"""What is in the database is there after a restart, once, in order, and bounded."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalyd.adapters import outbox as database
from anomalyd.adapters.outbox import FILE, GIVEN_UP, Foreign, Outbox, Transition, Window

DAY = 86_400 * 1_000_000


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    opened = Outbox(tmp_path / FILE)
    yield opened
    opened.close()


def transition(seq: int, what: str, identity: str = "a", channel: str = "l/m/x") -> Transition:
    topic = f"anomalyd/main/alert/{channel}"
    document = f"{identity} {what} {seq}".encode()
    return Transition(seq, identity, channel, "residual", topic, what, float(seq), document)


def told(outbox: Outbox) -> list[tuple[int, str]]:
    return [(each.seq, each.what) for each in outbox.history("a")]


def test_what_is_unpublished_is_found_again_in_order(tmp_path: Path, outbox: Outbox) -> None:
    outbox.add([transition(1, "raised"), transition(2, "updated")])
    outbox.add([transition(3, "raised", "b", "l/m/y")])
    outbox.published([2], [])
    outbox.close()
    again = Outbox(tmp_path / FILE)
    assert [1, 3] == [each.seq for each in again.unpublished()]
    assert (3, b"a raised 1") == (again.last_seq(), again.document(1))
    again.close()


def test_repeats_are_left_out(outbox: Outbox) -> None:
    """Readings that are scored again after a crash tell the same alerts again."""
    assert {1, 2} == outbox.add([transition(1, "raised"), transition(2, "cleared")])
    again = [transition(3, "raised"), transition(4, "updated"), transition(5, "cleared")]
    assert set() == outbox.add(again)
    assert [(1, "raised"), (2, "cleared")] == told(outbox)


def test_updates_are_superseded_and_nothing_else_is(outbox: Outbox) -> None:
    outbox.add([transition(1, "raised"), transition(2, "updated"), transition(3, "updated")])
    outbox.published([], [1, 2])
    assert [(1, "raised"), (3, "updated")] == told(outbox)


def test_all_of_a_batch_or_none(outbox: Outbox) -> None:
    with pytest.raises(sqlite3.Error):
        outbox.add([transition(1, "raised"), transition(1, "raised", "b")])
    assert [] == outbox.alerts()


def test_open_and_recent_alerts_are_listed_newest_first(outbox: Outbox) -> None:
    outbox.add([transition(DAY, "raised"), transition(2 * DAY, "cleared")])
    outbox.add([transition(3 * DAY, "raised", "b", "l/m/y")])
    assert ["b", "a"] == [each.id for each in outbox.alerts()]
    assert ["b"] == [each.id for each in outbox.alerts(open_only=True)]
    assert ["a"] == [each.id for each in outbox.alerts(channel="*/x")]
    assert ["b"] == [each.id for each in outbox.alerts(since_s=2.5 * 86_400)]


def test_what_people_said_is_kept(outbox: Outbox) -> None:
    outbox.add([transition(1, "raised")])
    assert outbox.acknowledge("a", 5.0, "ada", None)
    assert outbox.judge("a", "confirmed", 6.0, None, "bearing")
    assert not outbox.judge("b", "confirmed", 6.0, None, None)
    (record,) = outbox.confirmed()
    assert ("ada", 5.0, "bearing") == (
        record.acknowledged_by,
        record.acknowledged_s,
        record.verdict_note,
    )


def test_the_last_fault_of_each_channel_is_told(outbox: Outbox) -> None:
    """An end, or a beginning where it is open; of what was confirmed alone."""
    for seq, identity, channel in ((1, "a", "x"), (3, "b", "x"), (5, "c", "y"), (6, "d", "z")):
        outbox.add([transition(seq, "raised", identity, channel)])
    outbox.add([transition(7, "cleared", "b", "x"), transition(8, "cleared", "a", "x")])
    assert {} == outbox.faults()
    for identity in "abc":
        outbox.judge(identity, "confirmed", 9.0, None, None)
    outbox.judge("a", "false_alarm", 9.0, None, None)
    outbox.judge("d", "false_alarm", 9.0, None, None)
    assert {"x": 7.0, "y": 5.0} == outbox.faults()


def test_maintenance_begins_and_ends(outbox: Outbox) -> None:
    windows = [Window("a/*", 50.0, 1.0, None, None), Window("b", 20.0, 1.0, None, None)]
    outbox.maintain(windows, (), 1.0)
    assert windows == list(outbox.maintenance())
    outbox.maintain((), ["a/*"], 10.0)
    assert windows[1:] == list(outbox.maintenance())
    outbox.maintain((), (), 30.0)
    assert () == outbox.maintenance()


def test_pruning_keeps_what_is_open_unpublished_or_confirmed(outbox: Outbox) -> None:
    for number, identity in enumerate("abcd"):
        seq = 1 + 2 * number
        outbox.add([transition(seq, "raised", identity), transition(seq + 1, "cleared", identity)])
    outbox.add([transition(9, "raised", "e")])
    outbox.published([1, 2, 3, 4, 7, 8, 9], [])
    outbox.judge("b", "confirmed", 1.0, None, None)
    outbox.prune(1.0, 1_000_000)
    assert {"b", "c", "e"} == {each.id for each in outbox.alerts()}


def test_pruning_forgets_no_more_than_two_hours_at_once(outbox: Outbox) -> None:
    """The clock may be wrong, and right again in an hour."""
    for number, identity in enumerate("abcd"):
        seq = number * DAY
        outbox.add([transition(seq + 1, "raised", identity)])
        outbox.add([transition(seq + 2, "cleared", identity)])
        outbox.published([seq + 1, seq + 2], [])
    outbox.judge("a", "confirmed", 1.0, None, None)
    for left in ("acd", "ad", "a", "a"):
        outbox.prune(1e9, 1_000_000)
        assert set(left) == {each.id for each in outbox.alerts()}


def test_what_was_given_up_and_is_raised_again_is_open(outbox: Outbox) -> None:
    """Once: any other raise of what is over is a repeat."""
    outbox.add([transition(1, "raised")])
    given_up = b'{"id":"a","reason":"%s; it was: high"}' % GIVEN_UP.encode()
    outbox.add([transition(2, "cleared")._replace(document=given_up)])
    assert {3} == outbox.add([transition(3, "raised")])
    assert not outbox.add([transition(4, "raised")])
    assert ["a"] == [each.id for each in outbox.alerts(open_only=True)]
    assert {5} == outbox.add([transition(5, "cleared")])
    assert not outbox.add([transition(6, "raised")])
    assert ["raised", "updated", "updated", "cleared"] == [e.what for e in outbox.history("a")]


def test_a_large_file_loses_its_oldest(tmp_path: Path, outbox: Outbox) -> None:
    for seq in range(1, 2001, 2):
        identity = f"id-{seq}"
        large = transition(seq, "raised", identity)._replace(document=bytes(1000), published=True)
        outbox.add([large, transition(seq + 1, "cleared", identity)._replace(published=True)])
    before = (tmp_path / FILE).stat().st_size
    outbox.prune(0.0, 1_000_000)
    left = {each.id for each in outbox.alerts()}
    assert 1_000_000 >= (tmp_path / FILE).stat().st_size < before
    assert "id-1999" in left
    assert "id-1" not in left
    assert 0 == (tmp_path / f"{FILE}-wal").stat().st_size


def test_it_is_read_while_it_is_written_and_after(tmp_path: Path, outbox: Outbox) -> None:
    outbox.add([transition(1, "raised")])
    for _ in range(2):
        reader = Outbox(tmp_path / FILE, read_only=True)
        assert ["a"] == [each.id for each in reader.alerts()]
        with pytest.raises(sqlite3.OperationalError):
            reader.add([transition(2, "cleared")])
        reader.close()
        outbox.close()


def test_a_damaged_file_is_told_from_a_busy_one(tmp_path: Path, outbox: Outbox) -> None:
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.Error) as busy:
        outbox.add([transition(1, "raised")])
    other.close()
    assert (True, False) == (database.busy(busy.value), database.damaged(busy.value))
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.Error) as damage:
        Outbox(broken)
    assert (False, True) == (database.busy(damage.value), database.damaged(damage.value))
    assert "broken.sqlite.damaged-now" == database.set_aside(broken, "now").name
    assert not broken.exists()


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(Foreign, match="has version 9"):
        Outbox(path)
