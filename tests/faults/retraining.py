"""kill -9 of the real daemon while it trains, judges, tries in shadow, promotes and rolls back.

The stages take turns; the moment in each is drawn at random. After each kill exactly one version of
the role serves, it is the one that the daemon says serves, every version in the registry can be
loaded, and nothing is half there. Readings go on all the time: what is in shadow is tried on them.

train, gate: a retraining that was asked for. shadow, promote: a challenger whose `shadow_h` of two
seconds ends. rollback: one that says nothing in service was promoted by hand, and is taken back.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from anomalyd.adapters.models.manifest import FORECAST, NEXT_STEP, SHIPPED
from anomalyd.adapters.models.store import ModelStore
from anomalyd.demo.publisher import Message
from anomalyd.errors import ModelError
from anomalyd.files import UNFINISHED
from anomalyd.runtime import registry
from tests.broker.daemon import PLANT, Daemon, pour, reading
from tests.conftest import OPEN_TO_ALL
from tests.faults.models import KEEP, add_similar, add_useless, open_store
from tests.faults.table import Row
from tests.programs import Mosquitto, running

CHANNELS, HISTORY = 8, 1_200
CONFIG = f"""{PLANT}
[history]
readings_per_channel_per_day = 100000000
[retrain]
every_h = 0
shadow_h = {2 / 3600}
least_readings = 1000
steps = 12
keep_models = {KEEP}
"""
LONGEST_S = {"train": 6.0, "promote": 2.0, "rollback": 2.0, "gate": 4.0, "shadow": 2.5}
"""stage -> seconds, within which the kill falls"""
_WITHIN_S, _STAYS_S = 20.0, 5.0
_STEP = 'anomalyd_model_events_total{{step="{}"}}'
_INFO = 'anomalyd_model_info{file="'


class Site:
    """A plant that does what no synthetic series does: every other reading stands high."""

    def __init__(self, directory: Path, broker: Mosquitto, seed: int) -> None:
        self.store = open_store(directory / "state")
        self._directory, self._broker = directory, broker
        self._rng = np.random.default_rng(seed)
        self._at_s, self._step = float(int(time.time())) - 86_400.0, 0
        self._versions = 0

    def daemon(self) -> Daemon:
        return Daemon(self._directory, self._broker.port, CONFIG)

    def begin(self) -> None:
        """A daemon with a history."""
        with self.daemon() as daemon:
            daemon.wait_ready()
            self.speak(HISTORY)
            scored = "anomalyd_readings_scored_total"
            daemon.wait_until(lambda: daemon.metric(scored) >= HISTORY * CHANNELS, 120.0)

    def speak(self, steps: int) -> None:
        messages: list[Message] = []
        for _ in range(steps):
            self._step += 1
            high = self._rng.choice([1.0, 3.0], CHANNELS) * (self._step % 2)
            values = 50.0 + high + self._rng.normal(0.0, 0.1, CHANNELS)
            for channel, value in enumerate(values.tolist()):
                at = self._at_s + self._step
                messages.append(reading(f"line1/pump{channel}/flow", at, value))
        pour(self._broker, messages)

    def speak_until(self, done: Callable[[], bool], within_s: float) -> bool:
        """A few readings, again and again, until something has happened; False where it has not."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if done():
                return True
            self.speak(1)
            time.sleep(0.05)
        return False

    def make(self, add: Callable[[ModelStore, int], str]) -> str:
        """A version that was not there before."""
        self._versions += 1
        return add(self.store, self._versions)


def reach(site: Site, stage: str, daemon: Daemon) -> bool:
    """Whether the stage has begun; it doesn't where another life's trial has to end first."""
    if stage == "rollback":
        site.store.promote(site.make(add_useless), "by hand", time.time())
        return True
    if stage == "promote":
        return site.speak_until(_happened(daemon, "promoted"), _WITHIN_S)
    if stage == "shadow":
        return True
    site.store.request()
    begun = site.speak_until(_happened(daemon, "started"), _WITHIN_S)
    return begun and (stage == "train" or site.speak_until(_judging(daemon), _WITHIN_S))


