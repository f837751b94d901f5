"""kill -9 of the real daemon at random moments under a steady load of QoS 1: no reading is lost.

The daemon and mosquitto are real, the session is persistent, and a plant publishes on, paced, while
the daemon is dead. Counted is what every life of the daemon says it scored anew: the readings of
each generation and of the journal are scored once more by the next life, into the same state, so
the last life's total, over all restarts, must be what was sent: more is scored twice, less is lost.
One channel is wrong all the time: its alert must keep its id, and no other channel may alarm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import Publisher
from tests.broker.daemon import PLANT, WITHIN_S, Daemon, Subscriber, publish, reading, scored_ever
from tests.faults.table import Row
from tests.programs import Mosquitto, running

START_S = 1_700_000_000
CHANNELS, QUIET_STEPS, WRONG = 100, 400, 5
BROKER = """allow_anonymous true
max_queued_messages 0
max_inflight_messages 0
"""
_RULES = """
[alerts]
accept_after_s = 1e9
update_every_s = 1e9
budget_per_week = 0.1
"""


class Load:
    """A plant that publishes with QoS 1 at a rate, in a thread of its own, until `stop`."""

    def __init__(self, seed: int, broker: Mosquitto, rate: float) -> None:
        self.sent = 0
        self.broken = {WRONG}
        """places of the channels that are wrong"""
        self._plant, self._rate = Plant(seed, CHANNELS), rate
        self._publisher = Publisher(broker.host, broker.port, qos=1)
        self._step = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    @property
    def names(self) -> Sequence[str]:
        return self._plant.names

    @property
    def wrong(self) -> str:
        return self.names[WRONG]

    def __enter__(self) -> Load:
        self._publisher.__enter__()
        return self

    def __exit__(self, *about: object) -> None:
        self.stop()
        self._publisher.__exit__(None, None, None)

    def speak(self, steps: int, wrong: bool) -> None:
        """One reading of each channel a step."""
        for row in self._plant.run(steps):
            self._step += 1
            # It never settles, so nothing gets used to it.
            row[sorted(self.broken)] += wrong * 500.0 * (-1.0) ** self._step
            self._publisher.send(
                reading(name, START_S + self._step, value)
                for name, value in zip(self._plant.names, row.tolist(), strict=True)
            )
            self.sent += CHANNELS

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Everything sent is confirmed by the broker when this returns."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self.speak(1, True)
            due += CHANNELS / self._rate
            self._stop.wait(max(due - time.monotonic(), 0.0))


def kills(
    directory: Path, broker: Mosquitto, times: int, seed: int = 1, rate: float = 2000.0
) -> Row:
    """Kill it so often; what was lost, told twice, or alarmed falsely."""
    rng, slowest_s = np.random.default_rng(seed), 0.0
    heard = Subscriber(broker, "anomalyd/main/event", "test/end")
    with heard, Load(seed, broker, rate) as load:
        daemon = Daemon(directory, broker.port, PLANT + _RULES)
        with daemon:
            daemon.wait_ready()
            load.speak(QUIET_STEPS, False)
            daemon.wait_for("anomalyd_readings_scored_total", load.sent)
            load.start()
            _pause(rng)
            daemon.kill()
        for life in range(times):
            began = time.monotonic()
            with Daemon(directory, broker.port, PLANT + _RULES) as daemon:
                daemon.wait_ready()
                slowest_s = max(slowest_s, time.monotonic() - began)
                _pause(rng)
                if life < times - 1:
                    daemon.kill()
                    continue
                load.stop()
                scored, sent = _settled(directory / "state", load.sent), load.sent
                rejected = daemon.rejected()
        scored = max(scored, scored_ever(directory / "state"))
        publish(broker, [("test/end", b"{}")])
        raised = set()
        for message in heard.heard():
            if message.topic == "test/end":
                break
            if message.document["transition"] == "raised":
                raised.add((message.document["channel"], message.document["id"]))
    wrong = {each for channel, each in raised if channel == load.wrong}
    return Row(
        f"kill -9 at {rate:.0f} readings/s, QoS 1",
        times,
        lost=max(sent - scored, 0) + (not wrong),
        duplicated=max(scored - sent, 0) + max(len(wrong) - 1, 0),
        false_alarms=len(raised) - len(wrong),
        note=f"{sent} readings sent, {scored} scored; {rejected or 'nothing'} rejected in the last "
        f"life; ready again within {slowest_s:.1f} s",
    )


def _settled(state: Path, sent: int) -> int:
    """Readings scored over all restarts, once nothing comes any more and that is saved."""
    deadline = time.monotonic() + WITHIN_S
    while scored_ever(state) < sent and time.monotonic() < deadline:
        time.sleep(0.2)
    return scored_ever(state)


def _pause(rng: np.random.Generator) -> None:
    time.sleep(float(rng.uniform(0.1, 1.5)))  # the random moment


def campaign(directory: Path, times: int) -> Row:
    with running(Mosquitto(directory, BROKER)) as broker:
        return kills(directory, broker, times)
