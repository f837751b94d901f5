"""`make bench`: every figure that the README quotes, from one command."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from tests.benchmarks import ingest, scaling, scrape


def main() -> None:
    torch.set_num_threads(1)
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
    scale = scaling.measure_cost(few=100, many=10_000, readings=40_000, pairs=5)
    print(
        f"scaling: {scale.few_us:.1f} us a reading at 100 channels, {scale.many_us:.1f} us at "
        f"10 000, ratio {scale.ratio:.2f} (to reach: 1.3)"
    )
    weight = scaling.measure_memory(few=1000, many=10_000)
    print(f"memory: {weight / 1024:.1f} KB a channel (to reach: 8)")
    with tempfile.TemporaryDirectory() as directory:
        scraped = scrape.measure(Path(directory), channels=10_000, rate=2000, pairs=3, seconds=10.0)
    print(
        f"scrape, {scraped.series} series of channels: {scraped.cpu_ms:.0f} ms CPU (to reach: 50); "
        f"scoring latency p99 {scraped.scraped_p99_s:.3f} s under {scraped.scrapes} scrapes, "
        f"{scraped.quiet_p99_s:.3f} s without, ratio {scraped.ratio:.2f} (to reach: 1.2)"
    )
    missed |= scale.ratio > 1.3 or weight > 8 * 1024
    missed |= scraped.cpu_ms > 50 or scraped.ratio > 1.2
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
