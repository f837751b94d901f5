"""Restarts at random points of a recorded day: the same alerts as without.

Every restart is a save to disk and a fresh pipeline that goes on from it, fed with the same
batches; no process, so that a day of a plant takes minutes. What a kill loses is `kills.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomalyd.adapters.store import Generation, Store
from anomalyd.demo.faults import Fault
from anomalyd.demo.plant import Plant
from anomalyd.detection.reading import Readings
from anomalyd.runtime import memory, registry
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.memory import Facts, Memory
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.streams import channel_of, read_streams
from anomalyd.settings import Alerts, Channels, Stream
from tests.faults.table import Row

START_S = 1_748_772_000.0
STREAMS = (
    Stream(topic="{line}/{machine}/bearing_temperature", high=75.0, low=0.0),
    Stream(topic="{line}/{machine}/{sensor}", group_by=("line", "machine")),
)
CHANNELS, INTERVAL_S = 16, 10.0
DAY = 8640
"""readings of each channel"""
_LONGEST_BATCH = 40


class Day(NamedTuple):
    """What came of a recording."""

    alerts: list[Alert]
    scores: NDArray[np.float64]
    """(readings,)"""


def fresh(capacity: int = 64) -> Pipeline:
    """A pipeline that knows nothing."""
    served = registry.load(STREAMS, Path(), capacity)
    return Pipeline(
        "test",
        Channels(max=capacity),
        Alerts(plant_budget_per_day=1000.0),
        STREAMS,
        served.predictors,
        served.assets,
        served.forecasters,
    )


def plant(seed: int, steps: int) -> Plant:
    """One with every kind of fault, spread over the recording."""
    names = Plant(seed, CHANNELS).names
    at = (np.array([0.35, 0.45, 0.55, 0.65, 0.8]) * steps).astype(int).tolist()
    return Plant(
        seed,
        CHANNELS,
        (
            Fault("spike", names[1], start=at[0], size=25.0),
            Fault("shift", names[3], start=at[1], duration=steps // 20, size=5.0),
            Fault("stuck", names[9], start=at[2], duration=steps // 20),
            Fault("noise", names[12], start=at[3], duration=steps // 20, size=6.0),
            Fault("drift", names[0], start=at[4], duration=steps // 8, size=8.0),
        ),
    )


def play(seed: int, steps: int, cuts: Sequence[int], folder: Path, backwards: bool = False) -> Day:
    """One recording, with a restart before each of the batches in `cuts`. `backwards`: the channels
    join in the other order, so their rows are others."""
    story, rng = plant(seed, steps), np.random.default_rng(seed)
    readers = read_streams(STREAMS)
    pipeline = fresh()
    names = story.names[::-1] if backwards else story.names
    for name in names:
        pipeline.add(channel_of(readers, name))
    alerts: list[Alert] = []
    scores = []
    done = batch = 0
    while done < steps:
        if batch in cuts:
            pipeline = restarted(pipeline, folder)
        values = story.run(min(int(rng.integers(1, _LONGEST_BATCH)), steps - done))
        rows = np.array([pipeline.table.find(name) for name in story.names])
        times = START_S + INTERVAL_S * (done + np.arange(float(len(values))))
        outcome = pipeline.step(
            Readings(
                np.tile(rows, len(values)), np.repeat(times, rows.size), np.ravel(values).copy()
            )
        )
        alerts += outcome.alerts
        scores.append(outcome.verdicts.score)
        done, batch = done + len(values), batch + 1
    return Day(alerts, np.concatenate(scores))


def restarted(pipeline: Pipeline, folder: Path) -> Pipeline:
    """What a new process makes of what the old one has saved."""
    kept, store = memory.remember(pipeline, STREAMS), Store(folder)
    store.save(kept.arrays, msgspec.json.encode(kept.facts), "test", 0.0)
    found = next(store.generations())
    assert isinstance(found, Generation)
    facts = msgspec.json.decode(found.manifest.about, type=Facts)
    after = fresh(72)  # as many rows as nobody had before
    recalled = memory.recall(after, STREAMS, Memory(found.arrays, facts), 0.0)
    assert not recalled.anew
    assert not recalled.rebuilt
    return after


def both(seed: int, steps: int, restarts: int, backwards: bool = False) -> tuple[Day, Day]:
    """A recording without restarts, and the same with some at random points."""
    batches = 2 * steps // _LONGEST_BATCH
    cuts = np.random.default_rng(seed).choice(batches, restarts, replace=False).tolist()
    with tempfile.TemporaryDirectory() as folder:
        return (
            play(seed, steps, (), Path(folder)),
            play(seed, steps, cuts, Path(folder), backwards),
        )


def apart(whole: Day, broken: Day) -> float:
    """The largest difference of two scores; infinite where only one of them is known."""
    if (np.isnan(whole.scores) != np.isnan(broken.scores)).any():
        return np.inf
    return float(np.nanmax(np.abs(whole.scores - broken.scores)))


def compare(seed: int, steps: int, restarts: int) -> Row:
    """What the restarts have changed."""
    whole, broken = both(seed, steps, restarts)
    ours, theirs = ({(each.id, each.transition) for each in day.alerts} for day in (whole, broken))
    unlike = sum(a != b for a, b in zip(whole.alerts, broken.alerts, strict=False))
    return Row(
        "restart at a random moment of a day",
        restarts,
        lost=len(ours - theirs),
        duplicated=max(len(broken.alerts) - len(whole.alerts), 0),
        false_alarms=len(theirs - ours),
        note=f"{len(whole.scores)} readings, {len(whole.alerts)} documents, {unlike} of them "
        f"unlike, scores to {apart(whole, broken):.1g}",
    )


def day(directory: Path, times: int) -> Row:
    """A day of a plant with every kind of fault, restarted so often; all in memory."""
    return compare(1, DAY, times)
