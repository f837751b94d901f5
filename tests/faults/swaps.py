"""Models change places under load: no reading is dropped, none is scored twice, none alarms.

The daemon and mosquitto are real; a plant publishes with QoS 1 at a steady rate, and versions are
promoted back and forth as `anomalyd models promote` does it, while the daemon runs. Now and then
one more channel goes wrong for good: each must raise exactly one alert, whatever serves, and no
other channel any.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from anomalyd.adapters.models.manifest import SHIPPED
from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import Publisher
from tests.broker.daemon import PLANT, Daemon, Subscriber, publish, reading
from tests.faults.models import add_similar, open_store
from tests.faults.table import Row
from tests.programs import Mosquitto, running

START_S = 1_700_000_000
CHANNELS, QUIET_STEPS, FAULTS = 100, 400, 10
BROKER = """allow_anonymous true
max_queued_messages 0
max_inflight_messages 0
"""
_RULES = """
[alerts]
accept_after_s = 1e9
update_every_s = 1e9
budget_per_week = 0.1
[retrain]
every_h = 0
"""
_PROMOTED = 'anomalyd_model_events_total{step="promoted"}'


class Load:
    """A plant that publishes with QoS 1 at a rate, in a thread of its own, until `stop`."""

    def __init__(self, seed: int, broker: Mosquitto, rate: float) -> None:
        self.sent = 0
        self.broken: frozenset[int] = frozenset()
        """places of the channels that are wrong"""
        self._plant, self._rate = Plant(seed, CHANNELS), rate
        self._publisher = Publisher(broker.host, broker.port, qos=1)
        self._step = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Load:
        self._publisher.__enter__()
        return self

    def __exit__(self, *about: object) -> None:
        self.stop()
        self._publisher.__exit__(None, None, None)

    def break_next(self) -> None:
        """One more channel goes wrong, of a machine where none is yet."""
        self.broken |= {(3 + 9 * len(self.broken)) % CHANNELS}

    def names(self) -> set[str]:
        """Of the channels that are wrong."""
        return {self._plant.names[place] for place in self.broken}

    def speak(self, steps: int) -> None:
        """One reading of each channel a step."""
        for row in self._plant.run(steps):
            self._step += 1
            # It never settles, so nothing gets used to it.
            row[sorted(self.broken)] += 500.0 * (-1.0) ** self._step
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
            self.speak(1)
            due += CHANNELS / self._rate
            self._stop.wait(max(due - time.monotonic(), 0.0))


def swaps(directory: Path, broker: Mosquitto, times: int, rate: float = 2000.0) -> Row:
    """Promote so often; what was lost, scored twice, or alarmed falsely."""
    store = open_store(directory / "state")
    heard = Subscriber(broker, "anomalyd/main/event", "test/end")
    with heard, Load(1, broker, rate) as load:
        with Daemon(directory, broker.port, PLANT + _RULES) as daemon:
            daemon.wait_ready()
            load.speak(QUIET_STEPS)
            daemon.wait_for("anomalyd_readings_scored_total", load.sent)
            versions = [add_similar(store, seed=1), SHIPPED]
            load.start()
            slowest_s = 0.0
            for swap in range(times):
                if swap % max(times // FAULTS, 1) == 0:
                    load.break_next()
                began = time.monotonic()
                store.promote(versions[swap % 2], f"swap {swap}", time.time())
                daemon.wait_until(_swapped(daemon, swap + 1), 30.0)
                slowest_s = max(slowest_s, time.monotonic() - began)
            daemon.wait_until(lambda: daemon.raised() >= len(load.broken), 30.0)
            load.stop()
            scored = _settled(daemon, load.sent)
            rejected, back = daemon.rejected(), _back(daemon)
        publish(broker, [("test/end", b"{}")])
        raised = []
        for message in heard.heard():
            if message.topic == "test/end":
                break
            if message.document["transition"] == "raised":
                raised.append(message.document["channel"])
    wrong = load.names()
    told = [channel for channel in raised if channel in wrong]
    return Row(
        f"promotion at {rate:.0f} readings/s, QoS 1",
        times,
        lost=max(load.sent - scored, 0) + len(wrong - set(told)) + back,
        duplicated=max(scored - load.sent, 0) + len(told) - len(set(told)),
        false_alarms=len(raised) - len(told),
        note=f"{load.sent} readings sent, {scored} scored, {rejected or 'none'} rejected; "
        f"{len(wrong)} faults, {len(set(told))} found; in service within {slowest_s:.1f} s",
    )


def _swapped(daemon: Daemon, times: int) -> Callable[[], bool]:
    return lambda: daemon.metric(_PROMOTED) >= times


def _back(daemon: Daemon) -> int:
    """Models that were taken back, which none has earned."""
    steps = ("rolled-back", "rejected", "failed")
    return int(sum(daemon.metric(f'anomalyd_model_events_total{{step="{s}"}}') for s in steps))


def _settled(daemon: Daemon, sent: int) -> int:
    """Readings scored, once all are or nothing more comes."""
    scored, before = daemon.metric("anomalyd_readings_scored_total"), -1.0
    while before != scored < sent:
        time.sleep(1.0)
        before, scored = scored, daemon.metric("anomalyd_readings_scored_total")
    return int(scored)


def campaign(directory: Path, times: int) -> Row:
    with running(Mosquitto(directory, BROKER)) as broker:
        return swaps(directory, broker, times)
