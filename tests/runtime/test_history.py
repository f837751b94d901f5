"""What scoring has seen is on disk with its verdicts: by name, across restarts, within bounds, and
scoring waits for none of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from anomalyd.detection.channels import Channel, ChannelTable
from anomalyd.detection.reading import Kind, Readings, Verdicts
from anomalyd.files import UNFINISHED
from anomalyd.runtime import history
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.history import History
from anomalyd.settings import History as Rules

START_S = 1_748_772_000.0
EVER = (0.0, 1e12)
WITHIN_S = 20.0
EVERYTHING = Rules(readings_per_channel_per_day=10**9)


class Parts:
    """A history and what is around it."""

    def __init__(self, folder: Path, rules: Rules = EVERYTHING) -> None:
        self.table = ChannelTable(64)
        self.conditions = Conditions()
        self.history = History(folder, rules, self.table, self.conditions)

    def add(self, *names: str) -> list[int]:
        rows = [self.table.add(Channel(name, {}, 0)) for name in names]
        return [row for row in rows if row is not None]

    def record(self, rows: list[int], first: int, count: int) -> Verdicts:
        """A reading a second of each; every third was not learnt."""
        times = np.repeat(START_S + np.arange(first, first + count), len(rows)).astype(float)
        verdicts = Verdicts.blank(Readings(np.tile(rows, count), times, times % 977.0))
        verdicts.score[:] = 0.5
        verdicts.state[:] = 1
        verdicts.learnt[:] = times % 3.0 != 0.0
        self.history.record(verdicts)
        return verdicts


@contextmanager
def running(parts: Parts) -> Iterator[Parts]:
    parts.history.start()
    try:
        yield parts
    finally:
        assert parts.history.stop(WITHIN_S)


def test_what_goes_in_comes_out_with_its_verdict(tmp_path: Path) -> None:
    """The copy has what was recorded up to now, in one stretch a channel."""
    with running(Parts(tmp_path)) as parts:
        assert "history" in {thread.name for thread in threading.enumerate()}
        rows = parts.add("a", "b")
        for first in range(0, 1000, 50):
            parts.record(rows, first, 50)
        past = parts.history.copy(*EVER, 10**9)
        assert ["a", "b"] == list(past.channels)
        for each in past.stretches():
            assert (START_S + np.arange(1000.0)).tolist() == each.times.tolist()
            assert (each.times % 977.0).tolist() == each.values.tolist()
            assert (each.times % 3.0 != 0.0).tolist() == each.learnt.tolist()
            assert {0.5} == set(each.score.tolist())
            assert ({1}, {0}) == (set(each.state.tolist()), set(each.kind.tolist()))
    assert (2000, 0) == (parts.history.kept, parts.history.dropped)


def test_a_full_buffer_goes_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch may be larger than a buffer; nothing is lost or told twice."""
    monkeypatch.setattr(history, "BUFFER_READINGS", 100)
    monkeypatch.setattr(history, "_BUFFERS_WAITING", 1000)
    with running(Parts(tmp_path)) as parts:
        rows = parts.add("a", "b", "c")
        parts.record(rows, 0, 5)
        parts.record(rows, 5, 200)
        past = parts.history.copy(*EVER, 10**9)
    assert [205, 205, 205] == [each.values.size for each in past.stretches()]


def test_a_restart_goes_on(tmp_path: Path) -> None:
    """What was there at the stop is written; another daemon's readings are another stretch."""
    for first in (0, 500):
        with running(Parts(tmp_path)) as parts:
            parts.record(parts.add("a"), first, 100)
    with running(Parts(tmp_path)) as parts:
        past = parts.history.copy(*EVER, 10**9)
    assert [100, 100] == [each.values.size for each in past.stretches()]


def test_a_row_that_became_another_channels_is_that_channels(tmp_path: Path) -> None:
    with running(Parts(tmp_path)) as parts:
        (row,) = parts.add("old")
        parts.record([row], 0, 10)
        parts.table.remove(row)
        assert [row] == parts.add("new")
        parts.record([row], 10, 20)
        past = parts.history.copy(*EVER, 10**9)
    found = {each.channel: each.values.size for each in past.stretches()}
    assert {"new": 20, "old": 10} == found


def test_what_never_reached_the_model_is_not_kept(tmp_path: Path) -> None:
    with running(Parts(tmp_path)) as parts:
        rows = parts.add("a")
        verdicts = Verdicts.blank(
            Readings(np.array(rows * 3), START_S + np.arange(3.0), np.ones(3))
        )
        verdicts.kind[:] = Kind.NONE, Kind.LATE, Kind.VALUE
        parts.history.record(verdicts)
        assert 1 == len(parts.history.copy(*EVER, 10**9))


def test_the_disk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first."""
    monkeypatch.setattr(history, "CHUNK_READINGS", 1)
    with running(Parts(tmp_path, EVERYTHING.model_copy(update={"max_mb": 0.005}))) as parts:
        rows = parts.add("a", "b")
        for first in range(0, 20_000, 1000):
            parts.record(rows, first, 1000)
            past = parts.history.copy(*EVER, 10**9)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5_000
    assert START_S + 19_999.0 == past.times.max()
    assert past.times.min() > START_S


def test_a_folder_that_cannot_be_written_is_a_condition(tmp_path: Path) -> None:
    """Scoring goes on; what is dropped is counted; it ends with the first chunk that is written."""
    folder = tmp_path / "state" / "history"
    folder.parent.write_text("in the way")
    with running(Parts(folder)) as parts:
        rows = parts.add("a")
        parts.record(rows, 0, 100)
        assert 0 == len(parts.history.copy(*EVER, 10**9))
        assert 100 == parts.history.dropped
        assert str(folder) in parts.conditions.now()["history"]
        folder.parent.unlink()
        parts.record(rows, 100, 100)
        assert 100 == len(parts.history.copy(*EVER, 10**9))
        assert {} == parts.conditions.now()


def test_a_writer_that_is_too_slow_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it never runs: what doesn't fit into the queue is dropped and counted."""
    monkeypatch.setattr(history, "BUFFER_READINGS", 100)
    parts = Parts(tmp_path)
    parts.record(parts.add("a"), 0, 1000)
    assert 500 == parts.history.dropped
    assert "history" in parts.conditions.now()


def test_what_was_being_written_is_swept(tmp_path: Path) -> None:
    (tmp_path / f".x{UNFINISHED}").write_bytes(b"half")
    with running(Parts(tmp_path)) as parts:
        parts.history.copy(*EVER, 1)
    assert [] == list(tmp_path.iterdir())
