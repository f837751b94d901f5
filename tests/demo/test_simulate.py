"""Simulate's rules: every reading arrives, none is ahead of the clock, Ctrl-C ends it in order.

Against a real broker. The clock is the test's: pausing moves it, so nothing waits.
"""

import io
import json
import queue
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console

from anomalyd.demo.broker import EmbeddedBroker, free_port
from anomalyd.demo.plant import Plant
from anomalyd.demo.simulate import Simulation, simulate
from anomalyd.errors import ConfigError, DataError, ProgramMissing, ServiceFailed

NOW = 1_700_000_000.0
WITHIN_S = 10.0


class Clock:
    """Time that passes when somebody pauses, and ends in an interrupt if told to."""

    def __init__(self, interrupt_after_s: float = 1e9) -> None:
        self.at = 0.0
        self.interrupt_after_s = interrupt_after_s

    def __call__(self) -> float:
        return self.at

    def pause(self, seconds: float) -> None:
        self.at += seconds
        if self.at > self.interrupt_after_s:
            raise KeyboardInterrupt


class Subscriber:
    """Everything that is published below plant/."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._queue: queue.SimpleQueue[tuple[str, float, float]] = queue.SimpleQueue()
        subscribed: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda client, data, message: self._put(message)
        self.client.on_subscribe = lambda client, data, mid, codes, properties: subscribed.put(mid)
        self.client.connect(broker.host, broker.port)
        self.client.subscribe("plant/#", qos=1)
        self.client.loop_start()
        subscribed.get(timeout=WITHIN_S)

    def take(self, count: int) -> list[tuple[str, float, float]]:
        deadline = time.monotonic() + WITHIN_S
        return [self._queue.get(timeout=max(0, deadline - time.monotonic())) for _ in range(count)]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        assert self._queue.empty(), "more arrived than was published"

    def _put(self, message: mqtt.MQTTMessage) -> None:
        reading = json.loads(message.payload)
        assert list(reading) == ["ts", "value"]
        self._queue.put((message.topic, reading["ts"], reading["value"]))


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    try:
        with EmbeddedBroker() as broker:
            yield broker
    except ProgramMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def subscriber(broker: EmbeddedBroker) -> Iterator[Subscriber]:
    subscriber = Subscriber(broker)
    yield subscriber
    subscriber.close()


def run(options: Simulation, clock: Clock | None = None) -> tuple[int, str]:
    said = io.StringIO()
    clock = clock or Clock()
    console = Console(file=said, width=100)
    status = simulate(options, NOW, console, clock, clock.pause)
    return status, said.getvalue()


@pytest.mark.parametrize("qos", [0, 1])
def test_every_reading_of_the_plant_arrives(
    broker: EmbeddedBroker, subscriber: Subscriber, qos: int
) -> None:
    options = Simulation(broker.host, broker.port, 16, rate=10, seconds=30, seed=5, qos=qos)
    status, said = run(options)
    assert (status, said) == (0, "4800 readings published\n")
    plant = Plant(5, 16)
    expected = [
        (f"plant/{name}", NOW - 270 + step, value)
        for step, row in enumerate(plant.run(300).tolist())
        for name, value in zip(plant.names, row, strict=True)
    ]
    assert subscriber.take(4800) == expected


def test_no_reading_is_ahead_of_the_clock(broker: EmbeddedBroker, subscriber: Subscriber) -> None:
    run(Simulation(broker.host, broker.port, 1, rate=2, speed=5, seconds=4))
    times = [at for _, at, _ in subscriber.take(40)]
    assert (times[0], times[-1]) == (NOW - 36, NOW + 3)


def test_an_endless_run_keeps_the_clocks_pace_until_interrupted(
    broker: EmbeddedBroker, subscriber: Subscriber
) -> None:
    clock = Clock(interrupt_after_s=9.9)
    status, said = run(Simulation(broker.host, broker.port, 1, rate=4), clock)
    assert (status, said) == (0, "interrupted\n40 readings published\n")
    times = [at for _, at, _ in subscriber.take(40)]
    assert times == [NOW + step / 4 for step in range(40)]


def test_a_recording_is_published_at_its_own_pace_times_speed(
    broker: EmbeddedBroker, subscriber: Subscriber, tmp_path: Path
) -> None:
    recording = tmp_path / "recorded.csv"
    rows = ("timestamp,l/a/x,l/a/y", "1700000000,1,2", "1700000001,,3", "1700000060,4,5")
    recording.write_text("\n".join([*rows, "1700000060,nan,"]))
    clock = Clock()
    status, said = run(Simulation(broker.host, broker.port, csv=recording, speed=10), clock)
    assert (status, said) == (0, "5 readings published\n")
    assert clock.at == pytest.approx(6.0)
    assert subscriber.take(5) == [
        ("plant/l/a/x", NOW, 1.0),
        ("plant/l/a/y", NOW, 2.0),
        ("plant/l/a/y", NOW + 1, 3.0),
        ("plant/l/a/x", NOW + 60, 4.0),
        ("plant/l/a/y", NOW + 60, 5.0),
    ]


def test_a_column_that_cannot_be_a_topic_is_named(broker: EmbeddedBroker, tmp_path: Path) -> None:
    recording = tmp_path / "recorded.csv"
    recording.write_text("timestamp,l/#/x\n1700000000,1\n")
    with pytest.raises(DataError, match="'l/#/x' can't be a topic"):
        run(Simulation(broker.host, broker.port, csv=recording))


def test_no_broker_is_one_clear_line() -> None:
    port = free_port()
    with pytest.raises(ServiceFailed, match=f"no broker at 127.0.0.1:{port}"):
        run(Simulation("127.0.0.1", port))


def test_a_pace_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be more than 0"):
        Simulation("127.0.0.1", 1883, rate=0)
