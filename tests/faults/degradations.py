"""What the daemon stands on is taken away for real, one thing at a time, while it scores.

The daemon and mosquitto are real. Under each fault it must score on, raise an alert for a channel
that goes wrong, and tell the condition: in `/metrics`, on `/-/ready` and in one log line. When the
cause ends, the condition must end, and the alert must be published and in the database. Counted as
lost is each of these that does not come about; other channels' alerts are false.

What hangs the disk or sets the clock is put into the daemon's process before it starts; the rest is
done to it from outside: a tmpfs that is full, modes, limits, a lock, a broker, a byte in a file.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalyd import __version__
from anomalyd.adapters.models.manifest import NEXT_STEP, Manifest
from anomalyd.adapters.outbox import FILE, Outbox
from anomalyd.errors import ServiceFailed
from anomalyd.model import checkpoint
from anomalyd.runtime import registry
from tests.broker.daemon import HOST, Daemon
from tests.conftest import OPEN_TO_ALL
from tests.faults.gateway import Gateway
from tests.faults.table import Row
from tests.programs import Mosquitto, running

CHANNELS, STEP_S, WARM_STEPS, WRONG = 10, 0.05, 160, 3
_WITHIN_S, _CLOCK_S = 20.0, 80.0
_SCORED = "anomalyd_readings_scored_total"
_ARRIVAL = """
[[streams]]
topic = "plant/{line}"
value = ""
[channels]
warmup_readings = 100
"""
_TIMED = _ARRIVAL.replace('value = ""', 'value = "value"\ntime = "ts"')
_YEAR_S = 365.25 * 86400.0
_UNPRIVILEGED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE: modes hold for root
os.execv(sys.executable, [sys.executable, "-m", "anomalyd", "run", "--config", sys.argv[1]])
"""
_SWITCHED = """
import os, sys, time
flag = os.path.join(os.path.dirname(sys.argv[1]), "flag")
{patch}
from anomalyd.cli import run
sys.exit(run(["run", "--config", sys.argv[1]]))
"""
_SLOW = """
def slow(sync):
    def hang(descriptor):
        while os.path.exists(flag):
            time.sleep(0.1)
        sync(descriptor)
    return hang
os.fsync, os.fdatasync = slow(os.fsync), slow(os.fdatasync)
"""
_CLOCK = """
now = time.time
time.time = lambda: now() + ({jump_s}) * os.path.exists(flag)
"""


