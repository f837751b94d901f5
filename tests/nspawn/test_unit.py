"""The shipped unit under a systemd that runs as PID 1, with the real daemon and a real broker.

READY means that it can score, a reload is whole or not at all, a hang and a crash end in a restart,
secrets arrive, the sandbox holds while it scores, and it stops soon under load.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anomalyd.demo.listener import fetch, scrape
from tests.broker.daemon import HOST, pour, publish, reading
from tests.conftest import OPEN_TO_ALL
from tests.nspawn.machine import Machine, require_nspawn, wait_until
from tests.programs import Mosquitto, free_port, require, running

UNIT = "anomalyd.service"
CONFIG = "/etc/anomalyd/anomalyd.toml"
CREDENTIAL = "/etc/credstore/anomalyd.mqtt_password"
SCORED = "anomalyd_readings_scored_total"
BUDGET = "anomalyd_alarm_budget_per_week"
CONNECTED = "anomalyd_mqtt_connected"
SAVED = "anomalyd_state_saved_timestamp_seconds"
RESTORED = "anomalyd_state_channels_restored"
SOON_S = 30.0
STOPS_WITHIN_S = 5.0

# A watchdog that a test can wait for, and a restart at once.
DROP_IN = "[Service]\nWatchdogSec=3\nRestartSec=100ms\n"
ALLOW = "allow_anonymous false\nmax_queued_messages 0\npassword_file {passwords}\n"


class Plant:
    """A booted machine with anomalyd installed, and the broker that it is configured for."""

    def __init__(self, machine: Machine, broker: Mosquitto) -> None:
        self.machine = machine
        self.broker = broker
        self.port = free_port()

    def configure(self, more: str = "", broker_port: int | None = None) -> None:
        text = f"""
[mqtt]
port = {broker_port or self.broker.port}
reconnect_max_s = 1
[http]
port = {self.port}
[[streams]]
topic = "plant/{{sensor}}"
time = "ts"
{more}
"""
        self.machine.write(CONFIG, text)

    def start(self) -> None:
        self.machine.systemctl("start", UNIT)

    def metric(self, name: str) -> float:
        return scrape(HOST, self.port).get(name, 0.0)

    def until_metric(self, name: str, least: float) -> None:
        self.until(lambda: self.metric(name) >= least)

    def until_restarted(self, pid: int) -> None:
        """Another process is up, and systemd has heard that it is ready."""
        self.until(
            lambda: self.pid not in (0, pid) and "active" == self.machine.show(UNIT, "ActiveState")
        )

    def until_logged(self, line: str) -> None:
        self.until(lambda: line in self.machine.journal("-u", UNIT))

    def until(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, SOON_S, lambda: self.machine.journal("-u", UNIT))

    @property
    def pid(self) -> int:
        """Inside the machine; 0 when it doesn't run."""
        return int(self.machine.show(UNIT, "MainPID"))


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    require_nspawn()
    require("mosquitto", "mosquitto")
    with (
        running(Mosquitto(tmp_path_factory.mktemp("broker"), OPEN_TO_ALL)) as broker,
        Machine(tmp_path_factory.mktemp("machine"), f"anomalyd-{os.getpid()}") as machine,
    ):
        machine.write(f"/etc/systemd/system/{UNIT}.d/test.conf", DROP_IN)
        machine.systemctl("daemon-reload")
        yield Plant(machine, broker)


@pytest.fixture
def plant(booted: Plant) -> Iterator[Plant]:
    """Configured and not started; stopped at the end, with an empty journal for the next."""
    booted.configure()
    yield booted
    booted.machine.run("systemctl", "stop", UNIT, check=False)
    booted.machine.run("systemctl", "reset-failed", UNIT, check=False)
    booted.machine.run("rm", "-rf", CREDENTIAL, "/var/lib/private/anomalyd", "/var/lib/anomalyd")
    booted.machine.run("journalctl", "--rotate", "--vacuum-time=1s", check=False)


def test_ready_means_that_it_can_score(plant: Plant) -> None:
    """`systemctl start` returns when it answers, and the next reading is scored."""
    plant.start()
    assert "ok\n" == fetch(HOST, plant.port, "/-/healthy")
    plant.until_metric(CONNECTED, 1)
    publish(plant.broker, [reading("flow", time.time(), 1.0)])
    plant.until_metric(SCORED, 1)


