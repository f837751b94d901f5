"""What a retraining costs: a real daemon under a steady load learns from a history on disk.

The history is written as the daemon would have it after so many hours: a simulated plant at 1 Hz,
thinned, in chunks, and as many `incidents` wait for the gate.
The whole round counts, from the request to what the gate says. Memory is the highest resident set
of the whole process (VmHWM, begun anew) above that of the same daemon under the same load before.
The latencies of both are of one run; so is the throughput, in bursts while it learns.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomalyd.adapters import chunk as files
from anomalyd.adapters.chunk import Chunk
from anomalyd.adapters.models.store import ModelStore
from anomalyd.demo.plant import Plant
from anomalyd.detection.reading import Floats
from anomalyd.model.segment import Cut
from anomalyd.runtime import registry, thinning
from anomalyd.runtime.incidents import Incident, Incidents
from anomalyd.runtime.stretches import SEEN
from anomalyd.settings import History as Rules
from tests.benchmarks.latency import SCORED, TIMED, Load, buckets, quantile
from tests.broker.daemon import PLANT, Daemon
from tests.programs import Mosquitto, running

OPEN = "allow_anonymous true\nmax_queued_messages 0\n"
CONFIG = f"{PLANT}[channels]\nwarmup_readings = 8\n[retrain]\nevery_h = 0\n"
_SAVES = {"ANOMALYD_STATE__SAVE_EVERY_S": "60"}  # as shipped
_CHUNK_STEPS, _BURST = 128, 20_000
_HOUR_S, _WITHIN_S = 3600, 1500.0
_BEFORE_S, _FAULT_S, _EARLIER_S = 3600, 300, 900.0
_NICENESS = "19"  # which no other thread of the daemon has


@dataclass(frozen=True)
class Training:
    """The figures of one round."""

    channels: int
    hours: float
    """of history"""
    kept: int
    """readings of it on disk"""
    incidents: int
    training_s: float
    gate_s: float
    idle_mb: float
    peak_mb: float
    cpu_s: float
    result: str
    idle_p99_s: float
    training_p99_s: float
    idle_rate: float
    """readings a second, in bursts"""
    training_rate: float

    @property
    def seconds(self) -> float:
        return self.training_s + self.gate_s

    @property
    def above_idle_mb(self) -> float:
        return self.peak_mb - self.idle_mb

    @property
    def ratio(self) -> float:
        """Of the scoring latency's p99."""
        return self.training_p99_s / self.idle_p99_s

    @property
    def loss(self) -> float:
        """Share of the throughput that training takes."""
        return 1.0 - self.training_rate / self.idle_rate


def measure(
    directory: Path,
    channels: int,
    hours: float,
    rate: float,
    incidents: int = 0,
    idle_s: float = 20.0,
) -> Training:
    """One round, after `idle_s` of the same load; `rate`: readings a second of all channels."""
    state, plant = directory / "state", Plant(1, channels)
    now_s = time.time() - _EARLIER_S  # bursts run ahead of the clock
    kept = write_history(state / "history", plant, hours, now_s)
    write_incidents(state / "incidents", plant.names, incidents, now_s)
    with site(directory, plant, now_s, rate) as (daemon, load):
        before = buckets(daemon)
        load.for_a_while(idle_s)
        idle = buckets(daemon) - before
        idle_rate = _throughput(daemon, load)
        idle_mb, cpu_s = memory_mb(daemon, "VmRSS"), _cpu_s(daemon)
        Path(f"/proc/{daemon.pid}/clear_refs").write_text("5")  # VmHWM begins anew
        round_ = Round(daemon, registry.open_store(state, 8))
        before = buckets(daemon)
        load.run(round_.tunes)
        training = buckets(daemon) - before
        training_rate = _throughput(daemon, load)
        before = buckets(daemon)
        load.run(round_.ended)
        training += buckets(daemon) - before
        return Training(
            channels, hours, kept, incidents,
            round_.tuned_at - round_.began_at, time.monotonic() - round_.tuned_at,
            idle_mb, memory_mb(daemon, "VmHWM"), _cpu_s(daemon) - cpu_s, round_.result,
            quantile(idle, 0.99), quantile(training, 0.99), idle_rate, training_rate,
        )  # fmt: skip


def _throughput(daemon: Daemon, load: Load) -> float:
    return float(np.median([load.burst(_BURST, daemon) for _ in range(3)]))


