"""A broker that is killed or restarted, a network that is cut, and what stands still between the
plant and the scores, under readings of QoS 1.

The whole daemon against a real mosquitto that keeps its sessions on disk; a gateway publishes on,
paced, and says again what was not confirmed. Every reading that the broker confirmed must be
scored, once; what the gateway said twice has the time of the first and is left out. One channel is
wrong all the time: its alert keeps its id, and no other alarms. After every cut the daemon must
be subscribed again within its longest pause. What stalls does so for longer than any sensor may be
silent, and goes on as if nothing had been.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import Message
from tests.broker.daemon import PLANT, Daemon, Subscriber, publish, reading
from tests.faults.delivery import wait
from tests.faults.gateway import Gateway
from tests.faults.proxy import Proxy
from tests.faults.table import Row
from tests.programs import Mosquitto, running

CHANNELS, WRONG, QUIET_STEPS, STEP_S = 100, 5, 150, 0.1
START_S = 1_700_000_000
PAUSE_S, SLACK_S = 1.0, 1.0
# A plant that has ended is silent: before its sensors are stale, alarms are counted.
_WITHIN_S = 20.0
_LOOKS_S = 6.0
_STALLS_S = (31.0, 40.0)
"""no sensor may be silent for longer; mosquitto cuts a daemon that it doesn't hear after 45 s"""
_SCORED, _CONNECTS = "anomalyd_readings_scored_total", "anomalyd_mqtt_connects_total"
_OPEN = "allow_anonymous true\nmax_queued_messages 0\n"
_BROKER = _OPEN + "max_inflight_messages 0\n"
# It writes everything at every message: slow, and the only way to lose nothing by a SIGKILL.
_DURABLE = """persistence true
autosave_interval 1
autosave_on_changes true
persistence_location {directory}/
"""
_RULES = """
[alerts]
accept_after_s = 1e9
update_every_s = 1e9
budget_per_week = 0.1
"""
_SAID_TWICE = {"repeated", "late", "duplicate"}


