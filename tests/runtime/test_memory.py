"""What a pipeline remembers, put into a fresh one: nobody can tell that there was a restart, in
whatever rows the channels are then; a channel that means something else begins anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyd.demo.plant import Plant
from anomalyd.detection import columns
from anomalyd.detection.reading import Readings, Rows
from anomalyd.errors import StateError
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.runtime import memory, registry
from anomalyd.runtime.memory import Memory
from anomalyd.runtime.pipeline import Outcome, Pipeline
from anomalyd.runtime.streams import channel_of, read_streams
from anomalyd.settings import Alerts, Channels, Stream

pytestmark = pytest.mark.usefixtures("one_thread")

START_S = 1_748_772_000.0
HOT = Stream(topic="{line}/{machine}/bearing_temperature", high=150.0)
REST = Stream(topic="{line}/{machine}/{sensor}", group_by=("line", "machine"))
STREAMS = (HOT, REST)
CHANNELS = 16


def pipeline(
    streams: tuple[Stream, ...] = STREAMS, channels: Channels | None = None, name: str = ""
) -> Pipeline:
    """A fresh one; with `name`, as if its model had been retrained."""
    channels = channels or Channels(max=40)
    served = registry.load(streams, Path(), channels.max)
    for predictor in served.predictors:
        predictor.name = name or predictor.name
    return Pipeline(
        "test", channels, Alerts(), streams, served.predictors, served.assets, served.forecasters
    )


class Story:
    """A plant, fed to one pipeline after the other."""

    def __init__(self, seed: int = 4) -> None:
        self.plant = Plant(seed, CHANNELS)
        self.step = 0

    def tell(self, steps: int, *to: Pipeline, spoilt: float = 0.0) -> list[Outcome]:
        """The same readings to each; `spoilt` is added to the channel 3."""
        values = self.plant.run(steps)
        values[:, 3] += spoilt
        times = START_S + self.step + np.arange(float(steps))
        self.step += steps
        return [each.step(self.readings(each, times, values)) for each in to]

    def readings(
        self, to: Pipeline, times: NDArray[np.float64], values: NDArray[np.float64]
    ) -> Readings:
        rows = [to.table.find(name) for name in self.plant.names]
        known = np.array([row is not None for row in rows])
        at = np.array([row for row in rows if row is not None], dtype=np.intp)
        return Readings(
            np.tile(at, len(values)), np.repeat(times, at.size), values[:, known].ravel()
        )

    def join(self, to: Pipeline) -> None:
        readers = read_streams(STREAMS)
        for name in self.plant.names:
            assert to.add(channel_of(readers, name)) is not None


@pytest.fixture
def told() -> tuple[Story, Pipeline]:
    """400 readings of each channel, with holes in the table and an open alert."""
    story, before = Story(), pipeline()
    readers = read_streams(STREAMS)
    for name in ("x/y/first", "x/y/second"):
        before.add(channel_of(readers, name))
    story.join(before)
    story.tell(380, before)
    before.retire(0, START_S)
    story.tell(20, before, spoilt=500.0)
    assert before.open_alerts.open
    return story, before


def kept(of: Pipeline, rows: Rows) -> dict[str, NDArray[np.generic]]:
    found = columns.take(memory._Kinds(of).channel, rows)
    return {name: each for name, each in found.items() if name != "relations.asset"}


def test_nobody_can_tell_that_there_was_a_restart(told: tuple[Story, Pipeline]) -> None:
    """The same verdicts to the last bit, and the same documents: ids, reasons, recent readings."""
    story, before = told
    after = pipeline(channels=Channels(max=50))
    recalled = memory.recall(after, STREAMS, memory.remember(before, STREAMS), START_S)
    assert (before.table.rows().tolist() != after.table.rows().tolist()) is True
    assert ((), 0, ()) == (tuple(recalled.anew), recalled.rebuilt, tuple(recalled.cleared))
    for steps, spoilt in ((1, 500.0), (30, 500.0), (150, 0.0)):
        whole, broken = story.tell(steps, before, after, spoilt=spoilt)
        for name in ("score", "expected", "lower", "upper", "state", "kind"):
            ours, theirs = (getattr(each.verdicts, name) for each in (whole, broken))
            assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"), name
        assert list(whole.alerts) == list(broken.alerts)
    assert not after.open_alerts.open, "the alert of before the restart was cleared"


def test_every_column_comes_back(told: tuple[Story, Pipeline]) -> None:
    """Found without a list of their names: a second memory equals the first."""
    _, before = told
    first = memory.remember(before, STREAMS)
    after = pipeline()
    memory.recall(after, STREAMS, first, START_S)
    second = memory.remember(after, STREAMS)
    assert set(first.arrays) == set(second.arrays)
    numbers = {"channel/relations.asset", "asset/rows"}  # given anew
    for name in set(first.arrays) - numbers:
        assert np.array_equal(first.arrays[name], second.arrays[name], equal_nan=True), name
    assert first.facts == second.facts


@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 9, 16, 32, 64, 128])
def test_a_column_is_one_whatever_the_capacity(capacity: int) -> None:
    """A constant that is as long as the table by chance is no column."""

    def names(of: int) -> dict[str, list[str]]:
        kinds = memory._Kinds(pipeline(channels=Channels(max=of)))
        found = {kind: sorted(getattr(kinds, kind)) for kind in ("channel", "asset", "bank")}
        found |= {kind: sorted(getattr(kinds, kind)) for kind in ("limit", "blocks")}
        return found | {each.name: sorted(each.columns) for each in kinds.models}

    assert names(1009) == names(capacity)


def test_another_model_gets_its_state_from_the_windows(told: tuple[Story, Pipeline]) -> None:
    """h and c as if the model had read the window; all else stays, and no warm-up begins."""
    story, before = told
    after = pipeline(name="retrained")
    recalled = memory.recall(after, STREAMS, memory.remember(before, STREAMS), START_S)
    assert recalled.rebuilt == CHANNELS + 1
    rows = np.array(list(recalled.rows.values()))
    was = np.array([before.table.find(name) for name in recalled.rows])
    for name, column in kept(before, was).items():
        assert np.array_equal(column, kept(after, rows)[name], equal_nan=True), name
    predictor = after.parts.predictors[0]
    assert isinstance(predictor, NextStepPredictor)
    spoken = np.abs(predictor._h[rows]).sum(axis=1) > 0.0
    assert CHANNELS == spoken.sum()
    _, outcome = story.tell(60, before, after)
    assert not np.isnan(outcome.verdicts.score).any()


def test_a_channel_whose_stream_means_something_else_begins_anew(
    told: tuple[Story, Pipeline],
) -> None:
    """Its open alert is cleared; the others go on, though their stream has another number now."""
    _, before = told
    changed = REST.model_copy(update={"unit": "bar"})
    other = Stream(topic="other/{x}")
    after = pipeline((other, HOT, changed))
    recalled = memory.recall(
        after, (other, HOT, changed), memory.remember(before, STREAMS), START_S
    )
    assert {"bearing_temperature"} == {name.split("/")[-1] for name in recalled.rows}
    assert len(recalled.anew) == CHANNELS + 1 - len(recalled.rows)
    assert {"cleared"} == {alert.transition for alert in recalled.cleared}
    assert {alert.id for alert in recalled.cleared} == {
        each.id
        for row, each in before.open_alerts.open.items()
        if before.table[row].name in recalled.anew
    }
    assert sorted(recalled.rows.values()) == sorted(after.table.rows().tolist())
    assert all(after.table[row].stream == 1 for row in recalled.rows.values())


def test_an_open_alert_about_a_limit_goes_on(told: tuple[Story, Pipeline]) -> None:
    story, before = told
    name = next(each for each in story.plant.names if each.endswith("bearing_temperature"))
    row = before.table.find(name)
    assert row is not None
    times = START_S + story.step + np.arange(3.0)
    raised = before.step(Readings(np.full(3, row), times, np.full(3, 200.0)))
    (alert,) = [each for each in raised.alerts if each.kind == "range"]
    after = pipeline()
    recalled = memory.recall(after, STREAMS, memory.remember(before, STREAMS), START_S)
    rows = np.full(40, recalled.rows[name])
    later = after.step(Readings(rows, times[-1] + 1.0 + np.arange(40.0), np.full(40, 50.0)))
    (cleared,) = [each for each in later.alerts if each.kind == "range"]
    assert (alert.id, alert.started_at, "cleared") == (
        cleared.id,
        cleared.started_at,
        cleared.transition,
    )


def test_a_table_that_has_become_too_small_takes_what_it_can(
    told: tuple[Story, Pipeline],
) -> None:
    story, before = told
    after = pipeline(channels=Channels(max=10))
    recalled = memory.recall(after, STREAMS, memory.remember(before, STREAMS), START_S)
    assert (10, CHANNELS + 1 - 10) == (len(recalled.rows), len(recalled.anew))
    (outcome,) = story.tell(5, after)
    assert outcome.verdicts.score.size == 5 * 9  # one of the ten speaks no more


def test_state_of_another_version_is_refused_and_nothing_has_changed(
    told: tuple[Story, Pipeline],
) -> None:
    """By the name of the first column that is not what this version keeps."""
    _, before = told
    found = memory.remember(before, STREAMS)
    arrays = dict(found.arrays)
    arrays["channel/score"] = arrays["channel/score"].astype(np.float32)
    after = pipeline()
    with pytest.raises(StateError, match=r"channel score is float32\[\], here float64\[\]"):
        memory.recall(after, STREAMS, Memory(arrays, found.facts), START_S)
    assert 0 == len(after.table)
    longer = pipeline(channels=Channels(max=40, window=96))
    with pytest.raises(StateError, match=r"channels\.window"):
        memory.recall(longer, STREAMS, found, START_S)


@pytest.mark.parametrize("down_s", [3.0, 120.0, 3600.0])
def test_the_own_downtime_is_no_anomaly(down_s: float) -> None:
    """Neither a gap alarm nor silence nor a standstill: a short one is no gap at all, a long one is
    settled for a few readings."""
    story, before = Story(7), pipeline()
    story.join(before)
    story.tell(600, before)
    after = pipeline()
    memory.recall(after, STREAMS, memory.remember(before, STREAMS), START_S + 600)
    story.plant.run(int(down_s))
    story.step += int(down_s)
    (outcome,) = story.tell(300, after)
    assert [] == list(outcome.alerts)
    unscored = np.isnan(outcome.verdicts.score).reshape(300, CHANNELS)
    assert (0 if down_s < 10.0 else 3) == unscored.any(axis=1).sum()
