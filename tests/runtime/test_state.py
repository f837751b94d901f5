"""The state is saved between batches and restored before the daemon listens; what goes wrong on the
way is a condition that ends, or one line, and scoring goes on."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from anomalyd.adapters import store
from anomalyd.adapters.store import Files
from anomalyd.detection.reading import Readings
from anomalyd.errors import ServiceFailed
from anomalyd.runtime import registry
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.inbox import Message
from anomalyd.runtime.intake import Intake
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.state import StateKeeper
from anomalyd.settings import Alerts, Channels, Stream
from tests.programs import root

STREAM = Stream(topic="bare/{sensor}", value="")
NOW_S = 1_748_772_000.0
WITHIN_S = 10.0

pytestmark = pytest.mark.usefixtures("one_thread")


class Parts:
    """A keeper and what is around it."""

    def __init__(self, directory: Path, every_s: float = 3600.0) -> None:
        served = registry.load([STREAM], Path(), 64)
        self.conditions = Conditions()
        self.pipeline = Pipeline("main", Channels(max=64), Alerts(), [STREAM], served.predictors)
        self.intake = Intake([STREAM], self.pipeline, 60.0)
        self.keeper = StateKeeper(
            directory, every_s, [STREAM], self.pipeline, self.intake, self.conditions
        )

    def speak(self, sensor: str, values: int = 50) -> None:
        self.intake.read([Message(f"bare/{sensor}", b"1.0", time.monotonic())], 0.0)
        row = self.pipeline.table.find(sensor)
        assert row is not None
        times = NOW_S + np.arange(float(values))
        self.pipeline.step(Readings(np.full(values, row), times, np.sin(times)))

    def save(self) -> None:
        """One that is due, as the pipeline's thread would."""
        before = self.keeper.saved_s
        self.keeper._due_s = 0.0
        self.keeper.tick()
        assert self.keeper._idle.wait(WITHIN_S)
        assert self.keeper.saved_s > before or self.conditions.now()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Parts]]:
    """`opened()`: the next daemon on the same directory, running; the one before has ended."""
    with ExitStack() as stack:

        def start() -> Parts:
            stack.close()
            parts = Parts(tmp_path / "state")
            parts.keeper.open()
            parts.keeper.restore(NOW_S)
            parts.keeper.start()
            stack.callback(parts.keeper.finish, False, WITHIN_S)
            return parts

        yield start


def test_a_save_is_restored(opened: Callable[[], Parts]) -> None:
    first = opened()
    assert "state" in {thread.name for thread in threading.enumerate()}
    first.speak("x")
    first.save()
    assert first.keeper.saved_s == pytest.approx(time.time(), abs=WITHIN_S)
    second = opened()
    assert 1 == second.keeper.restored
    assert second.pipeline.table.find("x") == 0
    assert second.keeper.saved_s == first.keeper.saved_s


def test_nothing_is_saved_before_it_is_due(opened: Callable[[], Parts], tmp_path: Path) -> None:
    parts = opened()
    parts.speak("x")
    parts.keeper.tick()
    assert not (tmp_path / "state" / "state").exists()


