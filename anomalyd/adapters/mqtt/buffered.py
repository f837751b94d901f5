"""A paho client that reads its socket in large pieces.

paho reads every packet with three small `recv` calls and one `select`; that is most of what a
message costs. It asks a socket that has `pending()` before it selects, so a socket that holds what
it has read ahead serves many packets from one system call. paho has no public way to put one in
place (paho.mqtt.python issue 873), so `_create_socket` is overridden here and nowhere else; where
a later paho no longer calls it, the plain socket serves.
"""

from __future__ import annotations

from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

_READ_AHEAD = 65_536
_PACKETS_A_TURN = 1000


class BufferedSocket:
    """Reads ahead; everything but reading goes to the socket behind it. Used by paho's thread."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._ahead = b""
        self._at = 0

    def recv(self, size: int) -> bytes:
        """As `socket.recv`: up to `size` bytes, b"" at the end, BlockingIOError for not yet."""
        if self._at == len(self._ahead):
            if size >= _READ_AHEAD:
                return bytes(self._socket.recv(size))
            self._ahead, self._at = self._socket.recv(_READ_AHEAD), 0
        start = self._at
        self._at = min(start + size, len(self._ahead))
        return self._ahead[start : self._at]

    def pending(self) -> int:
        """Bytes that can be had without asking the kernel."""
        behind = getattr(self._socket, "pending", None)
        return len(self._ahead) - self._at + (behind() if behind else 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class BufferedClient(paho.Client):
    """paho's client on a `BufferedSocket`."""

    def _create_socket(self) -> Any:
        return BufferedSocket(super()._create_socket())

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Handle many packets that have been read ahead, not one for each `select`; but not so many
        that a flood keeps paho from its pings."""
        result = super().loop_read(max_packets)
        for _ in range(_PACKETS_A_TURN):
            if result != MQTTErrorCode.MQTT_ERR_SUCCESS or not self._read_ahead():
                break
            result = super().loop_read(max_packets)
        return result

    def _read_ahead(self) -> bool:
        socket = self._sock
        return isinstance(socket, BufferedSocket) and socket.pending() > 0
