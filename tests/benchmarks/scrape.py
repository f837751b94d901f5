"""What a scrape costs, and what it costs scoring: a real daemon with 10 000 channels under load.

Quiet and scraped stretches alternate in one run, so that what else the machine does hits both.
Meanwhile no state is saved: the pause of a save would be found in stretches of one kind.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalyd.adapters.metrics import FIGURES
from anomalyd.demo.listener import fetch
from anomalyd.demo.publisher import Publisher
from tests.broker.daemon import HOST, PLANT, Daemon, publish, reading
from tests.programs import Mosquitto, running

_BUCKET = "anomalyd_scoring_latency_seconds_bucket"
_CONFIG = f"{PLANT}[channels]\nwarmup_readings = 8\n"
_STEPS = 12
_NO_SAVES = {"ANOMALYD_STATE__SAVE_EVERY_S": "86400"}
_OPEN = "allow_anonymous true\nmax_queued_messages 0\n"


@dataclass(frozen=True)
class Scrape:
    """The figures of one run."""

    series: int
    cpu_ms: float
    """of the daemon, a scrape, nothing else going on"""
    quiet_p99_s: float
    scraped_p99_s: float
    scrapes: int

    @property
    def ratio(self) -> float:
        return self.scraped_p99_s / self.quiet_p99_s


def measure(
    directory: Path, channels: int, rate: float, pairs: int, seconds: float, scrapes: int = 20
) -> Scrape:
    """`rate`: readings a second of all channels, in `pairs` of a quiet and a scraped stretch."""
    with running(Mosquitto(directory, _OPEN)) as broker:
        program = ("-m", "tests.benchmarks.timed_daemon")
        start = Daemon(directory, broker.port, _CONFIG, _NO_SAVES, program=program)
        with start as daemon:
            daemon.wait_ready()
            now_s = time.time() - 3600.0
            names = [f"line{n}/pump/flow" for n in range(channels)]
            # Scores need a past: the first readings of a channel are only learnt from.
            for step in range(_STEPS):
                publish(broker, (reading(name, now_s + step, 1.0 + step % 3) for name in names))
            daemon.wait_until(_settled(daemon, _STEPS * channels), 120.0)
            cpu_ms = _idle_cost_ms(daemon, scrapes)
            send = _Load(broker, names, now_s + _STEPS, rate)
            found: dict[bool, Counter[float]] = {False: Counter(), True: Counter()}
            asked = 0
            for scraped in [False, True] * pairs:
                before = _buckets(daemon)
                asked += send.for_a_while(seconds, daemon if scraped else None)
                time.sleep(1.0)
                found[scraped].update(_buckets(daemon) - before)
            page = fetch(HOST, daemon.http_port, "/metrics") or ""
            heads = tuple(f"{family}{{" for family, _ in FIGURES)
            series = sum(line.startswith(heads) for line in page.splitlines())
            return Scrape(series, cpu_ms, _p99(found[False]), _p99(found[True]), asked)


class _Load:
    """Readings at a steady pace, in bursts of a twentieth of a second."""

    def __init__(self, broker: Mosquitto, names: list[str], start_s: float, rate: float) -> None:
        self._broker = broker
        self._next = ((name, start_s + n) for n in itertools.count() for name in names)
        self._rate = rate

    def for_a_while(self, seconds: float, scraped: Daemon | None) -> int:
        """Publish for so long; scrapes made meanwhile, one right after the other."""
        done, count = threading.Event(), [0]

        def scrape() -> None:
            while scraped and not done.is_set():
                fetch(HOST, scraped.http_port, "/metrics")
                count[0] += 1

        thread = threading.Thread(target=scrape, name="scrape")
        thread.start()
        began = time.monotonic()
        with Publisher(self._broker.host, self._broker.port) as publisher:
            for burst in range(int(seconds * 20)):
                time.sleep(max(0.0, began + burst / 20 - time.monotonic()))
                some = itertools.islice(self._next, int(self._rate / 20))
                publisher.send(reading(name, at, 1.0 + at % 3) for name, at in some)
        done.set()
        thread.join()
        return count[0]


def _settled(daemon: Daemon, readings: int) -> Callable[[], bool]:
    return lambda: daemon.metric("anomalyd_readings_scored_total") >= readings


def _idle_cost_ms(daemon: Daemon, scrapes: int) -> float:
    """CPU of the process a scrape; between two, a pause, in which nothing is owed for the last."""
    fetch(HOST, daemon.http_port, "/metrics")
    spent = 0.0
    for _ in range(scrapes):
        time.sleep(1.0)
        before = _cpu_s(daemon)
        fetch(HOST, daemon.http_port, "/metrics")
        spent += _cpu_s(daemon) - before
    return spent / scrapes * 1000.0


def _cpu_s(daemon: Daemon) -> float:
    """All of its threads, in nanoseconds' resolution: /proc's ticks of 10 ms are too coarse."""
    tasks = Path(f"/proc/{daemon.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _buckets(daemon: Daemon) -> Counter[float]:
    """Upper bound -> readings so far, not cumulative."""
    head = f'{_BUCKET}{{le="'
    found = {
        float(name.removeprefix(head).removesuffix('"}')): value
        for name, value in daemon.metrics().items()
        if name.startswith(head)
    }
    bounds = sorted(found)
    counts = np.diff([found[bound] for bound in bounds], prepend=0.0).astype(int).tolist()
    return Counter(dict(zip(bounds, counts, strict=True)))


def _p99(buckets: Counter[float]) -> float:
    bounds = sorted(buckets)
    upto = np.cumsum([buckets[bound] for bound in bounds])
    return float(bounds[int(np.searchsorted(upto, 0.99 * upto[-1]))])
