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
from pathlib import Path

import numpy as np

from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import Message
from tests.broker.daemon import PLANT, WITHIN_S, Daemon, Subscriber, publish, reading, scored_ever
from tests.faults.gateway import Gateway
from tests.faults.table import Row
from tests.programs import Mosquitto, running

START_S = 1_700_000_000
CHANNELS, MANY, QUIET_STEPS, WRONG = 100, 10_000, 150, 5
RATE, PIECE_S = 2000.0, 0.05
SAVE_EVERY_S, _READY_S = 60.0, 3.0
BROKER = """allow_anonymous true
max_queued_messages 0
max_inflight_messages 0
"""
_SCORED = "anomalyd_readings_scored_total"
_RULES = """
[alerts]
accept_after_s = 1e9
update_every_s = 1e9
budget_per_week = 0.1
"""


class Load:
    """A plant that publishes with QoS 1 at `RATE`, in a thread of its own, until `stop`."""

    def __init__(self, seed: int, gateway: Gateway, channels: int) -> None:
        self.sent = 0
        self._plant, self._gateway = Plant(seed, channels), gateway
        self._step = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    @property
    def wrong(self) -> str:
        return self._plant.names[WRONG]

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *about: object) -> None:
        self.stop()

    def speak(self, steps: int) -> None:
        """One reading of each channel a step, at full speed."""
        for _ in range(steps):
            self.sent += self._gateway.send(self._readings(False))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Everything sent is confirmed by the broker when this returns."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _readings(self, wrong: bool) -> list[Message]:
        row = self._plant.run(1)[0]
        self._step += 1
        # It never settles, so nothing gets used to it.
        row[WRONG] += wrong * 500.0 * (-1.0) ** self._step
        at_s = START_S + self._step
        named = zip(self._plant.names, row.tolist(), strict=True)
        return [reading(name, at_s, value) for name, value in named]

    def _run(self) -> None:
        due, piece = time.monotonic(), int(RATE * PIECE_S)
        while not self._stop.is_set():
            messages = self._readings(True)
            for begin in range(0, len(messages), piece):
                self.sent += self._gateway.send(messages[begin : begin + piece])
                due = max(due + PIECE_S, time.monotonic() - 1.0)
                if self._stop.wait(max(due - time.monotonic(), 0.0)):
                    return


def kills(
    directory: Path,
    broker: Mosquitto,
    times: int,
    channels: int = CHANNELS,
    first_s: float = 1.0,
    seed: int = 1,
) -> Row:
    """Kill it so often; what was lost, told twice, or alarmed falsely. `first_s`: the first life
    lasts so long, and leaves a journal of as much."""
    rng, ready_s = np.random.default_rng(seed), list[float]()
    environment = {"ANOMALYD_STATE__SAVE_EVERY_S": f"{SAVE_EVERY_S:g}"}

    def daemon() -> Daemon:
        return Daemon(directory, broker.port, PLANT + _RULES, environment)

    heard = Subscriber(broker, "anomalyd/main/event", "test/end")
    with heard, Gateway(broker, "load") as gateway, Load(seed, gateway, channels) as load:
        with daemon() as first:
            first.wait_ready()
            load.speak(QUIET_STEPS)
            first.wait_until(lambda: first.metric(_SCORED) >= load.sent, 10 * WITHIN_S)
            load.start()
            time.sleep(first_s)
            first.kill()
        for life in range(times):
            began = time.monotonic()
            with daemon() as next_one:
                next_one.wait_ready()
                ready_s.append(time.monotonic() - began)
                _pause(rng)
                if life < times - 1:
                    next_one.kill()
                    continue
                load.stop()
                next_one.wait_until(lambda: _quiet(next_one), 20 * WITHIN_S)
                rejected = next_one.rejected()
        scored, sent = scored_ever(directory / "state"), load.sent
        publish(broker, [("test/end", b"{}")])
        raised = set()
        for message in heard.heard():
            if message.topic == "test/end":
                break
            if message.document["transition"] == "raised":
                raised.add((message.document["channel"], message.document["id"]))
    wrong = {each for channel, each in raised if channel == load.wrong}
    return Row(
        f"kill -9 at {RATE:.0f} readings/s, QoS 1, {channels} channels",
        times,
        lost=max(sent - scored, 0) + (not wrong),
        duplicated=max(scored - sent, 0) + max(len(wrong) - 1, 0),
        false_alarms=len(raised) - len(wrong),
        note=f"{sent} readings sent, {scored} scored; {rejected or 'nothing'} rejected in the last "
        f"life; ready again within {max(ready_s):.1f} s, {np.median(ready_s):.1f} s as a rule, "
        f"{ready_s[0]:.1f} s after a journal of {first_s:.0f} s; later than {_READY_S:g} s: "
        f"{sum(each > _READY_S for each in ready_s)}",
    )


def _quiet(daemon: Daemon) -> bool:
    """Nothing comes any more."""
    before = daemon.metric(_SCORED)
    time.sleep(2.0)
    return 0.0 < before == daemon.metric(_SCORED)


def _pause(rng: np.random.Generator) -> None:
    time.sleep(float(rng.uniform(0.1, 1.5)))  # the random moment


def campaign(directory: Path, times: int, channels: int = MANY) -> Row:
    """As many channels as the promise is for, and a journal as long as one gets."""
    with running(Mosquitto(directory, BROKER)) as broker:
        return kills(directory, broker, times, channels, SAVE_EVERY_S - 5.0)
