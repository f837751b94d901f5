"""What limits cost: `python -m tests.benchmarks.detection.limit_cost`.

CPU of the whole pipeline for a reading, among 1 000 channels: none of them with limits, a hundred
with limits far away, a hundred with limits within reach of their noise. The cases take turns, so a
machine whose speed drifts changes all of them.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import torch

from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Readings
from anomalyd.runtime import registry
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Alerts, Channels, Stream

_CHANNELS, _LIMITED = 1000, 100
_WARM_UP, _READINGS, _TURNS = 160, 64, 5
_START_S = 1_700_000_000.0


class Case:
    """Steady channels, the first of them with a limit."""

    def __init__(self, limited: int, limit: float) -> None:
        streams = (Stream(topic="a/{x}"), Stream(topic="b/{x}", high=limit))
        served = registry.load(streams, Path(), _CHANNELS)
        channels = Channels(max=_CHANNELS)
        self._pipeline = Pipeline(
            "bench", channels, Alerts(), streams, served.predictors, served.forecasters
        )
        for row in range(_CHANNELS):
            self._pipeline.add(Channel(f"c{row}", {}, int(row < limited)))
        self._rng = np.random.default_rng(1)
        self._step = 0

    def run(self, readings: int) -> float:
        """CPU microseconds a reading, over so many of each channel."""
        rows, begun = np.arange(_CHANNELS), time.process_time()
        for _ in range(readings):
            times = np.full(_CHANNELS, _START_S + self._step)
            self._pipeline.step(Readings(rows, times, self._rng.standard_normal(_CHANNELS)))
            self._step += 1
        return 1e6 * (time.process_time() - begun) / (readings * _CHANNELS)


def main() -> None:
    """Print the medians."""
    torch.set_num_threads(1)
    cases = {
        "no channel with limits": Case(0, 0.0),
        f"{_LIMITED} limits far away": Case(_LIMITED, 1e6),
        f"{_LIMITED} limits within reach": Case(_LIMITED, 8.0),
    }
    for case in cases.values():
        case.run(_WARM_UP)
    costs = [[case.run(_READINGS) for case in cases.values()] for _ in range(_TURNS)]
    for name, figures in zip(cases, zip(*costs, strict=True), strict=True):
        print(f"{name:24} {statistics.median(figures):6.2f} us a reading")


if __name__ == "__main__":
    main()
