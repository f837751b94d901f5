"""Alerts on their way to a broker that is killed, or over a network that is cut, again and again.

The real MQTT client, courier and database against a real mosquitto, through a proxy; alerts are
made here, without a pipeline. Before every fault some are raised and cleared, so that they are at
every stage of their way when it strikes. Somebody listens beside the proxy; when the broker was
killed he is back before the proxy opens. At the end everything made must have been heard as an
event, in order for each channel, and the broker must retain the newest state of every channel that
has an open alert, and show no other as open.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from anomalyd.adapters.mqtt import MqttClient
from anomalyd.adapters.outbox import Transition
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.courier import Courier
from anomalyd.settings import Alerts, Mqtt
from tests.broker.daemon import Subscriber, publish
from tests.conftest import OPEN_TO_ALL
from tests.faults.proxy import Proxy
from tests.faults.table import Row
from tests.programs import Mosquitto, running

ROOT = "anomalyd/main"
CHANNELS = 20
A_ROUND = 10
WITHIN_S = 30.0

Made = dict[str, list[tuple[str, str]]]
"""channel -> (id, raised or cleared), in order"""


class Listener:
    """Hears events, beside the proxy."""

    def __init__(self, broker: Mosquitto) -> None:
        self.heard: list[tuple[str, str, str]] = []
        """(channel, id, transition)"""
        self.ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *about: client.subscribe(f"{ROOT}/event", 1)
        self._client.on_disconnect = lambda *about: self.ready.clear()
        self._client.on_subscribe = lambda *about: self.ready.set()
        self._client.on_message = self._on_message
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        alert = msgspec.json.decode(message.payload)
        self.heard.append((alert["channel"], alert["id"], alert["transition"]))

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Plant:
    """Makes alerts: each channel is raised, updated, cleared, raised anew."""

    def __init__(self, courier: Courier, seed: int) -> None:
        self.made: Made = {f"l/m/{at}": [] for at in range(CHANNELS)}
        self._courier = courier
        self._random = random.Random(seed)  # noqa: S311 - when a fault strikes is no secret
        self._number = itertools.count()

    def speak(self, transitions: int) -> None:
        for _ in range(transitions):
            channel = self._random.choice(list(self.made))
            made = self.made[channel]
            if not made or made[-1][1] == "cleared":
                self._tell(channel, f"id-{next(self._number)}", "raised")
            else:
                self._tell(channel, made[-1][0], self._random.choice(["updated", "cleared"]))

    def _tell(self, channel: str, identity: str, what: str) -> None:
        alert = {"id": identity, "transition": what, "channel": channel, "n": next(self._number)}
        if what != "updated":
            self.made[channel].append((identity, what))
        topic, document = f"{ROOT}/alert/{channel}", msgspec.json.encode(alert)
        at_s = float(alert["n"])  # type: ignore[arg-type]
        transition = Transition(0, identity, channel, "residual", topic, what, at_s, document)
        assert not self._courier.put([transition])


class Scene:
    """All of it, running."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.broker = Mosquitto(directory, OPEN_TO_ALL)
        self.directory = directory
        self.random = random.Random(seed)  # noqa: S311 - when a fault strikes is no secret

    @contextmanager
    def running(self) -> Iterator[Scene]:
        with running(self.broker), Proxy(self.broker.port) as self.proxy:
            self.listener = Listener(self.broker)
            settings = Mqtt(port=self.proxy.port, reconnect_max_s=1, keepalive_s=2)
            self.mqtt = MqttClient(
                settings, "main", None, (), lambda: b"{}", b"{}",
                lambda topic, payload, retained, ticket: (
                    self.courier.saw(topic, payload) if retained else None
                ),
            )  # fmt: skip
            self.courier = Courier(ROOT, self.directory, Alerts(), self.mqtt, Conditions())
            self.plant = Plant(self.courier, self.random.randrange(2**31))
            wait(self.listener.ready.is_set)
            self.courier.start()
            self.mqtt.start()
            try:
                yield self
            finally:
                self.courier.stop(2.0)
                self.mqtt.stop()
                self.listener.stop()

    def row(self, fault: str, times: int) -> Row:
        """What came of it, once all is published."""
        made = self.plant.made
        wait(lambda: self.courier.unpublished == 0)
        count = sum(len(each) for each in made.values())
        counted = Counter(each for each in self.listener.heard if each[2] != "updated")
        wanted = {(name, *each) for name, every in made.items() for each in every}
        wait(lambda: wanted <= set(self.listener.heard), 5.0)
        counted = Counter(each for each in self.listener.heard if each[2] != "updated")
        lost = len(wanted - counted.keys())
        lost += sum(_first_heard(self.listener, name) != each for name, each in made.items())
        lost += self._wrongly_retained()
        false = len(
            {each[1] for each in self.listener.heard if each[1]} - {each[1] for each in wanted}
        )
        repeats = counted.total() - len(counted)
        note = f"{count} raised and cleared, {repeats} told again by the same id"
        return Row(fault, times, lost, false_alarms=false, note=note)

    def _wrongly_retained(self) -> int:
        """Channels that the broker shows as open and aren't, or that it should and doesn't."""
        newest = {name: each[-1] for name, each in self.plant.made.items() if each}
        standing = {(name, at[0]) for name, at in newest.items() if at[1] == "raised"}
        wrong: set[tuple[str, str]] = set()

        def right() -> bool:
            nonlocal wrong
            wrong = self._shown() ^ standing
            return not wrong

        wait(right, 10.0)
        return len(wrong)

    def _shown(self) -> set[tuple[str, str]]:
        """(channel, id) of the alerts that are retained as open; a marker comes after them."""
        marker = f"{ROOT}/event"
        with Subscriber(self.broker, f"{ROOT}/alert/#", marker) as retained:
            publish(self.broker, [(marker, b'{"channel": "", "id": "", "transition": "updated"}')])
            heard = list(takewhile(lambda each: each.topic != marker, retained.heard()))
        alerts = [each.document for each in heard if each.payload]
        return {(each["channel"], each["id"]) for each in alerts if each["transition"] != "cleared"}


