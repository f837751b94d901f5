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
from dataclasses import dataclass
from pathlib import Path

from tests.programs import Mosquitto, free_port, running

_BARE = """
import sys
import paho.mqtt.client as mqtt
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
count = 0
def connected(client, *rest):
    client.subscribe("plant/#", int(sys.argv[2]))
    print("ready", flush=True)
def received(client, data, message):
    global count
    count += 1
client.on_connect = connected
client.on_message = received
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_start()
sys.stdin.readline()
print(count, flush=True)
sys.stdin.readline()
"""

_DAEMON = """
[mqtt]
port = {broker}
qos = {qos}
[[streams]]
topic = "plant/{{line}}/{{machine}}/{{sensor}}"
value = "value"
time = "ts"
interval_s = 1.0
group_by = ["line", "machine"]
[http]
port = {http}
[state]
directory = "{state}"
"""


@dataclass(frozen=True)
class IngestCost:
    """Microseconds of CPU for each message, on the same stream."""

    messages: int
    daemon_us: float
    bare_us: float

    @property
    def ratio(self) -> float:
        return self.daemon_us / self.bare_us


def measure(
    directory: Path, channels: int, rate: float, seconds: float, qos: int = 0
) -> IngestCost:
    """Let a simulated plant speak; the last `seconds` of it count, after a warm-up as long. The
    bare subscriber acknowledges as paho does, at once; the daemon when readings would survive."""
    config = "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n"
    with running(Mosquitto(directory, config)) as broker:
        http = free_port()
        settings = directory / "bench.toml"
        settings.write_text(
            _DAEMON.format(broker=broker.port, http=http, state=directory / "state", qos=qos)
        )
        bare = _start(["-c", _BARE, str(broker.port), str(qos)])
        daemon = _start(["-m", "anomalyd", "run", "--config", str(settings)])
        try:
            assert bare.stdout is not None
            bare.stdout.readline()
            _wait_for(lambda: _metric(http, "anomalyd_mqtt_connected") == 1.0)
            with _speaking(broker.port, channels, rate, 2 * seconds, qos) as plant:
                time.sleep(seconds)
                before = _metric(http, "anomalyd_readings_scored_total")
                cpu = _cpu_s(daemon.pid), _cpu_s(bare.pid)
                plant.wait()
            _settle(http)
            spent = _cpu_s(daemon.pid) - cpu[0], _cpu_s(bare.pid) - cpu[1]
            messages = int(_metric(http, "anomalyd_readings_scored_total") - before)
        finally:
            for process in (daemon, bare):
                process.terminate()
                process.wait(20)
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()
    return IngestCost(messages, 1e6 * spent[0] / messages, 1e6 * spent[1] / messages)


def _start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _speaking(
    port: int, channels: int, rate: float, seconds: float, qos: int
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "anomalyd", "simulate", "--broker", f"127.0.0.1:{port}"]
    command += [
        "--qos",
        str(qos),
        "--channels",
        str(channels),
        "--rate",
        str(rate),
        "--seconds",
        str(seconds),
    ]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def _settle(http: int) -> None:
    """Wait until nothing more is scored."""
    seen = -1.0
    while (now := _metric(http, "anomalyd_readings_scored_total")) != seen:
        seen = now
        time.sleep(0.5)


def _wait_for(condition: object) -> None:
    deadline = time.monotonic() + 30
    assert callable(condition)
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.1)
    raise TimeoutError("the daemon did not connect within 30 s")


def _metric(http: int, name: str) -> float:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return -1.0
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else -1.0


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