class Round:
    """A retraining that was asked for; looks at the daemon's metrics a few times a second."""

    def __init__(self, daemon: Daemon, store: ModelStore) -> None:
        self.began_at = time.monotonic()
        self.tuned_at = self.began_at
        """when fine-tuning had ended"""
        self.result = ""
        self._daemon = daemon
        self._before = results(daemon)
        self._tuning = False
        self._looked_at = 0.0
        store.request()

    def tunes(self) -> bool:
        """It has prepared, and learns now; or there is nothing to be learnt."""
        return self.ended() or self._tuning

    def ended(self) -> bool:
        """The gate has said something, or it failed."""
        now = time.monotonic()
        assert now < self.began_at + _WITHIN_S, self._daemon.text()[-2000:]
        if now - self._looked_at < 1.0:
            return bool(self.result)
        self._looked_at = now
        tuning = self._daemon.metric("anomalyd_retrain_progress") % 1.0 > 0.0
        if self._tuning and not tuning:
            self.tuned_at = now
        self._tuning = tuning
        self.result = next(iter(results(self._daemon) - self._before), "")
        return bool(self.result)


def results(daemon: Daemon) -> Counter[str]:
    """What retrainings came to -> how many."""
    head = 'anomalyd_retrain_total{result="'
    return Counter(
        {
            name.removeprefix(head).removesuffix('"}'): int(value)
            for name, value in daemon.metrics().items()
            if name.startswith(head)
        }
    )


@contextmanager
def site(directory: Path, plant: Plant, now_s: float, rate: float) -> Iterator[tuple[Daemon, Load]]:
    """A daemon that knows all channels of the plant, with nothing waiting, and its load."""
    with (
        running(Mosquitto(directory, OPEN)) as broker,
        Daemon(directory, broker.port, CONFIG, _SAVES, program=TIMED) as daemon,
    ):
        daemon.wait_ready()
        load = Load(broker, plant.names, now_s, rate)
        load.for_a_while(20.0 * plant.channels / rate)
        daemon.wait_until(lambda: daemon.metric(SCORED) >= load.sent, 120.0)
        yield daemon, load


def write_history(folder: Path, plant: Plant, hours: float, until_s: float) -> int:
    """What the daemon would have kept of `hours` at 1 Hz; how many readings. The plant runs on
    from stretch to stretch, without what was left out between them."""
    folder.mkdir(parents=True)
    steps = int(hours * _HOUR_S)
    times = np.floor(until_s) - steps + np.arange(float(steps))
    one, all_learnt = np.array([steps]), np.ones(steps, dtype=np.bool_)
    budget = Rules().readings_per_channel_per_day
    kept = np.flatnonzero(thinning.kept(times, all_learnt, one, np.ones(1), budget, 0))
    for begin in range(0, kept.size, _CHUNK_STEPS):
        part = kept[begin : begin + _CHUNK_STEPS]
        files.write(folder, _chunk(plant, part, times[part]))
    return kept.size * plant.channels


def _chunk(plant: Plant, sequence: NDArray[np.int64], times: Floats) -> Chunk:
    count = plant.channels
    values = np.round(plant.run(times.size), 3).T.ravel()
    size = values.size
    return Chunk(
        plant.names,
        np.full(count, times.size, dtype=np.int64),
        np.tile(sequence, count),
        np.tile(times, count),
        values,
        np.full(size, 0.1, SEEN["score"]),
        np.zeros(size, SEEN["state"]),
        np.zeros(size, SEEN["kind"]),
        np.ones(size, dtype=np.bool_),
    )


def write_incidents(folder: Path, names: Sequence[str], count: int, until_s: float) -> None:
    """An hour of normal readings, then five minutes of a fault, on one channel after the other."""
    store = Incidents(folder)
    for at in range(count):
        rng = np.random.default_rng(at)
        values = rng.normal(50.0, 1.0, _BEFORE_S + _FAULT_S)
        values[_BEFORE_S:] += rng.choice([-1.0, 1.0]) * rng.uniform(8.0, 40.0)
        start_s = until_s - (at + 2) * 2 * _HOUR_S
        times = start_s - _BEFORE_S + np.arange(float(values.size))
        name = names[at % len(names)]
        case = Cut(name, times, values, np.arange(values.size) < _BEFORE_S)
        store.keep(Incident(f"i{at}", name, "residual", start_s, start_s + _FAULT_S, [case]))


def memory_mb(daemon: Daemon, field: str) -> float:
    """VmRSS: now; VmHWM: at most so far."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
    return float(line.split()[1]) / 1024.0


def _cpu_s(daemon: Daemon) -> float:
    """Of the thread `retrain` alone."""
    return sum(
        int((task / "schedstat").read_text().split()[0]) / 1e9
        for task in Path(f"/proc/{daemon.pid}/task").iterdir()
        if (task / "stat").read_text().rpartition(")")[2].split()[16] == _NICENESS
    )
