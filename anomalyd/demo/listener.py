"""What the demo hears of the daemon: its events, the scores of one channel, and its metrics.

`demo.py` uses it on the main thread. Messages arrive on paho's thread, whose callback stamps and
enqueues them and returns; they are decoded by whoever takes them. It publishes nothing.
"""

from __future__ import annotations

import http
import http.client
import math
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from anomalyd.demo.ledger import Alert
from anomalyd.demo.plot import Point

_HTTP_TIMEOUT_S: Final = 2.0


class _Score(msgspec.Struct, frozen=True):
    value: float | None
    state: str
    lower: float | None = None
    upper: float | None = None
    score: float | None = None


@dataclass(frozen=True)
class Heard:
    """One message: an alert's transition, or a verdict of the watched channel."""

    at: float
    """When it arrived, on the clock that was given."""
    alert: Alert | None = None
    point: Point | None = None
    scored: bool = False


class Listener:
    """Subscribed to `<prefix>/event` and to the scores of one channel at a time.

    Owns paho's client and its thread. The queue between that thread and the caller is unbounded:
    the demo's own daemon is the only source, and it is drained with every step.
    """

    def __init__(self, host: str, port: int, prefix: str, clock: Callable[[], float]) -> None:
        """`prefix` is the daemon's: `anomalyd/<instance>`."""
        self._address = (host, port)
        self._prefix = prefix
        self._clock = clock
        self._watched = ""
        self._queue: queue.SimpleQueue[tuple[float, str, bytes]] = queue.SimpleQueue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect(*self._address)
        self._client.subscribe(f"{self._prefix}/event", qos=1)
        self._client.loop_start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def watch(self, channel: str) -> None:
        """Hear the scores of `channel`, and no longer those of the one before."""
        if self._watched:
            self._client.unsubscribe(self._score_topic(self._watched))
        self._client.subscribe(self._score_topic(channel), qos=0)
        self._watched = channel

    def take(self) -> Iterator[Heard]:
        """All that has arrived and not been taken, oldest first."""
        while True:
            try:
                at, topic, payload = self._queue.get_nowait()
            except queue.Empty:
                return
            if topic == f"{self._prefix}/event":
                yield Heard(at, alert=msgspec.json.decode(payload, type=Alert))
            elif topic == self._score_topic(self._watched):
                yield _verdict(at, msgspec.json.decode(payload, type=_Score))

    def _score_topic(self, channel: str) -> str:
        return f"{self._prefix}/score/{channel}"

    def _on_message(self, client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        self._queue.put((self._clock(), message.topic, bytes(message.payload)))


def scrape(host: str, port: int) -> dict[str, float]:
    """Every series of `/metrics`: name with labels -> value. Empty if it doesn't answer."""
    page = fetch(host, port, "/metrics")
    lines = (line for line in (page or "").splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def fetch(host: str, port: int, path: str) -> str | None:
    """The page, if it is answered with 200."""
    connection = http.client.HTTPConnection(host, port, timeout=_HTTP_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        page = answer.read().decode("utf-8")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return page if answer.status == http.HTTPStatus.OK else None


def _verdict(at: float, score: _Score) -> Heard:
    value, lower, upper = (
        math.nan if number is None else number for number in (score.value, score.lower, score.upper)
    )
    point = Point(value, lower, upper, firing=score.state == "firing")
    return Heard(at, point=point, scored=score.score is not None)
