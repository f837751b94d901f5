"""What a reading costs as channels are added, and what a channel weighs.

Messages go through intake and pipeline in this process, in batches of the same size whatever the
number of channels, as they arrive at one rate. The figures for few and many channels alternate, so
a machine whose speed drifts changes both. Channels are of one age in both: the first readings of a
channel are learnt from one by one and cost more, and many channels in as many readings would be
young ones; what those cost is told beside. Memory is the growth of a process's resident set, each
number of channels in a process of its own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import payload
from anomalyd.detection.threshold import QUEUED
from anomalyd.runtime import registry
from anomalyd.runtime.inbox import Message
from anomalyd.runtime.intake import Intake
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Channels, Settings, Stream

BATCH = 500
_START_S = 1_700_000_000.0
_YOUNG = QUEUED
"""readings of a channel"""


@dataclass(frozen=True)
class ScalingCost:
    """CPU microseconds a reading, and the ratio that matters."""

    few_us: float
    many_us: float
    ratio: float
    young_us: float
    """a channel's first readings behind the very first, where there are many"""


class Plantful:
    """A pipeline with `channels` channels, and messages for it."""

    def __init__(self, channels: int) -> None:
        streams = (
            Stream(
                topic="plant/{line}/{machine}/{sensor}",
                time="ts",
                interval_s=1.0,
                group_by=("line", "machine"),
            ),
        )
        settings = Settings(streams=streams, channels=Channels(max=max(channels, 50_000)))
        served = registry.load(streams, Path.cwd(), settings.channels.max)
        self.pipeline = Pipeline(
            "bench", settings.channels, settings.alerts, streams, served.predictors
        )
        self._intake = Intake(streams, self.pipeline, settings.channels.max_skew_s)
        self._plant = Plant(1, channels)
        self._topics = [f"plant/{name}" for name in self._plant.names]
        self._step = 0

    def messages(self, readings: int) -> list[Message]:
        """So many readings, or a few more: whole seconds of the plant."""
        steps = -(-readings // len(self._topics))
        made = []
        for row in self._plant.run(steps).tolist():
            time_s = _START_S + self._step
            made += [
                Message(topic, payload(time_s, value), 0.0)
                for topic, value in zip(self._topics, row, strict=True)
            ]
            self._step += 1
        return made

    def score(self, messages: list[Message]) -> float:
        """CPU seconds for scoring `messages` in batches."""
        begun = time.process_time()
        for at in range(0, len(messages), BATCH):
            readings, _ = self._intake.read(messages[at : at + BATCH], _START_S + self._step)
            self.pipeline.step(readings)
        return time.process_time() - begun

    def grow_up(self, channels: int) -> float:
        """Find the channels, and let them say their first readings; microseconds for one of these,
        without the first of all."""
        self.score(self.messages(channels))
        spent_s = sum(self.score(self.messages(channels)) for _ in range(_YOUNG))
        return 1e6 * spent_s / (_YOUNG * channels)


def measure_cost(few: int, many: int, readings: int, pairs: int) -> ScalingCost:
    """Score `readings` at each size, `pairs` times in turn; medians."""
    small, large = Plantful(few), Plantful(many)
    small.grow_up(few)
    young_us = large.grow_up(many)
    costs = []
    for _ in range(pairs):
        pair = []
        for plant in (small, large):
            messages = plant.messages(readings)
            pair.append(1e6 * plant.score(messages) / len(messages))
        costs.append(pair)
    return ScalingCost(
        statistics.median(pair[0] for pair in costs),
        statistics.median(pair[1] for pair in costs),
        statistics.median(pair[1] / pair[0] for pair in costs),
        young_us,
    )


def measure_memory(few: int, many: int) -> float:
    """Bytes that each further channel adds to a process that scores it."""
    small, large = (_resident_bytes(channels) for channels in (few, many))
    return (large - small) / (many - few)


def _resident_bytes(channels: int) -> int:
    command = [sys.executable, "-m", "tests.benchmarks.scaling", str(channels)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _weigh(channels: int) -> int:
    plant = Plantful(channels)
    for _ in range(140):  # more than a window of readings
        plant.score(plant.messages(channels))
    # Not ru_maxrss: that begins at what the parent process had.
    return os.sysconf("SC_PAGESIZE") * int(Path("/proc/self/statm").read_text().split()[1])


if __name__ == "__main__":
    print(_weigh(int(sys.argv[1])))
