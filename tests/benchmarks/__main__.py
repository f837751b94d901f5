"""`make bench`: every figure that the README quotes; `--only ROW ...`: some of them."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from tests.benchmarks import batched, hold, ingest, scaling, scrape, training


def _ingest(
    channels: int, rate: float, limit: float, qos: int = 0, tls: bool = False
) -> Callable[[Path], bool]:
    def row(directory: Path) -> bool:
        cost = ingest.measure(directory, channels, rate, seconds=10.0, qos=qos, tls=tls)
        over = ", TLS" if tls else ""
        print(
            f"{channels} channels, QoS {qos}{over}, {rate:.0f} a second, {cost.scored} of "
            f"{cost.sent} readings scored: daemon {cost.daemon_us:.1f} us CPU a reading, bare paho "
            f"subscriber {cost.bare_us:.1f} us CPU a message, ratio {cost.ratio:.2f} "
            f"(to reach: {limit})"
        )
        return cost.ratio <= limit and cost.scored == cost.sent

    return row


def _batched(directory: Path) -> bool:
    held = True
    for shape in ("array", "sparkplug"):
        cost = batched.measure(shape, channels=1000, readings=300_000)
        print(
            f"100 readings to a message, {shape}: {cost.decode_us:.2f} us CPU a reading to decode, "
            f"{cost.detect_us:.2f} us to judge, {cost.network_us:.2f} us the LSTM step alone, "
            f"ratio {cost.ratio:.1f} (to reach: 2.0)"
        )
        held &= cost.ratio <= 2.0
    return held


def _hold(directory: Path) -> bool:
    found = hold.measure(directory, channels=1000, seconds=60.0, rates=[0.9, 0.6, 0.4])
    for each in found.tried:
        print(
            f"hold, {each.rate:.0f} readings a second: {each.scored} of {each.sent} scored, done "
            f"{each.behind_s:.1f} s behind the last"
        )
    bare, highest = found.bare, found.highest
    if highest is None:
        print(f"hold: none of these; bare paho subscriber {bare.rate:.0f} messages a second")
        return False
    cost = highest.cpu_us / bare.cpu_us
    print(
        f"hold: {highest.rate:.0f} readings a second, bare paho subscriber {bare.rate:.0f} "
        f"messages a second, ratio {highest.rate / bare.rate:.2f} (to reach: 0.9); daemon "
        f"{highest.cpu_us:.1f} us CPU a reading, bare {bare.cpu_us:.1f} us a message, ratio "
        f"{cost:.2f} (to reach: 1.0)"
    )
    return highest.rate >= 0.9 * bare.rate and cost <= 1.0


def _latency(directory: Path) -> bool:
    for part in ("bare", "beside"):
        (directory / part).mkdir()
    rate = _HALF * hold.bare_on(directory / "bare", channels=1000).rate
    found = hold.latency(directory / "beside", channels=1000, rate=rate)
    print(
        f"latency beside {rate:.0f} readings a second, {found.alerts} alerts: p50 "
        f"{found.event[0]:.1f} ms, p99 {found.event[1]:.1f} ms; through the broker alone p50 "
        f"{found.echo[0]:.1f} ms, p99 {found.echo[1]:.1f} ms (to reach: p99 50 ms above it)"
    )
    return found.event[1] - found.echo[1] <= 50.0


def _scaling(few: int, many: int, readings: int, pairs: int) -> Callable[[Path], bool]:
    def row(directory: Path) -> bool:
        scale = scaling.measure_cost(few=few, many=many, readings=readings, pairs=pairs)
        print(
            f"scaling: {scale.few_us:.1f} us a reading at {few} channels, {scale.many_us:.1f} us "
            f"at {many}, ratio {scale.ratio:.2f} (to reach: 1.3); {scale.young_us:.1f} us for the "
            f"first readings of a channel"
        )
        return scale.ratio <= 1.3

    return row


def _memory(directory: Path) -> bool:
    weight = scaling.measure_memory(few=1000, many=10_000)
    print(f"memory: {weight / 1024:.1f} KB a channel (to reach: 6)")
    return weight <= 6 * 1024


def _scrape(directory: Path) -> bool:
    found = scrape.measure(directory, channels=10_000, rate=2000, pairs=3, seconds=10.0)
    print(
        f"scrape, {found.series} series of channels: {found.cpu_ms:.0f} ms CPU (to reach: 50); "
        f"scoring latency p99 {found.scraped_p99_s:.3f} s under {found.scrapes} scrapes, "
        f"{found.quiet_p99_s:.3f} s without, ratio {found.ratio:.2f} (to reach: 1.2)"
    )
    return found.cpu_ms <= 50 and found.ratio <= 1.2


def _training(directory: Path) -> bool:
    """The first is what is promised; the others say how it grows."""
    held = True
    sizes = ((1000, 24.0, 64), (1000, 24.0, 0), (1000, 6.0, 0), (300, 24.0, 0), (100, 24.0, 0))
    for channels, hours, incidents in sizes:
        folder = directory / f"{channels}-{hours:g}-{incidents}"
        folder.mkdir()
        cost = training.measure(folder, channels, hours, 2.0 * channels, incidents)
        print(
            f"training, {channels} channels, {hours:g} h at 1 Hz ({cost.kept} readings kept), "
            f"{incidents} incidents, {2 * channels} readings/s meanwhile: {cost.training_s:.0f} s "
            f"and {cost.gate_s:.0f} s of gate ({cost.result}), {cost.cpu_s:.0f} s CPU, "
            f"{cost.above_idle_mb:.0f} MB above {cost.idle_mb:.0f} (to reach: 500); latency p99 "
            f"{cost.training_p99_s:.3f} s, {cost.idle_p99_s:.3f} s idle, ratio {cost.ratio:.2f} "
            f"(to reach: 1.5); {cost.training_rate:.0f} readings/s in bursts, {cost.idle_rate:.0f} "
            f"idle, loss {cost.loss:.0%} (to reach: 15%)",
            flush=True,
        )
        if (channels, incidents) == (1000, 64):
            held &= cost.above_idle_mb <= 500 and cost.ratio <= 1.5 and cost.loss <= 0.15
    return held


_HALF = 0.45
"""half of the rate that is to be held, as a share of the bare subscriber's highest"""
_ROWS: Mapping[str, Callable[[Path], bool]] = {
    "ingest": _ingest(1000, 15_000.0, 1.2),
    "ingest-10000": _ingest(10_000, 15_000.0, 1.2),
    "ingest-slow": _ingest(1000, 2000.0, 1.5),
    "ingest-qos1": _ingest(1000, 15_000.0, 1.15, qos=1),
    "ingest-qos1-slow": _ingest(1000, 2000.0, 1.15, qos=1),
    "ingest-tls": _ingest(1000, 15_000.0, 1.2, tls=True),
    "batched": _batched,
    "hold": _hold,
    "latency": _latency,
    "scaling": _scaling(100, 10_000, readings=40_000, pairs=5),
    "scaling-100000": _scaling(1000, 100_000, readings=100_000, pairs=3),
    "memory": _memory,
    "scrape": _scrape,
    "training": _training,
}
"""what prints its figures and tells whether they are good enough"""


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--only", nargs="+", choices=_ROWS, default=list(_ROWS), metavar="ROW")
    held = True
    for name in parser.parse_args().only:
        with tempfile.TemporaryDirectory() as directory:
            held &= _ROWS[name](Path(directory))
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
