"""The highest rate that is held without a drop, and how late an alert is at half of it.

Readings come one to a message, with QoS 0, from a publisher that costs next to nothing. The bare
paho subscriber's highest rate is what it takes of a flood that waits in the broker; the daemon has
to score all of its own for a minute, and to be done as soon as the publisher is. Latency is from
the publishing of a fault until the alert's event is back, next to the way through the broker alone.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from anomalyd.demo.publisher import payload
from tests.benchmarks import ingest
from tests.programs import Mosquitto, running

_FLOOD = 400_000.0  # readings a second: more than any subscriber takes
_BEHIND_S = 3.0  # what settling takes by itself, and a page of metrics that is served again
_FAULTS = 100
_WARM_READINGS = 200
_ECHO = "bench/echo"


@dataclass(frozen=True)
class Attempt:
    """A rate that was tried for a minute."""

    rate: float
    sent: int
    scored: int
    behind_s: float
    """until all were scored, behind the last one sent"""
    cpu_us: float
    """of the daemon, a reading of the second half"""

    @property
    def held(self) -> bool:
        return self.scored == self.sent and self.behind_s <= _BEHIND_S


@dataclass(frozen=True)
class Bare:
    """The bare subscriber at its highest rate."""

    rate: float
    """messages a second"""
    cpu_us: float
    """a message"""


@dataclass(frozen=True)
class Held:
    """What the daemon held, beside what the bare subscriber takes."""

    bare: Bare
    tried: tuple[Attempt, ...]

    @property
    def highest(self) -> Attempt | None:
        """None: none was held."""
        held = [each for each in self.tried if each.held]
        return max(held, key=lambda each: each.rate, default=None)


@dataclass(frozen=True)
class Latency:
    """Milliseconds, p50 and p99."""

    alerts: int
    event: tuple[float, float]
    """from the publishing of a fault to its alert's event"""
    echo: tuple[float, float]
    """of a message through the broker"""


def bare_on(directory: Path, channels: int, seconds: float = 1.0) -> Bare:
    """What a bare subscriber takes of a flood."""
    with (
        running(Mosquitto(directory, ingest.OPEN)) as broker,
        ingest.subscriber(broker.port, 0) as bare,
        ingest.speaking(broker.port, channels, 0, _FLOOD, seconds) as plant,
    ):
        began, before_s = time.monotonic(), ingest.cpu_s(bare.pid)
        sent, _ = ingest.stretch(plant)
        while ingest.ask(bare) < sent:
            time.sleep(0.02)
        spent_s = ingest.cpu_s(bare.pid) - before_s
        return Bare(sent / (time.monotonic() - began), 1e6 * spent_s / sent)


def measure(directory: Path, channels: int, seconds: float, rates: list[float]) -> Held:
    """Try these shares of the bare subscriber's highest rate until one is held."""
    bare = bare_on(directory, channels)
    tried = []
    for number, share in enumerate(rates):
        folder = directory / str(number)
        folder.mkdir()
        rate = share * bare.rate
        with (
            running(Mosquitto(folder, ingest.OPEN)) as broker,
            ingest.daemon_on(folder, broker.port) as (daemon, http),
            ingest.speaking(broker.port, channels, 0, rate, seconds / 2) as plant,
        ):
            first, _ = ingest.stretch(plant)
            before_s = ingest.cpu_s(daemon.pid)
            second, _ = ingest.stretch(plant)
            ended = time.monotonic()
            behind_s = ingest.settle(http) - ended
            spent_s = ingest.cpu_s(daemon.pid) - before_s
            scored = int(ingest.metric(http, ingest.SCORED))
            cpu_us = 1e6 * spent_s / second
            tried.append(Attempt(rate, first + second, scored, behind_s, cpu_us))
        if tried[-1].held:
            break
    return Held(bare, tuple(tried))


def latency(directory: Path, channels: int, rate: float) -> Latency:
    """A fault every tenth of a second, on a channel of its own, beside `rate` other readings."""
    with (
        running(Mosquitto(directory, ingest.OPEN)) as broker,
        ingest.daemon_on(directory, broker.port) as (_, http),
        _probe(broker.port) as (client, heard),
        ingest.speaking(broker.port, channels, 0, rate, _FAULTS / 10 + 2.0) as plant,
    ):
        names = [f"probe/m{number}/flow" for number in range(_FAULTS)]
        began = time.time() - _WARM_READINGS
        noise = np.random.default_rng(0).normal(20.0, 1.0, (_WARM_READINGS, _FAULTS)).tolist()
        for step, row in enumerate(noise):
            for name, value in zip(names, row, strict=True):
                client.publish(f"plant/{name}", payload(began + step, value), 1)
        ingest.settle(http)
        ingest.stretch(plant)
        _begin(plant)
        sent: dict[str, float] = {}
        # The load comes in bursts: a fixed step would meet them all at the same moment.
        pauses = np.random.default_rng(1).uniform(0.02, 0.08, (_FAULTS, 2)).tolist()
        for number, (name, (before, between)) in enumerate(zip(names, pauses, strict=True)):
            time.sleep(before)
            sent[f"{_ECHO}/{number}"] = time.monotonic()
            client.publish(f"{_ECHO}/{number}", b"", 0)
            time.sleep(between)
            sent[name] = time.monotonic()
            client.publish(f"plant/{name}", payload(began + _WARM_READINGS, 1e6), 0)
        came = _gather(heard, set(sent))
    events = [came[name] - sent[name] for name in names if name in came]
    echoes = [at - sent[name] for name, at in came.items() if name.startswith(_ECHO)]
    return Latency(len(events), _percentiles(events), _percentiles(echoes))


def _begin(plant: ingest.Child) -> None:
    assert plant.stdin is not None
    plant.stdin.write("\n")
    plant.stdin.flush()


@contextmanager
def _probe(port: int) -> Iterator[tuple[paho.Client, queue.SimpleQueue[tuple[str, float]]]]:
    """A client, and what it hears: a channel that an alert is raised of, or an echo, and when."""
    heard: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(1000)
    client.on_message = _hearing(heard)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe([("anomalyd/main/event", 1), (f"{_ECHO}/#", 0)])
    try:
        yield client, heard
    finally:
        client.disconnect()
        client.loop_stop()


def _hearing(heard: queue.SimpleQueue[tuple[str, float]]) -> Callable[..., None]:
    def hear(client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        now = time.monotonic()
        if message.topic.startswith(_ECHO):
            heard.put((message.topic, now))
            return
        said = msgspec.json.decode(message.payload)
        if said["transition"] == "raised":
            heard.put((said["channel"], now))

    return hear


def _gather(heard: queue.SimpleQueue[tuple[str, float]], wanted: set[str]) -> dict[str, float]:
    """The first time at which each was heard; what doesn't come within 10 s is missing."""
    came: dict[str, float] = {}
    deadline = time.monotonic() + 10.0
    while wanted - set(came) and time.monotonic() < deadline:
        try:
            name, at = heard.get(timeout=1.0)
        except queue.Empty:
            continue
        if name in wanted:
            came.setdefault(name, at)
    return came


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    if not seconds:
        return np.inf, np.inf
    found = 1000.0 * np.percentile(seconds, [50, 99])
    return float(found[0]), float(found[1])
