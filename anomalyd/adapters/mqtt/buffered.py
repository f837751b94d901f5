"""A paho client that reads its socket in large pieces, and takes the plain readings out of them.

paho reads every packet with three small `recv` calls and one `select`, and makes an object of each
message; that is most of what a message costs. The socket here reads ahead, finds the packets in
what it has (MQTT 3.1.1 and 5, sections 2.2 and 3.3), hands each message of QoS 0 and 1 straight on,
and leaves everything else to paho: the connection, subscriptions, pings, and QoS 2.

A message of QoS 1 comes with a ticket, and is acknowledged when somebody hands that back: a packet
id means something only on the connection that it came by, so the ticket knows the connection too.

paho has no public way to put a socket in place (paho.mqtt.python issue 873), to write many
acknowledgements in one piece, or to change the broker while connecting again. The private names
`_create_socket`, `_create_socket_connection`, `_packet_queue`, `_host` and `_port` are touched here
and nowhere else; where a later paho has none of the first three, its own socket and `ack` serve.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

_READ_AHEAD = 65_536
_PACKETS_A_TURN = 1000
_RECORD, _RECORDS_A_TURN = 16_384, 100
"""the longest of TLS, and how many are read before what is in them is handed on"""
_HELD_S = 0.005  # paho's turn goes on after that: it sends, and pings
# The upper four bits are the type, the lower ones DUP, QoS and RETAIN.
_PUBLISH_QOS_0, _PUBLISH_QOS_1 = 0x30, 0x32
_TYPE_AND_QOS, _DUP = 0xF6, 0x08
_QUEUE = "_packet_queue"
_PUBACK, _PUBACK_HEAD = 0x40, 0x4002_0000

TICKET_ID, TICKET_DUP = 0xFFFF, 0x1_0000
_TICKET_CONNECTION = 17
"""bits below the connection's number"""

OnPublish = Callable[[str, bytes, bool, int], None]
"""topic, payload, retained, ticket: 0 where there is nothing to acknowledge; otherwise with the
packet id in `TICKET_ID`, and `TICKET_DUP` where the broker says that it sends it again"""


def _text(topic: bytes | bytearray) -> str:
    """A topic as text; one that is no UTF-8, which no broker may pass on, matches no stream."""
    try:
        return topic.decode()
    except UnicodeDecodeError:
        return "\ufffd"


