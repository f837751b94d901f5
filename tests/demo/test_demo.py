"""The demo's rules: its exit status says what was found, and nothing outlives it.

A stand-in plays the daemon (`stand_in_daemon.py`); broker, plant and screen are the real ones.
"""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from anomalyd import settings
from anomalyd.demo import demo as module
from anomalyd.demo.broker import find_program
from anomalyd.demo.demo import Demo, command_began, play
from anomalyd.errors import ProgramMissing, ServiceFailed

ROOT = Path(module.__file__).parents[2]
STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in_daemon.py")))
WITHIN_S = 20.0


@pytest.fixture(autouse=True)
def _prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_program()
    except ProgramMissing as missing:
        pytest.skip(str(missing))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("ANOMALYD_MQTT__HOST", "not-the-demos-broker.invalid")


def run(seconds: float, terminal: bool = False) -> tuple[int, str]:
    said = io.StringIO()
    console = Console(file=said, width=120, height=40, force_terminal=terminal)
    status = play(Demo(seconds, speed=400, daemon=STAND_IN), console, time.monotonic())
    return status, said.getvalue()


def test_every_fault_found_is_success() -> None:
    status, said = run(3)
    assert "6 of 6 faults found; false alarms: 0" in said
    assert "28,800 readings of 24 channels scored" in said
    assert "first reading scored" in said
    assert "anomalyd run --config anomalyd.toml" in said
    assert status == 0


def test_a_missed_fault_is_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "deaf")
    status, said = run(1, terminal=True)
    assert "0 of 6 faults found; false alarms: 0" in said
    assert status == 1


def test_a_daemon_that_dies_shows_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "dies")
    said = io.StringIO()
    with pytest.raises(ServiceFailed, match="anomalyd ended with status 3: out of luck"):
        play(Demo(3, speed=400, daemon=STAND_IN), Console(file=said), time.monotonic())
    assert "out of luck" in said.getvalue()


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_stops_everything_and_fails(way: signal.Signals, tmp_path: Path) -> None:
    command = f"""if True:
        import sys, time
        from rich.console import Console
        from anomalyd.demo.demo import Demo, play
        demo = Demo(600, daemon={STAND_IN!r})
        sys.exit(play(demo, Console(), time.monotonic()))
    """
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    arguments = [sys.executable, "-c", command]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout
        assert "the daemon is starting" in demo.stdout.readline()
        children = descendants(demo.pid)
        demo.send_signal(way)
        said = demo.stdout.read()
        assert demo.wait(WITHIN_S) == 1
    assert "interrupted" in said
    assert len(children) >= 1
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not list(tmp_path.iterdir())


def test_the_commands_age_counts_from_the_start_of_its_process() -> None:
    code = """if True:
        import time
        from anomalyd.demo.demo import command_began
        print(time.monotonic() - command_began())
    """
    before = time.monotonic()
    age_s = float(subprocess.check_output([sys.executable, "-c", code], text=True))
    elapsed_s = time.monotonic() - before
    tick_s = 0.02
    assert 0.05 < age_s < elapsed_s + tick_s
    assert command_began() < before


def test_the_next_steps_are_a_valid_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANOMALYD_MQTT__HOST")
    example = module._NEXT.split(":\n\n")[1].split("\nthen")[0]
    config = tmp_path / "anomalyd.toml"
    config.write_text("\n".join(line.strip() for line in example.splitlines()))
    loaded = settings.load(config)
    assert (loaded.mqtt.host, loaded.streams[0].value) == ("your-broker", "value")


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]
