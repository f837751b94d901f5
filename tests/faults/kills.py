"""kill -9 of the real daemon at random moments, under load, with an alert open; then a restart.

The daemon and mosquitto are real. One channel is wrong all the time: its alert must keep its id
through every kill, and no other channel may alarm. What arrives while the daemon is dead is lost
here, and so is what it had learnt since its last save.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import Message
from tests.broker.daemon import PLANT, Daemon, Subscriber, pour, publish, reading
from tests.conftest import OPEN_TO_ALL
from tests.faults.table import Row
from tests.programs import Mosquitto, running

START_S = 1_700_000_000
CHANNELS, QUIET_STEPS, LOAD_STEPS = 24, 400, 120
WRONG = 5
_SAVED = "anomalyd_state_saved_timestamp_seconds"
_RULES = """
[alerts]
accept_after_s = 1e9
update_every_s = 1e9
budget_per_week = 0.1
"""


class Load:
    """A plant that speaks on, whoever hears it."""

    def __init__(self, seed: int, broker: Mosquitto) -> None:
        self._plant, self._broker, self._step = Plant(seed, CHANNELS), broker, 0

    @property
    def wrong(self) -> str:
        return self._plant.names[WRONG]

    def speak(self, steps: int, wrong: bool) -> int:
        """One reading of each channel a step; how many."""
        messages: list[Message] = []
        for row in self._plant.run(steps):
            self._step += 1
            # It never settles, so nothing gets used to it.
            row[WRONG] += wrong * 500.0 * (-1.0) ** self._step
            for name, value in zip(self._plant.names, row.tolist(), strict=True):
                messages.append(reading(name, START_S + self._step, value))
        pour(self._broker, messages)
        return len(messages)


def kills(directory: Path, broker: Mosquitto, times: int, seed: int = 1) -> Row:
    """Kill it so often; what was lost, told twice, or alarmed falsely."""
    load, rng = Load(seed, broker), np.random.default_rng(seed)
    slowest_s = 0.0
    with Subscriber(broker, "anomalyd/main/event", "test/end") as heard:
        begin(directory, broker, load)
        for _ in range(times):
            with Daemon(directory, broker.port, PLANT + _RULES) as daemon:
                began = time.monotonic()
                daemon.wait_ready()
                slowest_s = max(slowest_s, time.monotonic() - began)
                assert daemon.metric("anomalyd_state_channels_restored") == CHANNELS
                assert sum_active(daemon) == 1
                speaks = threading.Thread(target=load.speak, args=(LOAD_STEPS, True))
                speaks.start()
                time.sleep(float(rng.uniform(0.0, 0.7)))  # the random moment
                daemon.kill()
                speaks.join()
        with Daemon(directory, broker.port, PLANT + _RULES) as daemon:
            daemon.wait_ready()
            sent = load.speak(LOAD_STEPS, True)
            daemon.wait_for("anomalyd_readings_scored_total", sent)
            still_open = sum_active(daemon)
        publish(broker, [("test/end", b"{}")])
        raised = []
        for message in heard.heard():
            if message.topic == "test/end":
                break
            if message.document["transition"] == "raised":
                raised.append((message.document["channel"], message.document["id"]))
    wrong = [each for channel, each in raised if channel == load.wrong]
    return Row(
        "kill -9 under load",
        times,
        lost=(1 - len(set(wrong)) if not wrong else 0) + (still_open != 1),
        duplicated=len(wrong) - 1,
        false_alarms=len(raised) - len(wrong),
        note=f"ready again within {slowest_s:.1f} s",
    )


def begin(directory: Path, broker: Mosquitto, load: Load) -> None:
    """A quiet time, then a wrong channel, and a save with its alert in it."""
    with Daemon(directory, broker.port, PLANT + _RULES) as daemon:
        daemon.wait_ready()
        sent = load.speak(QUIET_STEPS, False)
        daemon.wait_for("anomalyd_readings_scored_total", sent)
        sent += load.speak(20, True)
        daemon.wait_for("anomalyd_readings_scored_total", sent)
        assert sum_active(daemon) == 1
        daemon.wait_for(_SAVED, time.time())
        daemon.kill()


def sum_active(daemon: Daemon) -> int:
    """Open alerts."""
    metrics = daemon.metrics().items()
    return int(sum(value for name, value in metrics if name.startswith("anomalyd_alerts_active")))


def campaign(directory: Path, times: int) -> Row:
    with running(Mosquitto(directory, OPEN_TO_ALL)) as broker:
        return kills(directory, broker, times)