def test_the_end_saves_once_more(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    parts.keeper.open()
    parts.keeper.start()
    parts.speak("x")
    parts.keeper.finish(True, WITHIN_S)
    assert not parts.keeper.alive
    after = Parts(tmp_path)
    after.keeper.open()
    recalled = after.keeper.restore(NOW_S)
    assert recalled is not None
    assert {"x": 0} == recalled.rows
    after.keeper.finish(False, WITHIN_S)


def test_a_clean_start_says_so(
    opened: Callable[[], Parts], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        opened()
    assert any("a clean start" in line for line in caplog.messages)


def test_a_damaged_generation_is_skipped_with_one_line(
    opened: Callable[[], Parts], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = opened()
    parts.speak("x")
    parts.save()
    parts.speak("y")
    parts.save()
    (tmp_path / "state" / "state" / "000000000002.safetensors").write_bytes(b"garbage")
    caplog.clear()
    after = opened()
    assert 1 == after.keeper.restored
    (line,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert "000000000002.json: damaged" in line


def test_a_restored_topic_still_is_its_channel(opened: Callable[[], Parts]) -> None:
    """The route is found again when it speaks, another topic of the same name stays refused, and
    nobody is retired for what fell into the downtime."""
    parts = opened()
    parts.speak("x")
    parts.save()
    after = opened()
    after.intake.read([Message("bare/x", b"2.0", time.monotonic())], 0.0)
    assert {} == dict(after.intake.rejected)
    assert {"x": "bare/x"} == after.intake.topics()
    assert [] == after.intake.silent(time.monotonic() + 5.0, 10.0)
    assert [0] == after.intake.silent(time.monotonic() + 15.0, 10.0)


def test_whose_clock_is_ahead_is_known_over_a_restart(opened: Callable[[], Parts]) -> None:
    """What has no time of its own says nothing."""
    parts = opened()
    for name in "xy":
        parts.speak(name)
    parts.intake.skew.judge(np.array([1]), np.array([0.25]))
    parts.save()
    after = opened()
    after.speak("z")
    assert {"y": 0.25} == after.intake.ahead_s()


def test_readings_are_counted_over_restarts(opened: Callable[[], Parts]) -> None:
    """Where a journal of what came later would begin."""
    parts = opened()
    parts.speak("x", 50)
    parts.save()
    after = opened()
    after.speak("y", 20)
    assert 70 == after.keeper._copy().readings


def test_two_daemons_on_one_directory(opened: Callable[[], Parts], tmp_path: Path) -> None:
    opened()
    with pytest.raises(ServiceFailed, match="another anomalyd uses this state directory"):
        Parts(tmp_path / "state").keeper.open()


def test_a_directory_that_cannot_be_made_is_a_condition_that_ends(tmp_path: Path) -> None:
    """Tried again with each save."""
    (tmp_path / "file").write_text("")
    parts = Parts(tmp_path / "file" / "state")
    parts.keeper.open()
    assert "Not a directory" in parts.conditions.now()["state"]
    assert parts.keeper.restore(NOW_S) is None
    parts.keeper.start()
    parts.speak("x")
    parts.save()
    assert {"state"} == set(parts.conditions.now())
    (tmp_path / "file").unlink()
    parts.save()
    assert {} == parts.conditions.now()
    parts.keeper.finish(False, WITHIN_S)


class Slow(Files):
    """A disk that takes nothing until it is told to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def write(self, path: Path, parts: bytes) -> None:
        assert self.go_on.wait(WITHIN_S)
        super().write(path, parts)


def test_a_slow_disk_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The next save is left out, and it is a condition until one succeeds."""
    parts, slow = Parts(tmp_path, every_s=1e-6), Slow()
    parts.keeper._store = store.Store(tmp_path, slow)
    parts.keeper.open()
    parts.keeper.start()
    parts.speak("x")
    for _ in range(3):
        parts.keeper.tick()
    assert "slow" in parts.conditions.now()["state"]
    slow.go_on.set()
    parts.keeper.finish(True, WITHIN_S)
    assert {} == parts.conditions.now()


def test_what_is_in_a_hurry_follows_right_behind_a_save(tmp_path: Path) -> None:
    """It is no condition, and not left out."""
    parts, slow = Parts(tmp_path), Slow()
    parts.keeper._store = store.Store(tmp_path, slow)
    parts.keeper.open()
    parts.keeper.start()
    parts.speak("x")
    parts.keeper.hurry()
    parts.keeper.tick()
    parts.keeper.hurry()
    parts.keeper.tick()
    assert {} == parts.conditions.now()
    slow.go_on.set()
    assert parts.keeper._idle.wait(WITHIN_S)
    first_s = parts.keeper.saved_s
    parts.keeper.tick()
    assert parts.keeper._idle.wait(WITHIN_S)
    assert parts.keeper.saved_s > first_s
    last_s = parts.keeper.saved_s
    parts.keeper.tick()
    assert parts.keeper._idle.is_set()
    assert last_s == parts.keeper.saved_s
    parts.keeper.finish(False, WITHIN_S)


def test_a_full_disk_is_a_condition_that_ends(tmp_path: Path) -> None:
    """A real one, of one megabyte; what was saved before is kept."""
    root("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=True)
    try:
        parts = Parts(disk)
        parts.keeper.open()
        parts.keeper.start()
        parts.speak("x")
        parts.save()
        saved_s = parts.keeper.saved_s
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(2 << 20))
        parts.save()
        assert "No space left on device" in parts.conditions.now()["state"]
        assert saved_s == parts.keeper.saved_s
        ballast.unlink()
        parts.save()
        assert {} == parts.conditions.now()
        parts.keeper.finish(False, WITHIN_S)
        recalled = Parts(disk).keeper.restore(NOW_S)
        assert recalled is not None
        assert {"x": 0} == recalled.rows
    finally:
        subprocess.run(["umount", disk], check=True)