def _happened(daemon: Daemon, step: str) -> Callable[[], bool]:
    return lambda: daemon.metric(_STEP.format(step)) > 0.0


def _judging(daemon: Daemon) -> Callable[[], bool]:
    def judging() -> bool:
        metrics = daemon.metrics()
        results = [value for name, value in metrics.items() if "retrain_total{" in name]
        return metrics.get("anomalyd_retrain_progress") == 1.0 or sum(results) > 0.0

    return judging


def kill(directory: Path, broker: Mosquitto, times: int, seed: int = 1) -> tuple[Row, Counter[str]]:
    """Kill it so often; what was wrong afterwards, and the registry's steps."""
    rng, site = np.random.default_rng(seed), Site(directory, broker, seed)
    site.begin()
    stages = list(LONGEST_S)
    wrong: list[str] = []
    reached: Counter[str] = Counter()
    slowest_s = 0.0
    for number in range(times + 1):
        stage = stages[number % len(stages)]
        if stage in ("shadow", "promote"):
            _prepare_shadow(site)
        began = time.monotonic()
        with site.daemon() as daemon:
            daemon.wait_ready()
            slowest_s = max(slowest_s, time.monotonic() - began)
            wrong += [f"{number}: {why}" for why in faults(site.store, daemon, directory / "state")]
            if number == times:
                break
            reached[stage] += reach(site, stage, daemon)
            moment_s = float(rng.uniform(0.0, LONGEST_S[stage]))
            site.speak_until(lambda: False, moment_s)  # the random moment
            daemon.kill()
    events = Counter(event.event for event in site.store.events())
    steps = ", ".join(f"{count} {name}" for name, count in sorted(events.items()))
    killed = ", ".join(f"{count} in {stage}" for stage, count in reached.items())
    note = "; ".join([killed, f"journal: {steps}", f"ready again within {slowest_s:.1f} s", *wrong])
    return Row("kill -9 in retraining", times, lost=len(wrong), note=note), events


def _prepare_shadow(site: Site) -> None:
    """A challenger that the next daemon takes up where this one was killed."""
    site.store.shadow(site.make(add_similar), "to begin with", time.time())


def faults(store: ModelStore, daemon: Daemon, state: Path) -> list[str]:
    """What isn't as it must be after a kill and a restart, and stays so: a daemon that takes up a
    trial may promote or roll back between two looks."""
    deadline = time.monotonic() + _STAYS_S
    while (found := _faults(store, daemon, state)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _faults(store: ModelStore, daemon: Daemon, state: Path) -> list[str]:
    found = [f"{path} is half there" for path in state.glob(f"models/**/.*{UNFINISHED}")]
    for role in (NEXT_STEP, FORECAST):
        serving = [
            each.version for each in store.list() if (each.role, each.status) == (role, "current")
        ]
        if serving != [store.current(role)]:
            found.append(f"{role}: {serving} are current")
    for each in store.list():
        try:
            registry.inspect(store.path(each.version, each.role), each.role)
        except ModelError as error:
            found.append(str(error))
    return found + _unlike(store.current(NEXT_STEP), daemon.metrics())


def _unlike(version: str, metrics: Mapping[str, float]) -> list[str]:
    """The daemon says that something else serves."""
    said = [name.split('model="')[1].split('"')[0] for name in metrics if name.startswith(_INFO)]
    right = [version if version != SHIPPED else "next_step-"]
    if len(said) == 1 and said[0].startswith(right[0]):
        return []
    return [f"{version} is current, {said} serves"]


def campaign(directory: Path, times: int) -> Row:
    with running(Mosquitto(directory, OPEN_TO_ALL)) as broker:
        return kill(directory, broker, times)[0]
