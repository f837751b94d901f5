"""A child's rules: stopped with its context, killed with its parent, heard when it dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from anomalyd.demo import child as module
from anomalyd.demo.child import Child
from anomalyd.errors import ServiceFailed

WITHIN_S = 5.0
ROOT = Path(module.__file__).parents[2]
SLEEPS = "import time; time.sleep(60)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""
PARENT = """
import sys, time
from pathlib import Path
from anomalyd.demo.child import Child
sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
with Child("sleeper", sleeper, Path(sys.argv[1])) as child:
    print(child.pid, flush=True)
    time.sleep(60)
"""


def python(code: str, log: Path, stop_within_s: float = WITHIN_S) -> Child:
    return Child("sleeper", [sys.executable, "-c", code], log, stop_within_s=stop_within_s)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_is_stopped_with_its_context(tmp_path: Path) -> None:
    with python(SLEEPS, tmp_path / "log") as child:
        pid = child.pid
        assert alive(pid)
    assert not alive(pid)


def test_is_killed_when_it_does_not_stop(tmp_path: Path) -> None:
    with python(STUBBORN, tmp_path / "log", stop_within_s=0.05) as child:
        child.wait_until(lambda: child.tail() == "deaf", WITHIN_S)
        assert child.stop() == -signal.SIGKILL


def test_its_death_and_its_last_words_are_told(tmp_path: Path) -> None:
    with (
        python("import sys; print('out of luck'); sys.exit(3)", tmp_path / "log") as child,
        pytest.raises(ServiceFailed, match="sleeper ended with status 3: out of luck"),
    ):
        child.wait_until(lambda: False, WITHIN_S)


def test_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with (
        python(SLEEPS, tmp_path / "log") as child,
        pytest.raises(ServiceFailed, match=r"sleeper is not ready after 0\.05 s"),
    ):
        child.wait_until(lambda: False, 0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a child to its parent")
def test_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    deadline = time.monotonic() + WITHIN_S
    while alive(pid) and time.monotonic() < deadline:
        os.sched_yield()
    assert not alive(pid)


def test_an_interrupt_in_the_middle_of_a_start_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the child: it is stopped."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def interrupted(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))
        # The kernel gives it to any thread; Python interrupts the main one.
        other = threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,))
        other.start()
        other.join()
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), Child("sleep", ["sleep", "60"], tmp_path / "log"):
            raise AssertionError("it has not been interrupted")
    finally:
        signal.signal(signal.SIGINT, before)
    assert started[0].returncode is not None