class Plant:
    """Channels that speak in real time, in a thread of its own; a broker that is away is no end."""

    def __init__(self, broker: Mosquitto, timed: bool = False) -> None:
        """`timed`: each reading tells its time."""
        self.channels, self._timed = CHANNELS, timed
        self.wrong = False
        self.steps = 0
        self._broker, self._random = broker, np.random.default_rng(1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plant")

    def __enter__(self) -> Plant:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(STEP_S):
            with contextlib.suppress(OSError), Gateway(self._broker, "plant") as gateway:
                while not self._stop.wait(STEP_S):
                    gateway.send(self._step())

    def _step(self) -> list[tuple[str, bytes]]:
        self.steps += 1
        values = self._random.normal(20.0, 1.0, self.channels)
        values[WRONG] += self.wrong * 1000.0 * (-1.0) ** self.steps
        form = b'{"ts": %.3f, "value": %%.3f}' % time.time() if self._timed else b"%.3f"
        return [(f"plant/{at}", form % value) for at, value in enumerate(values.tolist())]


class Scene:
    """All of it, running."""

    def __init__(self, directory: Path, broker: Mosquitto, daemon: Daemon, plant: Plant) -> None:
        self.directory, self.broker, self.daemon, self.plant = directory, broker, daemon, plant
        self.flag, self.state = directory / "flag", directory / "state"
        self._http = http.client.HTTPConnection(HOST, daemon.http_port, timeout=5)

    def close(self) -> None:
        self._http.close()

    def page(self, path: str) -> str:
        """On one connection: where descriptors are short there is no other. "" without answer."""
        try:
            self._http.request("GET", path)
            return self._http.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            self._http.close()
            return ""

    def metric(self, head: str) -> float:
        """Sum of the series that begin so."""
        lines = (line for line in self.page("/metrics").splitlines() if line.startswith(head))
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def degraded(self) -> list[str]:
        page = self.page("/-/ready")
        return list(json.loads(page)["degraded"]) if page else []

    def raised(self, wrong: bool) -> float:
        """Alerts raised in this life, of the channel that goes wrong or of others."""
        told = self.daemon.text().count("alert raised")
        of_it = self.daemon.text().count(f"channel={WRONG} alert raised")
        return of_it if wrong else told - of_it

    def wait(self, found: Callable[[], bool], within_s: float = _WITHIN_S) -> bool:
        """Whether it came about; an end of the daemon is none."""
        try:
            self.daemon.wait_until(found, within_s)
        except ServiceFailed:
            return False
        return True


Hurt = Callable[[Scene], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Degradation:
    """A fault, and what the daemon calls it."""

    name: str
    condition: str
    hurt: Hurt
    """takes something away, and gives it back at the end"""
    program: Sequence[str] = ("-m", "anomalyd", "run", "--config")
    timed: bool = False
    """its readings tell their times"""
    hears: bool = True
    """readings reach it meanwhile"""
    ends_within_s: float = _WITHIN_S


# --- faults -------------------------------------------------------------------------------------


@contextmanager
def disk_full(scene: Scene) -> Iterator[None]:
    filler = scene.state / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(scene: Scene) -> Iterator[None]:
    folders = [scene.state, *(each for each in scene.state.rglob("*") if each.is_dir())]
    for each in folders:
        each.chmod(0o500)
    try:
        yield
    finally:
        for each in folders:
            each.chmod(0o700)


@contextmanager
def flagged(scene: Scene) -> Iterator[None]:
    scene.flag.touch()
    try:
        yield
    finally:
        scene.flag.unlink()


@contextmanager
def locked(scene: Scene) -> Iterator[None]:
    other = sqlite3.connect(scene.state / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.close()


@contextmanager
def refused(scene: Scene) -> Iterator[None]:
    """Another broker in its place lets nobody in."""
    scene.broker.stop()
    folder = scene.directory / "other"
    folder.mkdir()
    try:
        with running(Mosquitto(folder, "allow_anonymous false", scene.broker.port)):
            yield
    finally:
        scene.broker.start()


@contextmanager
def no_descriptors(scene: Scene) -> Iterator[None]:
    """And somebody asks for pages, who can't be let in."""
    open_now = len(list(Path(f"/proc/{scene.daemon.pid}/fd").iterdir()))
    with limited(scene, resource.RLIMIT_NOFILE, open_now), ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(socket.create_connection((HOST, scene.daemon.http_port)))
        yield


@contextmanager
def no_memory(scene: Scene) -> Iterator[None]:
    pages = int(Path(f"/proc/{scene.daemon.pid}/statm").read_text().split()[0])
    with limited(scene, resource.RLIMIT_AS, pages * os.sysconf("SC_PAGESIZE")):
        yield


@contextmanager
def limited(scene: Scene, what: int, to: int) -> Iterator[None]:
    before = resource.prlimit(scene.daemon.pid, what)
    resource.prlimit(scene.daemon.pid, what, (to, before[1]))
    try:
        yield
    finally:
        resource.prlimit(scene.daemon.pid, what, before)


def switched(patch: str) -> Sequence[str]:
    return ("-c", _SWITCHED.format(patch=patch))


DEGRADATIONS = (
    Degradation("disk full", "state", disk_full),
    Degradation("state directory read-only", "state", read_only, ("-c", _UNPRIVILEGED)),
    Degradation("state directory slow", "journal", flagged, switched(_SLOW)),
    Degradation("database locked", "outbox", locked),
    Degradation("broker refuses", "mqtt", refused, hears=False),
    Degradation("descriptors short", "journal", no_descriptors),
    Degradation("memory short", "memory", no_memory),
    *(
        Degradation(
            f"clock set {where} by a year, {whose}",
            "clock",
            flagged,
            switched(_CLOCK.format(jump_s=jump_s)),
            ends_within_s=_CLOCK_S,
            timed=timed,
        )
        for where, jump_s in (("forward", _YEAR_S), ("back", -_YEAR_S))
        for whose, timed in (("times are the host's", False), ("times are the sensors'", True))
    ),
)


# --- one of them --------------------------------------------------------------------------------


def degrade(directory: Path, what: Degradation) -> Row:
    """What did not come about."""
    state = directory / "state"
    state.mkdir()
    missing: list[str] = []

    def expect(holds: bool, name: str) -> None:
        if not holds:
            missing.append(name)

    with ExitStack() as stack:
        if what.hurt is disk_full:
            mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(state)]
            subprocess.run(mount, check=True)
            stack.callback(lambda: subprocess.run(["umount", "-l", str(state)], check=True))
        broker = stack.enter_context(running(Mosquitto(directory, OPEN_TO_ALL)))
        config = _TIMED if what.timed else _ARRIVAL
        daemon = Daemon(directory, broker.port, config, program=what.program)
        stack.enter_context(daemon)
        daemon.wait_ready()
        plant = stack.enter_context(Plant(broker, what.timed))
        scene = Scene(directory, broker, daemon, plant)
        stack.callback(scene.close)
        expect(scene.wait(lambda: plant.steps >= WARM_STEPS, 2.0 * _WITHIN_S), "warm")
        scene.page("/metrics")  # the connection that serves to the end
        with what.hurt(scene):
            _suffer(scene, what, expect)
        expect(scene.wait(lambda: not scene.degraded(), what.ends_within_s), "ends")
        expect(bool(scene.page("/-/healthy")), "alive")
        plant.wrong = True
        expect(scene.wait(lambda: scene.raised(True) == 1), "alert")
        metric = "anomalyd_alerts_unpublished"
        expect(scene.wait(lambda: scene.metric(f"{metric} ") == 0.0), "published")
        false = scene.raised(False)
        expect(_kept(state), "kept")
        expect("Traceback" not in daemon.text(), "no traceback")
    return Row(what.name, 1, len(missing), 0, int(false), _note(what, missing))


def _suffer(scene: Scene, what: Degradation, expect: Callable[[bool, str], None]) -> None:
    """While the cause lasts."""
    if what.condition == "outbox":
        scene.plant.wrong = True  # nothing is written before
    head = f"{what.condition}: "
    found = scene.wait(lambda: any(each.startswith(head) for each in scene.degraded()))
    expect(found, "on /-/ready")
    if what.hears:
        expect(scene.metric(f'anomalyd_degraded{{condition="{what.condition}"}}') == 1, "a metric")
        expect(f"degraded condition={what.condition}" in scene.daemon.text(), "a log line")
    if what.hears:
        before = scene.metric(_SCORED)
        wanted = before + 20 * CHANNELS
        expect(scene.wait(lambda: scene.metric(_SCORED) >= wanted), "scores on")
        if what.condition != "clock":
            scene.plant.wrong = True
            expect(scene.wait(lambda: scene.raised(True) == 1), "alert meanwhile")
    else:
        expect(scene.metric("anomalyd_mqtt_connected ") == 0.0, "a metric")
        expect("broker" in scene.daemon.text(), "a log line")


def _kept(state: Path) -> bool:
    """The alert is in the database."""
    with contextlib.closing(Outbox(state / FILE, read_only=True)) as outbox:
        return [each.channel for each in outbox.alerts()] == [str(WRONG)]


def _note(what: Degradation, missing: Sequence[str]) -> str:
    told = f"condition {what.condition}"
    return f"{told}; MISSING: {', '.join(missing)}" if missing else f"{told}, told and over"


# --- files --------------------------------------------------------------------------------------


def state_corrupted(directory: Path) -> Row:
    """A byte of the newest generation is another: the one before serves, with a line that says so.
    What came since is in the journal."""

    def flip() -> None:
        newest = sorted((directory / "state" / "state").glob("*.safetensors"))[-1]
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)

    return _restarted(directory, "state file corrupted", flip, "state skipped: ")


def journal_damaged(directory: Path) -> Row:
    """A byte of each segment is another: what is whole in them is scored again, and it is told."""

    def flip() -> None:
        for path in (directory / "state" / "journal").iterdir():
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)

    return _restarted(directory, "journal damaged", flip, "degraded condition=journal_damaged")


