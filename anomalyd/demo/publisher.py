"""Sends readings to a broker, as a plant's gateway would, and counts what arrived there.

`simulate.py` and `demo.py` use it from one thread; paho's own thread does the network and calls
back to count. It doesn't make readings and doesn't decide when one is due. A broker that goes away
is connected to again; readings of QoS 0 that fall in between are lost, as a plant's would be.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from anomalyd.errors import ServiceFailed

_CONNECT_WITHIN_S: Final = 10.0
_KEEPALIVE_S: Final = 30
_PATIENCE_S: Final = 1.0  # how long a batch waits for the socket before the next one is made

Message = tuple[str, bytes]


class Publisher:
    """A connection that readings go out on. Owns paho's client and its thread."""

    def __init__(self, host: str, port: int, qos: int = 0, client_id: str = "") -> None:
        self.sent = 0
        self._address = (host, port)
        self._qos = qos
        self._published = 0
        self._connected = threading.Event()
        self._refusal = ""
        self._last: mqtt.MQTTMessageInfo | None = None
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.reconnect_delay_set(1, 5)
        client.max_inflight_messages_set(1000)
        self._client = client

    @property
    def published(self) -> int:
        """Readings that went out on the socket or, with QoS 1 and 2, that the broker confirmed.

        No lock: one thread alone counts up, any thread may read the number.
        """
        return self._published

    def __enter__(self) -> Self:
        where = "{}:{}".format(*self._address)
        try:
            self._client.connect(*self._address, keepalive=_KEEPALIVE_S)
        except OSError as error:
            raise ServiceFailed(f"no broker at {where}: {error}") from error
        self._client.loop_start()
        if not self._connected.wait(_CONNECT_WITHIN_S):
            self._client.loop_stop()
            raise ServiceFailed(f"broker at {where} does not let us in {self._refusal}".rstrip())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._settle()
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, messages: Iterable[Message]) -> None:
        """Send a batch; returns when it is on the socket, or confirmed, or after a short while."""
        for topic, payload in messages:
            self.sent += 1
            self._last = self._client.publish(topic, payload, self._qos)
        self._settle()

    def _settle(self) -> None:
        if self._last is None:
            return
        with contextlib.suppress(RuntimeError, ValueError):  # not connected: lost, or sent later
            self._last.wait_for_publish(_PATIENCE_S)

    def _on_connect(
        self, client: mqtt.Client, data: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            self._refusal = f"({reason})"
            return
        self._connected.set()

    def _on_publish(
        self, client: mqtt.Client, data: Any, mid: int, reason: Any, properties: Any
    ) -> None:
        self._published += 1


def payload(time: float, value: float) -> bytes:
    """A reading as the wire contract has it."""
    return _ENCODER.encode({"ts": round(time, 6), "value": value})


_ENCODER: Final = msgspec.json.Encoder()
