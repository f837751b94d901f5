"""The broker: subscriptions, readings in, documents out, and staying connected for ever.

paho runs its own thread. Its callbacks here put one thing in a queue or change one attribute and
return: an exception in one would end that thread while paho still says that it is connected.
Subscribing happens at every connect, because the broker may have forgotten the session.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from anomalyd.adapters.mqtt.buffered import BufferedClient
from anomalyd.settings import Mqtt

log = logging.getLogger("anomalyd.adapters.mqtt")

OnMessage = Callable[[str, bytes, bool], None]
Delivery = paho.MQTTMessageInfo
"""of a document with QoS 1: `is_published()` once the broker has acknowledged it"""

_MOST_QUEUED = 20_000
_GOODBYE_S = 2.0
_STILL_S, _LONGEST_S = 0.2, 2.5


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
        on_message: OnMessage,
    ) -> None:
        """`on_message(topic, payload, retained)` is called on paho's thread and must not wait."""
        self.connected = False
        self.connects = 0
        self.refused_topics: tuple[str, ...] = ()
        """subscriptions that the broker refused at the last connect"""
        self._settings = settings
        self._subscriptions = list(dict.fromkeys(subscriptions))
        self._birth = birth
        self._will = will
        self._on_message = on_message
        self._status_topic = f"{settings.topic_prefix}/{instance}/status"
        self._client_id = settings.client_id or f"anomalyd-{instance}"
        self._client = self._build(password)
        self._stopping = False
        self._received = 0
        self._unsubscribed = False
        self._subscribed: int | None = None
        """id of the last request for the subscriptions, not for what is listened to beside them"""
        self._refused: str | None = None

    @property
    def alive(self) -> bool:
        """The network thread runs."""
        name = f"paho-mqtt-client-{self._client_id}"
        return any(thread.name == name for thread in threading.enumerate())

    def start(self) -> None:
        """Returns at once; the connection is made, and made again, in the background."""
        self._client.connect_async(
            self._settings.host, self._settings.port, self._settings.keepalive_s
        )
        self._client.loop_start()

    def stop_listening(self) -> None:
        """Unsubscribe, and wait for what the broker had before: until it has answered and nothing
        has come for a while, but not for long."""
        self._stopping = True
        if not (self._subscriptions and self.connected):
            return
        self._unsubscribed = False
        self._client.unsubscribe(self._subscriptions)
        received, begin = self._received, time.monotonic()
        now = still_since = begin
        while self.connected and now - still_since < _STILL_S and now - begin < _LONGEST_S:
            time.sleep(0.01)
            now = time.monotonic()
            if not self._unsubscribed or self._received != received:
                received, still_since = self._received, now

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

    def _build(self, password: str | None) -> paho.Client:
        client = BufferedClient(CallbackAPIVersion.VERSION2, client_id=self._client_id)
        if self._settings.username:
            client.username_pw_set(self._settings.username, password)
        client.reconnect_delay_set(self._settings.reconnect_min_s, self._settings.reconnect_max_s)
        client.max_queued_messages_set(_MOST_QUEUED)
        client.max_inflight_messages_set(1000)
        client.will_set(self._status_topic, self._will, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_message = self._on_paho_message
        client.on_publish_received = self._on_publish_received
        return client

    # --- on paho's thread -------------------------------------------------------------------

    def _on_publish_received(self, topic: str, payload: bytes, retained: bool) -> None:
        self._received += 1
        self._on_message(topic, payload, retained)

    def _on_paho_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "\ufffd"
        self._on_publish_received(topic, bytes(message.payload), message.retain)

    def _on_connect(
        self, client: paho.Client, data: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        where = f"{self._settings.host}:{self._settings.port}"
        if reason.is_failure:
            self._tell_once(f"broker={where} refused the connection: {reason}")
            return
        self.connects += 1
        self.connected = True
        self._refused = None
        log.info("broker=%s connected", where)
        if self._subscriptions and not self._stopping:
            qos: int = self._settings.qos
            wanted = [(topic, qos) for topic in self._subscriptions]
            _, self._subscribed = client.subscribe(wanted)
        client.publish(self._status_topic, self._birth(), qos=1, retain=True)

    def _on_connect_fail(self, client: paho.Client, data: Any) -> None:
        where = f"{self._settings.host}:{self._settings.port}"
        self._tell_once(f"broker={where} can't be reached; trying again for ever")

    def _on_disconnect(
        self, client: paho.Client, data: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        was_connected, self.connected = self.connected, False
        if was_connected and not self._stopping:
            log.warning("broker connection lost (%s); connecting again", reason)

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

    def _on_unsubscribe(
        self, client: paho.Client, data: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        self._unsubscribed = True

    def _tell_once(self, what: str) -> None:
        """A broker that is away for a night is one line, not thousands."""
        if what != self._refused:
            self._refused = what
            log.warning("%s", what)
