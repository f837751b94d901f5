"""What a scrape costs, and what it costs scoring: a real daemon with 10 000 channels under load.

Quiet and scraped stretches alternate in one run, so that what else the machine does hits both.
Meanwhile no state is saved: the pause of a save would be found in stretches of one kind.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anomalyd.adapters.metrics import FIGURES
from anomalyd.demo.listener import fetch
from tests.benchmarks.latency import TIMED, Load, buckets, quantile
from tests.broker.daemon import HOST, PLANT, Daemon, publish, reading
from tests.programs import Mosquitto, running

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
    with (
        running(Mosquitto(directory, _OPEN)) as broker,
        Daemon(directory, broker.port, _CONFIG, _NO_SAVES, program=TIMED) as daemon,
    ):
        daemon.wait_ready()
        now_s = time.time() - 3600.0
        names = [f"line{n}/pump/flow" for n in range(channels)]
        # Scores need a past: the first readings of a channel are only learnt from.
        for step in range(_STEPS):
            publish(broker, (reading(name, now_s + step, 1.0 + step % 3) for name in names))
        daemon.wait_until(_settled(daemon, _STEPS * channels), 120.0)
        cpu_ms = _idle_cost_ms(daemon, scrapes)
        send = Load(broker, names, now_s + _STEPS, rate)
        found: dict[bool, Counter[float]] = {False: Counter(), True: Counter()}
        asked = 0

        def scrape() -> None:
            fetch(HOST, daemon.http_port, "/metrics")

        for scraped in [False, True] * pairs:
            before = buckets(daemon)
            asked += send.for_a_while(seconds, scrape if scraped else None)
            time.sleep(1.0)
            found[scraped].update(buckets(daemon) - before)
        page = fetch(HOST, daemon.http_port, "/metrics") or ""
        heads = tuple(f"{family}{{" for family, _ in FIGURES)
        series = sum(line.startswith(heads) for line in page.splitlines())
        return Scrape(
            series, cpu_ms, quantile(found[False], 0.99), quantile(found[True], 0.99), asked
        )


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