class Feed:
    """A plant in a thread of its own; a broker that is away is no end, what it did not confirm is
    said again."""

    def __init__(self, broker: Mosquitto, seed: int) -> None:
        self.sent = 0
        """readings that the broker has confirmed, each counted once"""
        self._plant, self._broker, self._step = Plant(seed, CHANNELS), broker, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed")

    @property
    def wrong(self) -> str:
        return self._plant.names[WRONG]

    def speak(self) -> None:
        """So many steps at full speed, all in order."""
        with Gateway(self._broker, "feed") as gateway:
            for _ in range(QUIET_STEPS):
                self.sent += gateway.send(self._readings(False))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """All of the last step is confirmed when this returns."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _readings(self, wrong: bool) -> list[Message]:
        row = self._plant.run(1)[0]
        self._step += 1
        row[WRONG] += wrong * 500.0 * (-1.0) ** self._step
        named = zip(self._plant.names, row.tolist(), strict=True)
        return [reading(name, START_S + self._step, value) for name, value in named]

    def _run(self) -> None:
        waiting: list[Message] = []
        while waiting or not self._stop.wait(STEP_S):
            with contextlib.suppress(OSError), Gateway(self._broker, "feed") as gateway:
                while waiting or not self._stop.wait(STEP_S):
                    waiting = waiting or self._readings(True)
                    self.sent += gateway.send(waiting)
                    waiting = []


class Scene:
    """A broker, a bad network, a daemon and a plant; and when what strikes."""

    def __init__(self, directory: Path, broker: Mosquitto, seed: int = 1) -> None:
        self.broker, self.rng = broker, np.random.default_rng(seed)
        self.proxy = Proxy(broker.port)
        self.feed = Feed(broker, seed)
        self._directory = directory

    def run(self, times: int, fault: str, hurt: Callable[[Scene], None], cuts: bool = True) -> Row:
        """All of it, from the first reading to the row. `cuts`: after each the daemon connects
        anew."""
        more = PLANT + _RULES
        feed, away_s = self.feed, []
        heard = Subscriber(self.broker, "anomalyd/main/event", "test/end")
        with self.proxy, heard, Daemon(self._directory, self.proxy.port, more) as daemon:
            self.daemon = daemon
            daemon.wait_ready()
            feed.speak()
            feed.start()
            try:
                for _ in range(times):
                    self.pause(0.5)
                    before = daemon.metric(_CONNECTS)
                    hurt(self)
                    began = time.monotonic()
                    if cuts:
                        wait(lambda before=before: daemon.metric(_CONNECTS) > before)  # type: ignore[misc]
                        away_s.append(time.monotonic() - began)
                # A stall that is over may still be taken for silence at the next look.
                time.sleep(_LOOKS_S)
            finally:
                feed.stop()
            wait(lambda: daemon.metric(_SCORED) >= feed.sent, _WITHIN_S)
            daemon.wait_ready()
            scored, rejected = int(daemon.metric(_SCORED)), daemon.rejected()
            publish(self.broker, [("test/end", b"{}")])
            raised = set()
            for message in heard.heard():
                if message.topic == "test/end":
                    break
                if message.document["transition"] == "raised":
                    raised.add((message.document["channel"], message.document["id"]))
        wrong = {each for channel, each in raised if channel == feed.wrong}
        late = sum(each > PAUSE_S + SLACK_S for each in away_s)
        back = (
            f"subscribed again within {max(away_s, default=0.0):.1f} s (pause {PAUSE_S:g} s); "
            * cuts
        )
        dropped = sum(n for reason, n in rejected.items() if reason not in _SAID_TWICE)
        return Row(
            f"{fault} under readings of QoS 1",
            times,
            lost=max(feed.sent - scored, dropped) + late + (not wrong),
            duplicated=max(scored - feed.sent, 0) + max(len(wrong) - 1, 0),
            false_alarms=len(raised) - len(wrong),
            note=f"{feed.sent} readings confirmed, {scored} scored; {back}told twice: "
            f"{rejected or 'none'}",
        )

    def pause(self, most_s: float) -> None:
        time.sleep(float(self.rng.uniform(0.0, most_s)))


def _restart(scene: Scene) -> None:
    """In turn at random: SIGTERM, or SIGKILL."""
    end = scene.broker.stop if scene.rng.random() < 0.5 else scene.broker.kill
    end()
    scene.pause(0.5)
    scene.broker.start()


def _cut(scene: Scene) -> None:
    """Reset, truncated in the middle of a packet, delayed, or stalled until it is reset."""
    proxy = scene.proxy
    faults = (proxy.reset, proxy.truncate, proxy.delay, proxy.stall, proxy.close)
    faults[int(scene.rng.integers(len(faults)))]()
    scene.pause(0.5)
    proxy.reset()
    proxy.open()


def _stall(scene: Scene) -> None:
    """In turn at random: the host of the daemon, the broker's, or the network between them."""
    most_s = float(scene.rng.uniform(*_STALLS_S))
    what = int(scene.rng.integers(3))
    if what == 0:
        scene.proxy.stall()
        time.sleep(most_s)
        scene.proxy.open()
        return
    stopped = scene.daemon.pid if what == 1 else scene.broker.pid
    os.kill(stopped, signal.SIGSTOP)
    try:
        time.sleep(most_s)
    finally:
        os.kill(stopped, signal.SIGCONT)


def broker_killed(directory: Path, times: int) -> Row:
    """SIGTERM or SIGKILL, and a start from what it kept."""
    with running(Mosquitto(directory, _BROKER + _DURABLE.format(directory=directory))) as broker:
        return Scene(directory, broker).run(times, "broker killed", _restart)


def network_cut(directory: Path, times: int) -> Row:
    """Between the daemon and the broker; the gateway has another way."""
    with running(Mosquitto(directory, _BROKER)) as broker:
        return Scene(directory, broker).run(times, "network cut", _cut)


def stalled(directory: Path, times: int) -> Row:
    """With the window that mosquitto ships: what has waited comes twenty messages at a time."""
    with running(Mosquitto(directory, _OPEN)) as broker:
        return Scene(directory, broker).run(times, "host, broker or network stalled", _stall, False)
