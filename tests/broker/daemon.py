"""The real daemon as a child process, and somebody who hears what it says.

Tests start it against a real broker, on a free HTTP port, with a configuration of its own. They
wait by polling with a deadline; nothing here sleeps for a fixed time.
"""

import os
import queue
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from anomalyd.demo.child import Child
from anomalyd.demo.listener import fetch, scrape
from anomalyd.demo.publisher import Message, Publisher, payload
from tests.programs import Mosquitto, free_port

HOST = "127.0.0.1"
WITHIN_S = 20.0

PLANT = """
[[streams]]
topic = "plant/{line}/{machine}/{sensor}"
value = "value"
time = "ts"
"""

_CONFIG = """
[mqtt]
port = {broker}
reconnect_max_s = 1.0
[http]
port = {http}
[state]
directory = "{state}"
save_every_s = 0.5
[log]
format = "plain"
{more}
"""

_CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04pour"
_CONNACK, _PINGREQ, _PINGRESP = b"\x20\x02\x00\x00", b"\xc0\x00", b"\xd0\x00"

# What would reach the daemon from the shell, or from the systemd, that the tests run under. Without
# its bytecode it takes a fifth longer to start than where it is installed.
_FOREIGN = (
    "ANOMALYD_", "NOTIFY_", "WATCHDOG_", "CREDENTIALS_", "JOURNAL_", "PYTHONDONTWRITEBYTECODE",
)  # fmt: skip


class Daemon(Child):
    """`anomalyd run`. Use it as a context manager: it is stopped at the end."""

    def __init__(
        self,
        directory: Path,
        broker_port: int,
        more: str = PLANT,
        environment: Mapping[str, str] | None = None,
        http_port: int | None = None,
        state: Path | None = None,
        program: Sequence[str] = ("-m", "anomalyd", "run", "--config"),
    ) -> None:
        """`more`: the streams, and what else the configuration has. `state`: its state directory,
        by default one for all daemons of `directory`. `program`: what Python runs,
        with the path of the configuration behind it."""
        self.http_port = http_port or free_port()
        state = state or directory / "state"
        config = directory / f"daemon-{self.http_port}.toml"
        config.write_text(
            _CONFIG.format(broker=broker_port, http=self.http_port, state=state, more=more)
        )
        command: list[str | Path] = [sys.executable, *program, config]
        log = config.with_suffix(".log")
        super().__init__("anomalyd", command, log, own_environment(environment or {}))

    def wait_healthy(self) -> None:
        self.wait_until(lambda: self.page("/-/healthy") is not None, WITHIN_S)

    def wait_ready(self) -> None:
        self.wait_until(lambda: self.page("/-/ready") is not None, WITHIN_S)

    def wait_for(self, metric: str, value: float) -> None:
        """Return once `metric` is `value` or more."""
        self.wait_until(lambda: self.metric(metric) >= value, WITHIN_S)

    def page(self, path: str) -> str | None:
        """What it answers with 200."""
        return fetch(HOST, self.http_port, path)

    def metrics(self) -> dict[str, float]:
        """Every series: name with labels -> value."""
        return scrape(HOST, self.http_port)

    def metric(self, name: str) -> float:
        """One series; 0 where there is none yet."""
        return self.metrics().get(name, 0.0)

    def rejected(self) -> dict[str, int]:
        """reason -> count, of what was refused at all."""
        head = 'anomalyd_rejected_total{reason="'
        found = {
            name.removeprefix(head).removesuffix('"}'): int(value)
            for name, value in self.metrics().items()
            if name.startswith(head)
        }
        return {reason: count for reason, count in found.items() if count}

    def raised(self) -> int:
        """Alerts raised since its start."""
        return int(
            sum(
                value
                for name, value in self.metrics().items()
                if name.startswith("anomalyd_alerts_total") and 'transition="raised"' in name
            )
        )

    def kill(self) -> int:
        """SIGKILL; its exit status."""
        os.kill(self.pid, signal.SIGKILL)
        return self.stop()

    def text(self) -> str:
        """All that it wrote on stdout and stderr."""
        return self.log.read_text(encoding="utf-8", errors="replace")


class Heard(NamedTuple):
    """A message."""

    topic: str
    payload: bytes
    retained: bool

    @property
    def document(self) -> Any:
        """What its JSON says."""
        return msgspec.json.decode(self.payload)


class Subscriber:
    """Hears everything on some topics, again after every connect."""

    def __init__(self, broker: Mosquitto, *topics: str) -> None:
        self._address = (broker.host, broker.port)
        self._topics = topics
        self._heard: queue.SimpleQueue[Heard | None] = queue.SimpleQueue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect(*self._address)
        self._client.loop_start()
        assert self._heard.get(timeout=WITHIN_S) is None, "subscribed"
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for(self, wanted: Callable[[Heard], bool]) -> Heard:
        """The next message that is `wanted`; others are dropped."""
        return next(heard for heard in self.heard() if wanted(heard))

    def heard(self) -> Iterator[Heard]:
        """Messages as they come; an AssertionError when there is none for too long."""
        deadline = time.monotonic() + WITHIN_S
        while True:
            try:
                found = self._heard.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"heard nothing more on {self._topics}") from None
            if found is not None:
                yield found

    def _on_connect(self, client: paho.Client, *about: Any) -> None:
        client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(self, *about: Any) -> None:
        self._heard.put(None)

    def _on_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        self._heard.put(Heard(message.topic, bytes(message.payload), message.retain))


def scored_ever(state: Path) -> int:
    """Readings scored over all restarts, as the newest generation in that state directory says."""
    newest = sorted((state / "state").glob("*.json"))[-1]
    manifest = msgspec.json.decode(newest.read_bytes().partition(b"\n")[2])
    return int(manifest["about"]["readings"])


def own_environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what is meant for a daemon, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | dict(more)


def publish(broker: Mosquitto, messages: Iterable[Message]) -> int:
    """Send at full speed; returns how many when the broker has confirmed them all."""
    with Publisher(broker.host, broker.port, qos=1) as publisher:
        publisher.send(messages)
        deadline = time.monotonic() + WITHIN_S
        while publisher.published < publisher.sent:
            assert time.monotonic() < deadline, "the broker has not confirmed everything"
            time.sleep(0.01)
        return publisher.sent


def pour(broker: Mosquitto, messages: Iterable[Message]) -> None:
    """Publish with QoS 0 at the speed of the socket; returns when the broker has taken it all."""
    with socket.create_connection((broker.host, broker.port), timeout=WITHIN_S) as connection:
        connection.sendall(_CONNECT)
        assert _CONNACK == connection.recv(4, socket.MSG_WAITALL)
        connection.sendall(b"".join(packet(*message) for message in messages))
        connection.sendall(_PINGREQ)
        assert _PINGRESP == connection.recv(2, socket.MSG_WAITALL)


def packet(topic: str, payload: bytes) -> bytes:
    """A PUBLISH of QoS 0 as MQTT 3.1.1 has it."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + payload
    head = bytearray([0x30])
    left = len(body)
    while left > 127:
        head.append(left & 127 | 128)
        left >>= 7
    head.append(left)
    return bytes(head) + body


def reading(channel: str, time_s: float, value: float) -> Message:
    """A reading on the wire."""
    return f"plant/{channel}", payload(time_s, value)
