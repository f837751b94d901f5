"""kill -9 while alerts stand that no reading raised when it came: one that time raised, one that a
device's death did, and one of a reading that was held back until its time had come.

The daemon and mosquitto are real. Until the first kill nothing is saved: all of it must come out of
the journal, and from then on out of the state and the journal. Each alert must keep its id, be told
once, and be cleared when its cause ends, and no other may be raised.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np

from anomalyd.demo.publisher import payload
from tests.adapters.codec.sparkplug_schema import payload as sparkplug
from tests.broker.daemon import PLANT, WITHIN_S, Daemon, Subscriber, publish
from tests.conftest import OPEN_TO_ALL
from tests.faults.kills import sum_active
from tests.faults.table import Row
from tests.programs import Mosquitto, running

START_S, STEP_S, WARM_STEPS, STALE_WITHIN_S = 1_700_000_000.0, 0.1, 130, 60.0
STREAMS = f"""{PLANT}
[[streams]]
topic = "held/{{line}}/{{sensor}}"
value = "value"
time = "ts"
reorder_s = 1.0
[[streams]]
topic = "spBv1.0/{{group}}/+/{{node}}/{{device*}}"
format = "sparkplug"
"""
GONE, STAYS, HELD, STEADY, NODE = "l/m/gone", "l/m/stays", "l/held", "l/steady", "G/N/flow"
ALERTS = {(GONE, "stale"), (HELD, "stale"), (HELD, "residual"), (NODE, "stale")}
_BORN = ("spBv1.0/G/NBIRTH/N", sparkplug({"name": "flow", "datatype": 10, "double_value": 1.5}))
_DEAD = ("spBv1.0/G/NDEATH/N", sparkplug())
_ENVIRONMENT = {"ANOMALYD_STATE__SAVE_EVERY_S": "3600"}


class Plant:
    """Speaks a step at a time."""

    def __init__(self, broker: Mosquitto) -> None:
        self.broker, self._step = broker, 0

    def speak(self, *topics: str, spike: float = 0.0) -> None:
        self._step += 1
        at_s, value = START_S + self._step * STEP_S, (self._step * 3) % 7 / 7.0
        body = payload(at_s, value + spike)
        publish(self.broker, [(topic, body) for topic in topics])


def plant(channel: str) -> str:
    return f"plant/{channel}"


def held(channel: str) -> str:
    return f"held/{channel}"


def kills(directory: Path, broker: Mosquitto, times: int, seed: int = 1) -> Row:
    """Kill it so often; what was lost, told twice, or alarmed falsely."""
    rng, speaks = np.random.default_rng(seed), Plant(broker)
    with Subscriber(broker, "anomalyd/main/event", "test/end") as heard:
        with _daemon(directory, broker) as daemon:
            daemon.wait_ready()
            _raise_all(daemon, speaks)
            daemon.kill()
        missing = 0
        for _ in range(times):
            with _daemon(directory, broker) as daemon:
                daemon.wait_ready()
                missing += sum_active(daemon) != len(ALERTS)
                until = time.monotonic() + float(rng.uniform(0.0, 1.0))
                while time.monotonic() < until:
                    speaks.speak(plant(STAYS), held(STEADY))
                    time.sleep(STEP_S)
                daemon.kill()
        with _daemon(directory, broker) as daemon:
            daemon.wait_ready()
            missing += not _clear_all(daemon, speaks)
        publish(broker, [("test/end", b"{}")])
        told = _told(heard)
    expected = {(*each, what) for each in ALERTS for what in ("raised", "cleared")}
    return Row(
        "kill -9 while alerts of time, of a death and of a held reading stand",
        times,
        lost=missing + len(expected - told.keys()),
        duplicated=sum(told[each] - 1 for each in expected & told.keys()),
        false_alarms=sum(told[each] for each in told.keys() - expected),
    )


def _daemon(directory: Path, broker: Mosquitto) -> Daemon:
    return Daemon(directory, broker.port, STREAMS, _ENVIRONMENT)


def _raise_all(daemon: Daemon, speaks: Plant) -> None:
    publish(speaks.broker, [_BORN, _DEAD])
    for _ in range(WARM_STEPS):
        speaks.speak(plant(GONE), plant(STAYS), held(HELD), held(STEADY))
    speaks.speak(held(HELD), spike=1000.0)
    deadline = time.monotonic() + STALE_WITHIN_S
    while daemon.raised() < len(ALERTS):
        assert time.monotonic() < deadline, "the alerts"
        speaks.speak(plant(STAYS), held(STEADY))
        time.sleep(STEP_S)
    daemon.wait_until(lambda: daemon.metric("anomalyd_alerts_unpublished") == 0, WITHIN_S)


def _clear_all(daemon: Daemon, speaks: Plant) -> bool:
    """The causes end."""
    publish(speaks.broker, [_BORN])
    deadline = time.monotonic() + WITHIN_S
    while sum_active(daemon) and time.monotonic() < deadline:
        speaks.speak(plant(GONE), plant(STAYS), held(HELD), held(STEADY))
    daemon.wait_until(lambda: daemon.metric("anomalyd_alerts_unpublished") == 0, WITHIN_S)
    return sum_active(daemon) == 0


def _told(heard: Subscriber) -> Counter[tuple[str, str, str]]:
    """(channel, kind, transition) -> how often."""
    told: Counter[tuple[str, str, str]] = Counter()
    for message in heard.heard():
        if message.topic == "test/end":
            break
        about = message.document
        if about["transition"] != "updated":
            told[about["channel"], about["kind"], about["transition"]] += 1
    return told


def campaign(directory: Path, times: int) -> Row:
    with running(Mosquitto(directory, OPEN_TO_ALL)) as broker:
        return kills(directory, broker, times)
