"""CPU of the daemon for a reading ÷ CPU of a bare paho subscriber for a message, on one stream.

Both subscribe at the same time to the same real mosquitto, so they see the same messages while
the machine has the same speed; the subscriber counts and does nothing else. CPU is user + system
time of the whole process, from /proc, between the first reading and the last.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.programs import Mosquitto, certify, free_port, running, tls_listener

_BARE = """
import sys
import paho.mqtt.client as mqtt
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
def connected(client, *rest):
    client.subscribe([(topic, int(sys.argv[2])) for topic in ("plant/#", "spBv1.0/#")])
def subscribed(*rest):
    print("ready", flush=True)
def received(client, data, message):
    global count
    count += 1
count = 0
client.on_connect, client.on_subscribe, client.on_message = connected, subscribed, received
if sys.argv[3]:
    client.tls_set(sys.argv[3])
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_start()
for line in sys.stdin:
    print(count, flush=True)
"""

_DAEMON = """
[mqtt]
port = {broker}
qos = {qos}
{tls}
[[streams]]
{stream}
interval_s = 1.0
[http]
port = {http}
[state]
directory = "{state}"
"""
_PLANT = 'topic = "plant/{line}/{machine}/{sensor}"\ngroup_by = ["line", "machine"]\n'
_STREAMS = {
    "json": f'{_PLANT}value = "value"\ntime = "ts"',
    "array": f'{_PLANT}value = "[].value"\ntime = "[].ts"',
    "sparkplug": 'topic = "spBv1.0/{group}/+/{node}/{device*}"\nformat = "sparkplug"',
}
OPEN = "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n"
SCORED = "anomalyd_readings_scored_total"

Child = subprocess.Popen[str]


@dataclass(frozen=True)
class IngestCost:
    """Microseconds of CPU for each reading and for each message, on the same stream."""

    sent: int
    scored: int
    took_s: float
    """what sending them took: longer than asked for, where the broker was too slow"""
    daemon_us: float
    """a reading"""
    bare_us: float
    """a message"""

    @property
    def ratio(self) -> float:
        return self.daemon_us / self.bare_us


def measure(
    directory: Path,
    channels: int,
    rate: float,
    seconds: float,
    qos: int = 0,
    shape: str = "json",
    tls: bool = False,
) -> IngestCost:
    """`rate`: readings a second, for `seconds` to warm up and for as long to count. The bare
    subscriber acknowledges as paho does, at once; the daemon when readings would survive. `tls`:
    both listen over it; the plant speaks without."""
    port, trusts = free_port(), str(certify(directory) / "ca.crt") if tls else ""
    config = OPEN + (tls_listener(port, directory) if tls else "")
    with (
        running(Mosquitto(directory, config)) as broker,
        subscriber(port if tls else broker.port, qos, trusts) as bare,
        daemon_on(directory, port if tls else broker.port, qos, shape, trusts) as (daemon, http),
        speaking(broker.port, channels, qos, rate, seconds, shape) as plant,
    ):
        stretch(plant)
        settle(http)
        before, heard = metric(http, SCORED), ask(bare)
        cpu = cpu_s(daemon.pid), cpu_s(bare.pid)
        sent, took_s = stretch(plant)
        settle(http)
        messages = ask(bare) - heard
        spent = cpu_s(daemon.pid) - cpu[0], cpu_s(bare.pid) - cpu[1]
        scored = int(metric(http, SCORED) - before)
    us = 1e6 * spent[0] / scored, 1e6 * spent[1] / messages
    return IngestCost(sent, scored, took_s, *us)


def subscriber(port: int, qos: int, trusts: str = "") -> AbstractContextManager[Child]:
    """The bare one; over TLS where it `trusts` an authority."""
    return _child("-c", _BARE, str(port), str(qos), trusts)


@contextmanager
def daemon_on(
    directory: Path, port: int, qos: int = 0, shape: str = "json", trusts: str = ""
) -> Iterator[tuple[Child, int]]:
    """It and its HTTP port, once it is connected."""
    http = free_port()
    settings, stream = directory / "bench.toml", _STREAMS[shape]
    state = directory / "state"
    tls = f'tls = true\nca_file = "{trusts}"' if trusts else ""
    settings.write_text(
        _DAEMON.format(broker=port, http=http, state=state, qos=qos, stream=stream, tls=tls)
    )
    with _child("-m", "anomalyd", "run", "--config", str(settings), speaks=False) as daemon:
        deadline = time.monotonic() + 60
        while metric(http, "anomalyd_mqtt_connected") != 1.0:
            if time.monotonic() > deadline:
                raise TimeoutError("the daemon did not connect within 60 s")
            time.sleep(0.1)
        yield daemon, http


def speaking(
    port: int, channels: int, qos: int, rate: float, seconds: float, shape: str = "json"
) -> AbstractContextManager[Child]:
    """A plant that is ready to send its two stretches."""
    about = [str(each) for each in (port, channels, qos, rate, seconds, shape)]
    return _child("-m", "tests.benchmarks.load", *about)


def stretch(plant: Child) -> tuple[int, float]:
    """Let the plant send the next one: readings, and what it took."""
    sent, took_s = _answer(plant).split()
    return int(sent), float(took_s)


def ask(bare: Child) -> int:
    """Messages that the bare subscriber has seen."""
    return int(_answer(bare))


def settle(http: int) -> float:
    """Wait until nothing more is scored; when that was, on time.monotonic."""
    seen, since = -1.0, time.monotonic()
    while True:
        now = metric(http, SCORED)
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > 2.0:  # a page is served again for a while
            return since
        time.sleep(0.2)


@contextmanager
def _child(*arguments: str, speaks: bool = True) -> Iterator[Child]:
    """A Python program until the end of the block; one that `speaks` has said that it is ready."""
    pipe = subprocess.PIPE if speaks else subprocess.DEVNULL
    child = subprocess.Popen(
        [sys.executable, *arguments], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    )
    with child:
        try:
            if child.stdout is not None:
                child.stdout.readline()
            yield child
        finally:
            child.terminate()
            child.wait(20)


def _answer(child: Child) -> str:
    """To a line on its stdin."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    return child.stdout.readline()


def metric(http: int, name: str) -> float:
    """Of the daemon; -1 where it doesn't answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return -1.0
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else -1.0


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