def test_a_model_that_cannot_be_loaded_is_never_ready(plant: Plant) -> None:
    plant.configure('model = "none.safetensors"')
    assert 0 != plant.machine.run("systemctl", "start", UNIT, check=False).returncode
    plant.until_logged("none.safetensors")


def test_it_is_ready_without_a_broker_and_says_what_it_waits_for(plant: Plant) -> None:
    plant.configure(broker_port=free_port())
    plant.start()
    plant.until(lambda: "waiting for the broker" in plant.machine.show(UNIT, "StatusText"))


def test_status_tells_what_it_is_doing(plant: Plant) -> None:
    plant.start()
    plant.until_metric(CONNECTED, 1)
    publish(plant.broker, [reading("flow", time.time(), 1.0)])
    expected = "connected, 1 channels, 1 warming, 0 firing, 1 readings scored"
    plant.until(lambda: expected == plant.machine.show(UNIT, "StatusText"))


def test_the_journal_has_priorities_and_fields(plant: Plant) -> None:
    plant.start()
    lines = plant.machine.journal("-u", UNIT, "-o", "json", "SYSLOG_IDENTIFIER=anomalyd")
    started = [line for line in map(json.loads, lines.splitlines()) if "started" in line["MESSAGE"]]
    assert ["6"] == [line["PRIORITY"] for line in started]
    assert ["MainThread"] == [line["THREAD_NAME"] for line in started]


def test_a_reload_applies_what_can_be_changed_and_names_what_cannot(plant: Plant) -> None:
    plant.start()
    pid = plant.pid
    plant.configure("unit = 'bar'\n[alerts]\nbudget_per_week = 0.5")
    plant.machine.systemctl("reload", UNIT)
    plant.until_logged("reloaded: alerts.budget_per_week")
    plant.until_logged("changed, but needs a restart: streams.0.unit")
    plant.until(lambda: 0.5 == plant.metric(BUDGET))
    plant.until(lambda: "active" == plant.machine.show(UNIT, "ActiveState"))
    assert pid == plant.pid


def test_a_bad_configuration_leaves_the_old_one_in_force(plant: Plant) -> None:
    """It says so in one line, in the log and in its status."""
    plant.start()
    pid, before = plant.pid, plant.metric(BUDGET)
    plant.configure("[alerts]\nbudget_per_week = -1\nclear_readings = 2")
    plant.machine.systemctl("reload", UNIT)
    plant.until(lambda: plant.machine.show(UNIT, "StatusText").startswith("not reloaded: "))
    line = "not reloaded, the old configuration stays in force: "
    assert 1 == plant.machine.journal("-u", UNIT).count(line)
    plant.until(lambda: "active" == plant.machine.show(UNIT, "ActiveState"))
    assert (pid, before) == (plant.pid, plant.metric(BUDGET))


def test_the_watchdog_ends_a_hang(plant: Plant) -> None:
    """A stopped process feeds nobody: it is killed, and started again."""
    plant.start()
    pid = plant.pid
    plant.machine.run("kill", "-STOP", str(pid))
    plant.until_restarted(pid)
    assert "watchdog" in plant.machine.journal("-u", UNIT).lower()
    plant.until_metric(CONNECTED, 1)


def test_after_kill_9_it_is_back_with_its_state(plant: Plant) -> None:
    """What was learnt is restored: the channel is known before it speaks again."""
    plant.configure("[state]\nsave_every_s = 0.2")
    plant.start()
    plant.until_metric(CONNECTED, 1)
    publish(plant.broker, [reading("flow", time.time(), 1.0)])
    plant.until_metric(SCORED, 1)
    scored_s = time.time()
    plant.until_metric(SAVED, scored_s)
    pid = plant.pid
    plant.machine.run("kill", "-KILL", str(pid))
    plant.until_restarted(pid)
    plant.until_logged("state restored generation=")
    plant.until_metric(CONNECTED, 1)
    assert 1 == plant.metric(RESTORED)
    assert 1 == plant.metric('anomalyd_channels{state="warming"}')


