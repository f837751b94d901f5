"""A paho client that reads its socket in large pieces, and takes the plain readings out of them.

paho reads every packet with three small `recv` calls and one `select`, and makes an object of each
message; that is most of what a message costs. The socket here reads ahead, finds the packets in
what it has (MQTT 3.1.1, sections 2.2 and 3.3), hands each message of QoS 0 straight on, and leaves
everything else to paho: the connection, subscriptions, pings, and all that is acknowledged.

paho has no public way to put a socket in place (paho.mqtt.python issue 873), so `_create_socket` is
overridden here and nowhere else; where a later paho no longer calls it, the plain socket serves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

_READ_AHEAD = 65_536
_PACKETS_A_TURN = 1000
_PUBLISH_QOS_0 = 0x30  # the upper four bits are the type, the lower ones DUP, QoS and RETAIN
_TYPE_AND_QOS = 0xF6

OnPublish = Callable[[str, bytes, bool], None]
"""topic, payload, retained"""


def _text(topic: bytes | bytearray) -> str:
    """A topic as text; one that is no UTF-8, which no broker may pass on, matches no stream."""
    try:
        return topic.decode()
    except UnicodeDecodeError:
        return "\ufffd"


class BufferedSocket:
    """Reads ahead; everything but reading goes to the socket behind it. Used by paho's thread."""

    def __init__(self, socket: Any, on_publish: OnPublish | None = None) -> None:
        """`on_publish`: takes the messages of QoS 0; without it they are paho's too."""
        self._socket = socket
        self._on_publish = on_publish
        self._unread = bytearray()
        """what is no whole packet yet"""
        self._ahead = b""
        """packets for paho, and how far it has read them"""
        self._at = 0

    def recv(self, size: int) -> bytes:
        """As `socket.recv`: up to `size` bytes, b"" at the end, BlockingIOError for not yet."""
        if self._at == len(self._ahead):
            read = self._socket.recv(_READ_AHEAD)
            if not read:
                return b""
            self._ahead, self._at = self._sort(read), 0
            if not self._ahead:
                raise BlockingIOError
        start = self._at
        self._at = min(start + size, len(self._ahead))
        return self._ahead[start : self._at]

    def pending(self) -> int:
        """Bytes that can be had without asking the kernel."""
        behind = getattr(self._socket, "pending", None)
        return len(self._ahead) - self._at + (behind() if behind else 0)

    def _sort(self, read: bytes) -> bytes:
        """Hand on the messages of QoS 0; what is left for paho."""
        if self._on_publish is None:
            return read
        unread, rest = self._unread, []
        unread += read
        at, size = 0, len(unread)
        while at + 1 < size:
            # The remaining length: seven bits a byte, the lowest first.
            body, length, shift = at + 2, unread[at + 1], 7
            while length >> shift and body < size and shift < 28:
                length = (length & ((1 << shift) - 1)) | (unread[body] << shift)
                body, shift = body + 1, shift + 7
            if length >> shift:
                if shift == 28:  # not MQTT: paho knows what to do
                    self._on_publish = None
                    rest.append(bytes(unread[at:]))
                    at = size
                break
            end = body + length
            if end > size:
                break
            plain = unread[at] & _TYPE_AND_QOS == _PUBLISH_QOS_0 and length >= 2
            name = body + 2 + (unread[body] << 8 | unread[body + 1]) if plain else end + 1
            if name <= end:
                topic, payload = _text(unread[body + 2 : name]), bytes(unread[name:end])
                self._on_publish(topic, payload, bool(unread[at] & 1))
            else:
                rest.append(bytes(unread[at:end]))
            at = end
        del unread[:at]
        return b"".join(rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class BufferedClient(paho.Client):
    """paho's client on a `BufferedSocket`."""

    on_publish_received: OnPublish | None = None
    """takes the messages of QoS 0, on paho's thread, where paho would call `on_message`"""

    def _create_socket(self) -> Any:
        return BufferedSocket(super()._create_socket(), self.on_publish_received)

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
