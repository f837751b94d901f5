"""The pipeline's rules, with the shipped model: what a batch says, what raises and what ends an
alert, and what neither late, broken nor missing readings may change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyd.demo.plant import Fault, Plant
from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Floats, Kind, Readings, State, Verdicts
from anomalyd.runtime import registry
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.pipeline import RECENT_READINGS, Pipeline
from anomalyd.settings import Alerts, Channels, Stream

START_S = 1_748_772_000.0  # 2025-06-01T10:00:00Z
CHANNELS = Channels(max=64)
QUICK = Channels(max=64, warmup_readings=8)
STREAM = Stream(topic="{line}/{machine}/{sensor}")

Rows = NDArray[np.intp]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Run:
    """A pipeline, and all that it said."""

    def __init__(
        self, alerts: Alerts | None = None, channels: Channels = CHANNELS, stream: Stream = STREAM
    ) -> None:
        served = registry.load((stream,), Path(), channels.max)
        rules = alerts or Alerts()
        self.pipeline = Pipeline("test", channels, rules, (stream,), served.predictors)
        self.alerts: list[Alert] = []

    def add(self, *names: str, asset: str | None = None) -> list[int]:
        """Rows of new channels."""
        rows = [
            self.pipeline.add(Channel(name, {"sensor": name}, 0, "bar", asset)) for name in names
        ]
        assert None not in rows
        return [row for row in rows if row is not None]

    def step(self, readings: Readings) -> Verdicts:
        outcome = self.pipeline.step(readings)
        self.alerts += outcome.alerts
        return outcome.verdicts

    def live(self, row: int, values: Floats | Sequence[float], start: float = 0.0) -> Verdicts:
        """One channel, a reading a second from `start` seconds after the beginning."""
        times = START_S + start + np.arange(len(values))
        return self.step(Readings(np.full(len(values), row), times, np.asarray(values, float)))

    def transitions(self) -> list[tuple[str, str, float]]:
        """(transition, kind, seconds after the beginning), without updates."""
        return [
            (alert.transition, alert.kind, _seconds(alert.updated_at) - START_S)
            for alert in self.alerts
            if alert.transition != "updated"
        ]


def noise(readings: int, seed: int = 0) -> Floats:
    """A quiet channel: 20 bar, give or take one."""
    return np.random.default_rng(seed).normal(20.0, 1.0, readings)


def quiet(readings: int = 1000, alerts: Alerts | None = None) -> tuple[Run, int]:
    """A channel that has been quiet for so many seconds."""
    run = Run(alerts)
    (row,) = run.add("quiet")
    run.live(row, noise(readings))
    assert not run.alerts
    return run, row


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def states(verdicts: Verdicts) -> list[State]:
    return [State(code) for code in verdicts.state.tolist()]


def kinds(verdicts: Verdicts) -> list[Kind]:
    return [Kind(code) for code in verdicts.kind.tolist()]


# --- batches --------------------------------------------------------------------------------------

ASSET, ALONE = ("a/m/one", "a/m/two", "a/m/three"), ("a/n/four", "a/o/five")
FAULT_FROM, TICKS = 330, 370


def plant_of_five(seed: int = 0) -> Readings:
    """Three channels that move together until one of them leaves, and two alone, in the order in
    which a network might deliver them: jittered, with repeats, late ones and broken ones."""
    rng = np.random.default_rng(seed)
    common = np.sin(np.arange(TICKS) / 7.0) + 0.3 * rng.standard_normal(TICKS)
    values = common[:, None] * [1.0, 3.0, -2.0, 0.0, 0.0] + 0.2 * rng.standard_normal((TICKS, 5))
    values[FAULT_FROM:, 1] = -values[FAULT_FROM:, 1]
    values[FAULT_FROM + 10, 3] += 50.0
    values[rng.random(values.shape) < 0.005] = np.nan
    times = np.arange(TICKS)[:, None] + rng.uniform(0.0, 0.3, values.shape)
    rows = np.broadcast_to(np.arange(5), values.shape)
    copies = np.where(rng.random(values.shape) < 0.1, 2, 1) * (rng.random(values.shape) > 0.02)
    flat = np.repeat(np.arange(values.size), copies.ravel())
    arrivals = times.ravel()[flat] + rng.uniform(0.0, 0.3, flat.size) * (rng.random(flat.size) < 0.1)
    again = np.concatenate(([False], flat[1:] == flat[:-1]))
    newer = again & (rng.random(flat.size) < 0.7)
    moments = times.ravel()[flat] + np.where(newer, 0.35, 0.0)
    order = np.argsort(arrivals + np.where(again, 0.35, 0.0), kind="stable")
    return Readings(
        rows.ravel()[flat][order], START_S + moments[order], values.ravel()[flat][order]
    )


def run_in(cuts: Sequence[int], readings: Readings, stream: Stream = STREAM) -> tuple[Run, Verdicts]:
    """The five channels' readings, cut at these places."""
    run = Run(channels=QUICK, stream=stream)
    run.add(*ASSET, asset="m")
    run.add(*ALONE)
    edges = [0, *cuts, len(readings)]
    parts = [
        run.step(readings.take(np.arange(first, end)))
        for first, end in zip(edges, edges[1:], strict=False)
    ]
    columns = (np.concatenate(column) for column in zip(*map(astuple, parts), strict=True))
    return run, Verdicts(*columns)


def same(one: Verdicts, other: Verdicts) -> bool:
    """Codes equal, scores to 1e-5."""
    codes = np.array_equal(one.state, other.state) and np.array_equal(one.kind, other.kind)
    return codes and np.allclose(one.score, other.score, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("interval_s", [None, 2.0])
def test_a_batch_says_what_its_readings_say_one_by_one(interval_s: float | None) -> None:
    """However readings are cut into batches, the verdicts and the alerts are the same; what the
    channels of an asset say together included."""
    stream = Stream(topic="{line}/{machine}/{sensor}", interval_s=interval_s)
    readings = plant_of_five()
    size = len(readings)
    run, verdicts = run_in(range(1, size), readings, stream)
    assert {Kind.NONE, Kind.RESIDUAL, Kind.RELATION, Kind.LATE, Kind.VALUE} <= set(kinds(verdicts))
    expected = [(alert.id, alert.transition, alert.kind) for alert in run.alerts]
    rng = np.random.default_rng(0)
    for cuts in ([], range(5, size, 5), np.flatnonzero(rng.random(size) < 0.05).tolist()):
        again, other = run_in(cuts, readings, stream)
        assert same(verdicts, other)
        assert sorted(expected) == sorted((each.id, each.transition, each.kind) for each in again.alerts)
