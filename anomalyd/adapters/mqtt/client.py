"""The broker: subscriptions, readings in, documents out, and staying connected for ever.

paho runs its own thread. Its callbacks here put one thing in a queue or change one attribute and
return: an exception in one would end that thread while paho still says that it is connected.
Subscribing happens at every connect, because the broker may have forgotten the session.

A message of QoS 1 is the broker's until it is acknowledged, by whoever has scored it; QoS 2 is
acknowledged by the time it is handed on.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from anomalyd.adapters.mqtt.buffered import BufferedClient, OnPublish
from anomalyd.errors import ConfigError
from anomalyd.settings import Mqtt

log = logging.getLogger("anomalyd.adapters.mqtt")

Delivery = paho.MQTTMessageInfo
"""of a document with QoS 1: `is_published()` once the broker has acknowledged it"""

_MOST_QUEUED = 20_000
_GOODBYE_S = 2.0
_ANSWERS = 8  # more than are waited for at a time; ids are used again after 65 535 packets
_STILL_S, _LONGEST_S = 0.2, 2.5


class Echo(NamedTuple):
    """A question that the broker has answered: what it had sent before that is here."""

    asked_s: float
    answered_s: float
    """monotonic seconds"""


class _Question(NamedTuple):
    connects: int
    mid: int | None
    asked_s: float


class MqttClient:
    """Owner of the connection. `start()`, `stop_listening()`, `stop()`, once each, from one thread.

    `publish` may be called from any thread: paho guards its queue.
    """

    def __init__(
        self,
        settings: Mqtt,
        instance: str,
        password: str | None,
        subscriptions: Sequence[str],
        birth: Callable[[], bytes],
        will: bytes,
        on_message: OnPublish,
        hold: Callable[[], bool] = lambda: False,
    ) -> None:
        """`on_message(topic, payload, retained, ticket)` is called on paho's thread and must not
        wait; a ticket that isn't 0 is to be handed to `acknowledge` once. `hold`: nothing is read
        from the broker while that is True. Raises ConfigError where the files for TLS are unfit."""
        self.connected = False
        self.connects = 0
        self.subscribed = False
        """the broker has answered to what this connection subscribes to: it sends what comes"""
        self.refused_topics: tuple[str, ...] = ()
        """subscriptions that the broker refused at the last connect"""
        self.refused_publish = ""
        """why the broker refused what was published since the last connect; with MQTT 3.1.1 it
        never says"""
        self._settings = settings
        self._subscriptions = list(dict.fromkeys(subscriptions))
        self._birth = birth
        self._will = will
        self._on_message = on_message
        self._hold = hold
        self._status_topic = f"{settings.topic_prefix}/{instance}/status"
        self._client_id = settings.client_id or f"anomalyd-{instance}"
        self._client = self._build(password)
        self._stopping = False
        self._received = 0
        self._answered = False
        """the broker let us in, or said that it doesn't"""
        self._answers: tuple[tuple[int, float], ...] = ()
        """the broker's newest ones, of paho's thread: to which request, and when"""
        self._question: _Question | None = None
        """of the thread that asks"""
        self._subscribed: int | None = None
        """id of the last request for the subscriptions, not for what is listened to beside them"""
        self._refused: set[str] = set()

    @property
    def alive(self) -> bool:
        """The network thread runs."""
        name = f"paho-mqtt-client-{self._client_id}"
        return any(thread.name == name for thread in threading.enumerate())

    def start(self) -> None:
        """Returns at once; the connection is made, and made again, in the background."""
        settings, five = self._settings, {}
        if settings.version == "5":
            properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = settings.session_expiry_s * settings.keeps_session
            for each in settings.user_properties:
                name, _, value = each.partition("=")
                properties.UserProperty = (name, value)
            five = {"clean_start": not settings.keeps_session, "properties": properties}
        self._client.connect_async(settings.host, settings.port, settings.keepalive_s, **five)
        self._client.loop_start()

    def acknowledge(self, tickets: Sequence[int]) -> None:
        """These are scored, and would survive; from any thread. Tickets of earlier connections, and
        0, are left out: the broker sends those messages again."""
        self._client.acknowledge(tickets)

    def ask(self) -> None:
        """Have the broker answer, unless it owes one over this connection. Like `echo`, from one
        thread."""
        asked = self._question
        if self.connected and (asked is None or asked.connects != self.connects):
            now_s, connects = time.monotonic(), self.connects
            # Nobody is subscribed to that: the answer is all that comes of it.
            _, mid = self._client.unsubscribe(self._status_topic)
            self._question = _Question(connects, mid, now_s)

    def echo(self) -> Echo | None:
        """The answer, once it is here, and once."""
        asked = self._question
        answered_s = self._answered_s(asked.mid) if asked else None
        if asked is None or answered_s is None:
            return None
        self._question = None
        return Echo(asked.asked_s, answered_s)

    def _answered_s(self, mid: int | None) -> float | None:
        return next((at_s for each, at_s in self._answers if each == mid), None)

    def stop_listening(self) -> None:
        """Wait for what the broker had before: until it has answered and nothing has come for a
        while, but not for long. Where it keeps the session, it stays subscribed: what comes later
        is for the next start, and there is no end to wait for."""
        self._stopping = True
        if not (self._subscriptions and self.connected):
            return
        if self._settings.keeps_session:
            # It answers in order, so all that it had sent before is here then; but while nothing is
            # read, the answer isn't either.
            _, mid = self._client.unsubscribe([self._status_topic])
            self._wait(lambda: self._answered_s(mid) is not None or self._hold())
            return
        _, mid = self._client.unsubscribe(self._subscriptions)
        received, begin = self._received, time.monotonic()
        now = still_since = begin
        while self.connected and now - still_since < _STILL_S and now - begin < _LONGEST_S:
            time.sleep(0.01)
            now = time.monotonic()
            if self._answered_s(mid) is None or self._received != received:
                received, still_since = self._received, now

    def _wait(self, done: Callable[[], bool]) -> None:
        begin = time.monotonic()
        while self.connected and not done() and time.monotonic() - begin < _LONGEST_S:
            time.sleep(0.005)

    def stop(self) -> None:
        """Publish that the daemon goes offline, then disconnect."""
        self._stopping = True
        if self.connected:
            goodbye = self._client.publish(self._status_topic, self._will, qos=1, retain=True)
            deadline = time.monotonic() + _GOODBYE_S
            while not goodbye.is_published() and self.connected and time.monotonic() < deadline:
                time.sleep(0.005)
        self._client.disconnect()
        self._client.loop_stop()

    def reconnect(self) -> None:
        """Give up a connection over which nothing comes; the network thread makes a new one."""
        connection = self._client.socket()
        if connection is not None:
            # By its number: TLS would wait for the other side's goodbye.
            with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as plain:
                plain.shutdown(socket.SHUT_RDWR)

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> bool:
        """Hand a document to the network thread; False where its queue is full.

        With QoS 1 it is kept over reconnects until the broker has it.
        """
        queued = self._client.publish(topic, payload, qos=qos, retain=retain)
        return queued.rc != paho.MQTT_ERR_QUEUE_SIZE

    def send(self, topic: str, payload: bytes, retain: bool) -> Delivery | None:
        """As `publish` with QoS 1, to follow it until the broker has it; None where the queue is
        full. (paho counts message ids of all QoS together, so its callback with an id alone could
        be of another message.)"""
        delivery = self._client.publish(topic, payload, qos=1, retain=retain)
        if delivery.rc == paho.MQTT_ERR_QUEUE_SIZE:
            return None
        # Without a connection paho keeps it, but `is_published` would raise for ever.
        delivery.rc = paho.MQTT_ERR_SUCCESS
        return delivery

    def listen(self, topics: Sequence[str]) -> None:
        """Hear these too, until `unlisten`; what is retained there comes first."""
        self._client.subscribe([(topic, 0) for topic in topics])

    def unlisten(self, topics: Sequence[str]) -> None:
        self._client.unsubscribe(list(topics))

    def _build(self, password: str | None) -> BufferedClient:
        settings = self._settings
        five = settings.version == "5"
        client = BufferedClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if five else not settings.keeps_session,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            transport=settings.transport,
            manual_ack=True,
        )
        client.brokers = settings.brokers
        if settings.transport == "websockets":
            client.ws_set_options(settings.websocket_path)
        if settings.tls:
            self._secure(client)
        if self._settings.username:
            client.username_pw_set(self._settings.username, password)
        client.reconnect_delay_set(self._settings.reconnect_min_s, self._settings.reconnect_max_s)
        client.max_queued_messages_set(_MOST_QUEUED)
        client.max_inflight_messages_set(1000)
        client.will_set(self._status_topic, self._will, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_message = self._on_paho_message
        client.on_publish_received = self._on_publish_received
        client.hold = self._hold
        return client

    def _secure(self, client: BufferedClient) -> None:
        named = ("ca_file", "cert_file", "key_file")
        files = {name: getattr(self._settings, name) for name in named}
        for name, file in files.items():
            if file is not None and not os.access(file, os.R_OK):
                raise ConfigError(f"mqtt.{name} = {file}: can't be read")
        try:
            ca, cert, key = (str(file) if file is not None else None for file in files.values())
            client.tls_set(ca, cert, key)
        except (ssl.SSLError, ValueError, OSError) as error:
            given = ", ".join(f"{name} = {file}" for name, file in files.items() if file)
            raise ConfigError(f"mqtt: {given}: {error}") from error

    @property
    def _where(self) -> str:
        return f"{self._client.host}:{self._client.port}"

    # --- on paho's thread -------------------------------------------------------------------

    def _on_publish_received(self, topic: str, payload: bytes, retained: bool, ticket: int) -> None:
        self._received += 1
        self._on_message(topic, payload, retained, ticket)

    def _on_paho_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "\ufffd"
        ticket = self._client.ticket(message.mid, message.dup) if message.qos == 1 else 0
        self._on_publish_received(topic, bytes(message.payload), message.retain, ticket)
        if message.qos == 2:
            client.ack(message.mid, 2)

    def _on_connect(
        self, client: paho.Client, data: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        where, self._answered = self._where, True
        if reason.is_failure:
            self._tell_once(f"broker={where} refused the connection: {reason}")
            return
        self.connects += 1
        self.connected = self._client.reached = True
        self._refused.clear()
        self.refused_publish = ""
        log.info("broker=%s connected", where)
        self.subscribed = not self._subscriptions
        if self._subscriptions and not self._stopping:
            qos: int = self._settings.qos
            wanted = [(topic, qos) for topic in self._subscriptions]
            _, self._subscribed = client.subscribe(wanted)
        client.publish(self._status_topic, self._birth(), qos=1, retain=True)

    def _on_connect_fail(self, client: paho.Client, data: Any) -> None:
        failure = self._client.failure
        why = f" ({failure})" if isinstance(failure, ssl.SSLError) else ""
        self._tell_once(f"broker={self._where} can't be reached{why}; trying again for ever")

    def _on_disconnect(
        self, client: paho.Client, data: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        was_connected, self.connected = self.connected, False
        self.subscribed = False
        answered, self._answered = self._answered, False
        if not answered and not self._stopping:
            # With TLS 1.3, that is also how a broker refuses a certificate.
            self._tell_once(f"broker={self._where} closed the connection before it let us in")
        if was_connected and not self._stopping:
            log.warning("broker connection lost (%s); connecting again", reason)

    def _on_publish(
        self, client: paho.Client, data: Any, mid: int, reason: ReasonCode, properties: Any
    ) -> None:
        # The id is of no use: paho counts those of all QoS together.
        if reason.is_failure and not self.refused_publish:
            self.refused_publish = str(reason)
            own = self._status_topic.rpartition("/")[0]
            log.error(
                "topic=%s/# publishing refused by the broker: %s; alerts reach nobody", own, reason
            )

    def _on_subscribe(
        self, client: paho.Client, data: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        if mid != self._subscribed:
            return
        answers = list(zip(self._subscriptions, reasons, strict=False))
        self.refused_topics = tuple(topic for topic, reason in answers if reason.is_failure)
        for topic, reason in answers:
            if reason.is_failure:
                log.error("topic=%s subscription refused by the broker: %s", topic, reason)
        self.subscribed = True

    def _on_unsubscribe(
        self, client: paho.Client, data: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        self._answers = (*self._answers[1 - _ANSWERS :], (mid, time.monotonic()))

    def _tell_once(self, what: str) -> None:
        """A broker that is away for a night is one line, not thousands."""
        if what not in self._refused:
            self._refused.add(what)
            log.warning("%s", what)