def test_it_is_started_again_however_often_it_ends(plant: Plant) -> None:
    """systemd's own limit is five starts in ten seconds."""
    plant.configure('mistake = "none"')
    plant.machine.systemctl("start", "--no-block", UNIT)
    plant.until(lambda: int(plant.machine.show(UNIT, "NRestarts")) >= 6)
    plant.configure()
    plant.until(lambda: fetch(HOST, plant.port, "/-/healthy") is not None)


def test_the_credential_is_read(plant: Plant, tmp_path: Path) -> None:
    """The password is in a file of root's alone, and the broker accepts it."""
    passwords = tmp_path / "passwords"
    passwords.touch()
    program = require("mosquitto_passwd", "mosquitto")
    subprocess.run([program, "-b", passwords, "daemon", "s3cret"], check=True)
    with running(Mosquitto(tmp_path, ALLOW.format(passwords=passwords))) as broker:
        plant.machine.write(CREDENTIAL, "s3cret\n")
        plant.machine.run("chmod", "600", CREDENTIAL)
        plant.configure(broker_port=broker.port)
        plant.machine.run("sed", "-i", 's/^.mqtt.$/&\\nusername = "daemon"/', CONFIG)
        plant.start()
        plant.until_metric(CONNECTED, 1)
    assert "s3cret" not in plant.machine.journal("-u", UNIT)


def test_nothing_is_written_outside_the_state_directory(plant: Plant) -> None:
    """Tried from inside its sandbox, as its user, while it runs."""
    plant.start()
    pid = str(plant.pid)
    user, group = (plant.machine.show(UNIT, name) for name in ("UID", "GID"))
    inside = ("nsenter", "-t", pid, "-m", "setpriv", "--reuid", user, "--regid", group)
    for folder, expected in (
        ("/var/lib/anomalyd", 0),
        ("/etc/anomalyd", 1),
        ("/opt/anomalyd/venv", 1),
        ("/var/log", 1),
        ("/usr", 1),
    ):
        command = (*inside, "--clear-groups", "sh", "-c", f": > {folder}/tried")
        done = plant.machine.run(*command, check=False)
        assert (expected, folder) == (min(done.returncode, 1), folder), done.stderr
    mounts = plant.machine.run("cat", f"/proc/{pid}/mountinfo").stdout.splitlines()
    root = next(line.split() for line in mounts if line.split()[4] == "/")
    assert "ro" in root[5].split(",")


def test_the_sandbox_is_tight_while_it_scores(plant: Plant) -> None:
    plant.start()
    plant.until_metric(CONNECTED, 1)
    publish(plant.broker, [reading("flow", time.time() + n / 1000, 1.0) for n in range(50)])
    plant.until_metric(SCORED, 50)
    plant.machine.run("systemd-analyze", "security", "--threshold=11", UNIT)


def test_it_stops_soon_under_load(plant: Plant) -> None:
    plant.start()
    plant.until_metric(CONNECTED, 1)
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            now = time.time()
            pour(plant.broker, [reading(f"s{sensor}", now, 1.0) for sensor in range(500)])

    sender = threading.Thread(target=flood)
    sender.start()
    try:
        plant.until_metric(SCORED, 1_000)
        began = time.monotonic()
        plant.machine.systemctl("stop", UNIT)
        took_s = time.monotonic() - began
    finally:
        stop.set()
        sender.join()
    assert took_s < STOPS_WITHIN_S
    assert "success" == plant.machine.show(UNIT, "Result")


def test_instances_run_side_by_side(plant: Plant) -> None:
    """anomalyd@press has its own configuration, name and state."""
    plant.start()
    first, plant.port = plant.port, free_port()
    plant.configure()
    plant.machine.run("mv", CONFIG, "/etc/anomalyd/press.toml")
    plant.machine.systemctl("start", "anomalyd@press")
    try:
        assert "ok\n" == fetch(HOST, first, "/-/healthy")
        assert "ok\n" == fetch(HOST, plant.port, "/-/healthy")
        assert "instance=press" in plant.machine.journal("-u", "anomalyd@press")
        assert "" != plant.machine.run("ls", "-d", "/var/lib/anomalyd-press").stdout
    finally:
        plant.machine.systemctl("stop", "anomalyd@press")
