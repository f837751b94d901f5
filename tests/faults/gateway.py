"""A plant's gateway that costs next to nothing: QoS 1 on a bare socket, piece by piece."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from itertools import islice
from types import TracebackType
from typing import Self

from anomalyd.demo.publisher import Message
from tests.programs import Mosquitto

_PIECE = 1000
_WITHIN_S = 20.0
_CONNACK_BYTES = _PUBACK_BYTES = 4


class Gateway:
    """A connection to `broker` as `client`; `clean`: the broker keeps nothing for it. A connection
    of the same client that is open is cut by the broker."""

    def __init__(self, broker: Mosquitto, client: str, clean: bool = True) -> None:
        """Raises OSError where the broker is away."""
        self._socket = socket.create_connection((broker.host, broker.port), timeout=_WITHIN_S)
        name = client.encode()
        body = (
            b"\x00\x04MQTT\x04" + bytes([2 * clean]) + b"\x00\x3c\x00" + bytes([len(name)]) + name
        )
        self._socket.sendall(bytes([0x10, len(body)]) + body)
        try:
            self._hear(_CONNACK_BYTES)
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, messages: Iterable[Message]) -> int:
        """How many, when the broker has confirmed them all. Raises OSError."""
        waiting, sent = iter(messages), 0
        while piece := list(islice(waiting, _PIECE)):
            self._socket.sendall(b"".join(map(_packet, piece, range(1, _PIECE + 1))))
            self._hear(_PUBACK_BYTES * len(piece))
            sent += len(piece)
        return sent

    def _hear(self, size: int) -> None:
        while size:
            heard = len(self._socket.recv(size))
            if not heard:
                raise ConnectionResetError("the broker has cut the connection")
            size -= heard


def _packet(message: Message, number: int) -> bytes:
    """PUBLISH of QoS 1 as MQTT 3.1.1 has it; none is longer than 127 bytes."""
    topic, payload = message
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + number.to_bytes(2, "big") + payload
    return bytes([0x32, len(body)]) + body