def broker_killed(directory: Path, times: int, seed: int = 1) -> Row:
    """SIGKILL, and a start from nothing: it keeps no file."""
    with Scene(directory, seed).running() as scene:
        for _ in range(times):
            scene.plant.speak(A_ROUND)
            wait(lambda: scene.mqtt.connected)
            time.sleep(scene.random.uniform(0.0, 0.05))
            scene.broker.kill()
            scene.proxy.close()
            scene.listener.ready.clear()
            scene.plant.speak(A_ROUND)
            scene.broker.start()
            wait(scene.listener.ready.is_set)
            scene.proxy.open()
        return scene.row("broker killed", times)


def network_cut(directory: Path, times: int, seed: int = 1) -> Row:
    """Reset, truncated in the middle of a packet, delayed, or stalled until it is reset."""
    with Scene(directory, seed).running() as scene:
        proxy = scene.proxy
        faults: tuple[Callable[[], None], ...] = (
            proxy.reset, proxy.truncate, proxy.delay, proxy.stall, proxy.close
        )  # fmt: skip
        for _ in range(times):
            wait(lambda: scene.mqtt.connected)
            scene.plant.speak(A_ROUND)
            scene.random.choice(faults)()
            scene.plant.speak(A_ROUND)
            time.sleep(scene.random.uniform(0.0, 0.2))
            proxy.reset()
            proxy.open()
        return scene.row("network cut", times)


def _first_heard(listener: Listener, channel: str) -> list[tuple[str, str]]:
    """What was heard of a channel, each once, in the order in which it was first heard."""
    told = [each[1:] for each in listener.heard if each[0] == channel and each[2] != "updated"]
    return list(dict.fromkeys(told))


def wait(condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
