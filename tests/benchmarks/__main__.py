"""`make bench`: every figure that the README quotes, from one command; or a part of them."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from tests.benchmarks import ingest, scaling, scrape, training


def _ingest() -> bool:
    missed = False
    for qos, rate, limit in ((0, 8.0, 1.5), (1, 2.0, 1.15)):
        with tempfile.TemporaryDirectory() as directory:
            cost = ingest.measure(Path(directory), 1000, rate, seconds=20.0, qos=qos)
        print(
            f"ingest, 1 000 channels, QoS {qos}, JSON, {cost.messages} readings: daemon "
            f"{cost.daemon_us:.1f} us CPU a reading, bare paho subscriber {cost.bare_us:.1f} us "
            f"CPU a message, ratio {cost.ratio:.2f} (to reach: {limit})"
        )
        missed |= cost.ratio > limit
    return missed


def _scaling() -> bool:
    scale = scaling.measure_cost(few=100, many=10_000, readings=40_000, pairs=5)
    print(
        f"scaling: {scale.few_us:.1f} us a reading at 100 channels, {scale.many_us:.1f} us at "
        f"10 000, ratio {scale.ratio:.2f} (to reach: 1.3)"
    )
    weight = scaling.measure_memory(few=1000, many=10_000)
    print(f"memory: {weight / 1024:.1f} KB a channel (to reach: 8)")
    return scale.ratio > 1.3 or weight > 8 * 1024


def _scrape() -> bool:
    with tempfile.TemporaryDirectory() as directory:
        scraped = scrape.measure(Path(directory), channels=10_000, rate=2000, pairs=3, seconds=10.0)
    print(
        f"scrape, {scraped.series} series of channels: {scraped.cpu_ms:.0f} ms CPU (to reach: 50); "
        f"scoring latency p99 {scraped.scraped_p99_s:.3f} s under {scraped.scrapes} scrapes, "
        f"{scraped.quiet_p99_s:.3f} s without, ratio {scraped.ratio:.2f} (to reach: 1.2)"
    )
    return scraped.cpu_ms > 50 or scraped.ratio > 1.2


def _training() -> bool:
    """The first is what is promised; the others say how it grows."""
    missed = False
    sizes = ((1000, 24.0, 64), (1000, 24.0, 0), (1000, 6.0, 0), (300, 24.0, 0), (100, 24.0, 0))
    for channels, hours, incidents in sizes:
        with tempfile.TemporaryDirectory() as directory:
            cost = training.measure(Path(directory), channels, hours, 2.0 * channels, incidents)
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
            missed |= cost.above_idle_mb > 500 or cost.ratio > 1.5 or cost.loss > 0.15
    return missed


PARTS: Mapping[str, Callable[[], bool]] = {
    "ingest": _ingest,
    "scaling": _scaling,
    "scrape": _scrape,
    "training": _training,
}
"""each says whether it missed what is to be reached"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", choices=sorted(PARTS), help="one part; default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    missed = [PARTS[name]() for name in ([options.only] if options.only else PARTS)]
    sys.exit(1 if any(missed) else 0)


if __name__ == "__main__":
    main()