class BufferedSocket:
    """Reads ahead; everything but reading goes to the socket behind it. Used by paho's thread."""

    def __init__(
        self,
        behind: Any,
        on_publish: OnPublish | None = None,
        connection: int = 0,
        properties: bool = False,
        hold: Callable[[], bool] = lambda: False,
    ) -> None:
        """`behind`: the socket. `on_publish`: takes the messages of QoS 0 and 1; without it they
        are paho's too. `properties`: messages have some, as of MQTT 5. `hold`: read nothing while
        that is True, so that the broker keeps what it has."""
        self._socket = behind
        self._on_publish = on_publish
        self._connection = connection << _TICKET_CONNECTION
        self._properties = properties
        self._hold = hold
        self._records = hasattr(behind, "pending")
        self._unread = bytearray()
        """what is no whole packet yet"""
        self._ahead = b""
        """packets for paho, and how far it has read them"""
        self._at = 0

    def recv(self, size: int) -> bytes:
        """As `socket.recv`: up to `size` bytes, b"" at the end, BlockingIOError for not yet."""
        if self._at == len(self._ahead):
            if self._hold():
                time.sleep(_HELD_S)
                raise BlockingIOError
            read = self._read()
            if not read:
                return b""
            self._ahead, self._at = self._sort(read), 0
            if not self._ahead:
                raise BlockingIOError
        start = self._at
        self._at = min(start + size, len(self._ahead))
        return self._ahead[start : self._at]

    def _read(self) -> bytes:
        """What is there; over TLS that is one record at a time, mostly one message."""
        read: bytes = self._socket.recv(_READ_AHEAD)
        if not self._records or not read:
            return read
        pieces = [read]
        while len(pieces) < _RECORDS_A_TURN:
            try:
                more = self._socket.recv(_RECORD)
            except OSError:  # nothing more yet, or what the next call will say again
                break
            if not more:
                break
            pieces.append(more)
        return b"".join(pieces)

    def pending(self) -> int:
        """Bytes that can be had without asking the kernel."""
        behind = getattr(self._socket, "pending", None)
        return len(self._ahead) - self._at + (behind() if behind else 0)

    def _sort(self, read: bytes) -> bytes:
        """Hand on the messages of QoS 0 and 1; what is left for paho."""
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
            first, kind = unread[at], unread[at] & _TYPE_AND_QOS
            start, ticket, name = end + 1, 0, end
            if length >= 2 and kind in (_PUBLISH_QOS_0, _PUBLISH_QOS_1):
                start = name = body + 2 + (unread[body] << 8 | unread[body + 1])
                if kind == _PUBLISH_QOS_1:
                    start += 2
                    if start <= end:
                        ticket = unread[name] << 8 | unread[name + 1]
                        start = start if ticket else end + 1
                        ticket |= self._connection | (first & _DUP) << 13
                if self._properties:
                    start = _behind_properties(unread, start, end)
            if start <= end:
                topic, payload = _text(unread[body + 2 : name]), bytes(unread[start:end])
                self._on_publish(topic, payload, bool(first & 1), ticket)
            else:
                rest.append(bytes(unread[at:end]))
            at = end
        del unread[:at]
        return b"".join(rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def _behind_properties(packet: bytearray, at: int, end: int) -> int:
    """Where the payload begins: the properties' length is at `at`; beyond `end`: they are wrong."""
    length = shift = 0
    while at < end and shift < 28:
        byte = packet[at]
        length, at, shift = length | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return at + length
    return end + 1


class BufferedClient(paho.Client):
    """paho's client on a `BufferedSocket`. Build it with `manual_ack`."""

    on_publish_received: OnPublish | None = None
    """takes the messages of QoS 0 and 1, on paho's thread, where paho would call `on_message`"""
    hold: Callable[[], bool] = staticmethod(lambda: False)
    """nothing is read from the broker while that is True"""
    brokers: Sequence[tuple[str, int]] = ()
    """host and port of each, to be tried in turn; none: where `connect` says"""
    reached = True
    """the broker let us in: the next try goes to the same; set by who hears that"""

    def __init__(self, *about: Any, **named: Any) -> None:
        super().__init__(*about, **named)
        # Guards the connection's number, and that nothing of an older one is queued on a new one.
        self._connection_lock = threading.Lock()
        self._connection = 0
        self._broker = 0
        self.failure: OSError | None = None
        """why the last try failed"""

    def ticket(self, mid: int, dup: bool) -> int:
        """Of a message that paho handed on itself."""
        return self._connection << _TICKET_CONNECTION | dup * TICKET_DUP | mid

    def acknowledge(self, tickets: Sequence[int]) -> None:
        """Send a PUBACK for each, in order; those of earlier connections are left out. From any
        thread."""
        given = np.array(tickets, dtype=np.int64)
        with self._connection_lock:
            mine = given[(given >> _TICKET_CONNECTION == self._connection) & (given > 0)]
            mids = mine & TICKET_ID
            if not mids.size:
                return
            queue = getattr(self, _QUEUE, None)
            if queue is not None:
                queue(_PUBACK, (mids | _PUBACK_HEAD).astype(">u4").tobytes(), 0, 1)
                return
            for mid in mids.tolist():
                self.ack(mid, 1)

    def reconnect(self) -> MQTTErrorCode:
        """paho calls it for every connection, the first one too."""
        with self._connection_lock:
            self._connection += 1
        if self.brokers:
            self._broker += not self.reached
            self._host, self._port = self.brokers[self._broker % len(self.brokers)]
        self.reached, self.failure = False, None
        try:
            return super().reconnect()
        except OSError as error:
            self.failure = error
            raise

    def _create_socket(self) -> Any:
        return BufferedSocket(
            super()._create_socket(),
            self.on_publish_received,
            self._connection,
            self.protocol == MQTTProtocolVersion.MQTTv5,
            self.hold,
        )

    def _create_socket_connection(self) -> Any:
        connection = super()._create_socket_connection()
        # An alert is two messages. Else the second waits for the broker's delayed ACK of the first,
        # 40 ms (Nagle's algorithm, RFC 896).
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

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
        ahead = self._sock
        return isinstance(ahead, BufferedSocket) and ahead.pending() > 0 and not self.hold()
