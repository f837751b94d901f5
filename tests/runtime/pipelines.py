"""A pipeline with the shipped model, the readings that a test feeds it, and the alerts it told."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np

from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Floats, Readings, Verdicts
from anomalyd.runtime import registry
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Alerts, Channels, Stream

START_S = 1_748_772_000.0  # 2025-06-01T10:00:00Z
CHANNELS = Channels(max=64)
QUICK = Channels(max=64, warmup_readings=8)
STREAM = Stream(topic="{line}/{machine}/{sensor}")
RULES = Alerts(runbook_url="https://example.org/runbook")
SLOW_TO_RAISE = Alerts(pending_readings=3, accept_after_s=200.0, update_every_s=100.0)
QUIET_S = 1000


class Run:
    """A pipeline, and all alerts that it told."""

    def __init__(
        self, alerts: Alerts | None = None, channels: Channels = CHANNELS, stream: Stream = STREAM
    ) -> None:
        served = registry.load((stream,), Path(), channels.max)
        self.pipeline = Pipeline("test", channels, alerts or RULES, (stream,), served.predictors)
        self.alerts: list[Alert] = []

    def add(self, *names: str, asset: str | None = None) -> list[int]:
        """Rows of new channels."""
        channels = [Channel(name, {"sensor": name}, 0, "bar", asset) for name in names]
        rows = [self.pipeline.add(channel) for channel in channels]
        assert None not in rows
        return [row for row in rows if row is not None]

    def step(self, readings: Readings) -> Verdicts:
        outcome = self.pipeline.step(readings)
        self.alerts += outcome.alerts
        return outcome.verdicts

    def live(self, row: int, values: Floats | Sequence[float], start: float = 0.0) -> Verdicts:
        """One channel, a reading a second from `start` seconds after the beginning."""
        times = START_S + start + np.arange(float(len(values)))
        return self.step(Readings(np.full(len(values), row), times, np.asarray(values, np.float64)))

    def together(self, rows: Sequence[int], values: Floats) -> Verdicts:
        """Several channels, a reading of each a second; `values` (readings, channels)."""
        times = np.repeat(START_S + np.arange(len(values)), len(rows))
        return self.step(Readings(np.tile(rows, len(values)), times, values.ravel()))

    def ends(self) -> list[tuple[str, str, float]]:
        """(transition, kind, seconds after the beginning) of raises and clears."""
        return [
            (alert.transition, alert.kind, since(alert.updated_at))
            for alert in self.alerts
            if alert.transition != "updated"
        ]

    def transitions(self) -> list[str]:
        """Raises and clears."""
        return [transition for transition, *_ in self.ends()]


def since(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() - START_S


def noise(readings: int, seed: int = 0) -> Floats:
    """A quiet channel: 20 bar, give or take one."""
    return np.random.default_rng(seed).normal(20.0, 1.0, readings)


@cache
def _quiet(alerts: Alerts) -> Run:
    run = Run(alerts)
    (row,) = run.add("quiet")
    run.live(row, noise(QUIET_S))
    assert not run.alerts
    return run


def quiet(alerts: Alerts | None = None) -> tuple[Run, int]:
    """A channel that has been quiet for `QUIET_S` seconds."""
    return deepcopy(_quiet(alerts or RULES)), 0