def model_damaged(directory: Path) -> Row:
    """A byte of the version that serves is another: the one before serves, with a line."""
    store = registry.open_store(directory / "state", 8)
    manifest = Manifest(role=NEXT_STEP, created_s=time.time(), seed=1, code_version=__version__)
    version = store.add(checkpoint.shipped().read_bytes(), manifest)
    store.promote(version, "test", time.time())

    def flip() -> None:
        path = store.path(version)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return _restarted(directory, "model damaged", flip, version, "model: ")


def _restarted(
    directory: Path, name: str, hurt: Callable[[], None], line: str, condition: str = ""
) -> Row:
    """Killed, hurt and started: it goes on from what is sound, and says what is not."""
    missing = []
    with running(Mosquitto(directory, OPEN_TO_ALL)) as broker, Plant(broker) as plant:
        with Daemon(directory, broker.port, _ARRIVAL) as daemon:
            daemon.wait_ready()
            scene = Scene(directory, broker, daemon, plant)
            saved = directory / "state" / "state" / "000000000003.json"
            scene.wait(lambda: plant.steps >= WARM_STEPS and saved.exists(), 2.0 * _WITHIN_S)
            scene.close()
            os.kill(daemon.pid, signal.SIGKILL)
        hurt()
        with Daemon(directory, broker.port, _ARRIVAL) as daemon:
            scene = Scene(directory, broker, daemon, plant)
            daemon.wait_healthy()
            wanted = {
                "says so": lambda: line in daemon.text(),
                "connects": lambda: scene.metric("anomalyd_mqtt_connected ") == 1,
                "goes on": lambda: scene.metric("anomalyd_state_channels_restored ") == CHANNELS,
                "on /-/ready": lambda: (
                    not condition or any(each.startswith(condition) for each in scene.degraded())
                ),
                "scores on": lambda: scene.metric(_SCORED) >= 20 * CHANNELS,
            }
            missing += [what for what, holds in wanted.items() if not scene.wait(holds)]
            plant.wrong = True
            if not scene.wait(lambda: scene.raised(True) == 1):
                missing.append("alert")
            false = scene.raised(False)
            scene.close()
    note = f"MISSING: {', '.join(missing)}" if missing else "what is sound serves, and it is told"
    return Row(name, 1, len(missing), 0, int(false), note)


def campaign(directory: Path, times: int) -> list[Row]:
    """Each so often."""
    rows = []
    for what in DEGRADATIONS:
        rows += [degrade(_fresh(directory), what) for _ in range(times)]
    for of_files in (state_corrupted, journal_damaged, model_damaged):
        rows += [of_files(_fresh(directory)) for _ in range(times)]
    return rows


def _fresh(directory: Path) -> Path:
    folder = directory / f"{len(list(directory.iterdir()))}"
    folder.mkdir()
    return folder
