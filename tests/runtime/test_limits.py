"""Limits, through the pipeline: what is warned of and how it reads, what is raised when it is
reached, and what this leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Floats, Readings
from anomalyd.runtime import registry
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Alerts, Channels, Stream

START_S = 1_748_772_000.0
INTERVAL_S = 10.0
LIMIT = 85.0
CHANNELS = Channels(max=8)
HIGH = Stream(topic="{sensor}", high=LIMIT, unit="°C")
ABOUT_LIMITS = ("forecast", "range")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Run:
    """A pipeline, a channel of each stream, and the alerts about their limits."""

    def __init__(self, *streams: Stream) -> None:
        served = registry.load(streams, Path(), CHANNELS.max)
        self.pipeline = Pipeline(
            "test", CHANNELS, Alerts(), streams, served.predictors, served.forecasters
        )
        for index, stream in enumerate(streams):
            self.pipeline.add(Channel(f"c{index}", {}, index, stream.unit))
        self.told: list[Alert] = []

    def live(self, values: Floats, row: int = 0, begin: int = 0, batch: int = 10_000) -> None:
        """Readings of one channel, one every ten seconds."""
        for first in range(0, len(values), batch):
            part = values[first : first + batch]
            times = START_S + INTERVAL_S * np.arange(begin + first, begin + first + len(part), 1.0)
            outcome = self.pipeline.step(Readings(np.full(len(part), row), times, part))
            self.told += [each for each in outcome.alerts if each.kind in ABOUT_LIMITS]

    def ends(self, kind: str) -> list[str]:
        return [
            each.transition
            for each in self.told
            if each.kind == kind and each.transition != "updated"
        ]


def heating(readings: int = 940, seed: int = 1) -> Floats:
    """Steady at 40 °C, then on the way to 120: past 85 at the 913th reading."""
    noise = 0.2 * np.random.default_rng(seed).standard_normal(readings)
    since = np.maximum(np.arange(readings) - 500.0, 0.0)
    return np.asarray(40.0 + 80.0 * -np.expm1(-since / 500.0) + noise)


def calm(readings: int = 600, seed: int = 1) -> Floats:
    return 40.0 + np.random.default_rng(seed).standard_normal(readings)


@cache
def heated() -> Run:
    """Nobody changes it."""
    run = Run(HIGH)
    run.live(heating())
    return run


def at_s(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() - START_S


def test_what_heats_up_is_warned_of_until_it_is_there() -> None:
    """One early warning; at the limit it is over, and the limit is an alert."""
    run = heated()
    assert ["raised", "cleared"] == run.ends("forecast")
    assert ["raised"] == run.ends("range")
    raised, cleared = (
        each for each in run.told if each.transition != "updated" and each.crosses_at
    )
    assert cleared.reason.startswith("reached; it was: reaches 85 °C in")
    assert raised.id == cleared.id != run.told[-1].id
    assert at_s(raised.updated_at) < at_s(cleared.updated_at) - 600.0


def test_an_early_warning_says_what_when_and_how_sure() -> None:
    """The truth lies within the interval; a score of 1 is the threshold."""
    run = heated()
    raised = run.told[0]
    assert ("raised", "forecast", "warning", LIMIT) == (
        raised.transition,
        raised.kind,
        raised.severity,
        raised.limit,
    )
    assert raised.crosses_at is not None
    when = raised.crosses_at
    assert at_s(when.earliest) <= 9130.0 <= at_s(when.latest)
    assert at_s(when.earliest) <= at_s(when.likely) <= at_s(when.latest)
    assert raised.reason.startswith("reaches 85 °C in ")
    assert raised.score >= 1.0
    assert raised.model.startswith("forecast-")
    assert 60 == len(raised.recent)


def test_a_lower_limit_is_an_upper_one_upside_down() -> None:
    """The same moments, the same interval; and it says that it falls."""
    up, down = heated(), Run(Stream(topic="{sensor}", low=-LIMIT, unit="°C"))
    down.live(-heating())
    assert [each.crosses_at for each in up.told] == [each.crosses_at for each in down.told]
    assert down.told[0].reason.startswith("falls to -85 °C in ")
    assert "is below its limit" in down.told[-1].reason


def test_it_is_the_same_in_batches_as_one_by_one() -> None:
    """Same alerts, same moments, same words."""
    whole, single = heated(), Run(HIGH)
    single.live(heating(), batch=1)
    assert [(each.id, each.reason) for each in whole.told] == [
        (each.id, each.reason) for each in single.told
    ]


def test_a_calm_channel_is_not_warned_of() -> None:
    """Nor one that heats up without a limit."""
    run = Run(HIGH, Stream(topic="{sensor}"))
    run.live(calm())
    run.live(heating(), row=1)
    assert [] == run.told


def test_a_warning_that_no_longer_holds_is_cleared() -> None:
    """The heating is switched off in time."""
    run = Run(HIGH)
    course = heating(850)
    run.live(np.concatenate((course, np.full(500, course[-1]) + calm(500) - 40.0)))
    assert ["raised", "cleared"] == run.ends("forecast")
    assert [] == run.ends("range")
    assert run.told[-1].reason.startswith("over; it was: ")


def test_out_of_limits_is_an_alert_that_ends_inside() -> None:
    """At the first reading; cleared after twenty that are back."""
    run = Run(HIGH)
    run.live(np.concatenate((calm(200), np.full(30, 90.0), calm(100))))
    raised, cleared = (each for each in run.told if each.kind == "range")
    assert "90 °C is above its limit of 85 °C" == raised.reason
    assert ("critical", 2000.0) == (raised.severity, at_s(raised.started_at))
    assert 2490.0 == at_s(cleared.updated_at)


def test_nothing_is_raised_while_a_channel_warms_up() -> None:
    """Its first minutes are a state, not an alarm."""
    run = Run(HIGH)
    run.live(np.full(CHANNELS.warmup_readings - 1, 90.0))
    assert [] == run.told


def test_a_channel_that_retires_takes_its_warning_along() -> None:
    """And the next one in its row begins without it."""
    run = Run(HIGH)
    run.live(heating(880))
    assert ["raised"] == run.ends("forecast")
    left = run.pipeline.retire(0, START_S + 1e5)
    (cleared,) = (each for each in left if each.kind in ABOUT_LIMITS)
    assert ("cleared", "forecast") == (cleared.transition, cleared.kind)
    assert 0 == run.pipeline.add(Channel("next", {}, 0))
    run.told.clear()
    run.live(calm(400), begin=20_000)
    assert [] == run.told


def test_it_is_counted_and_active() -> None:
    """By kind, in the counters of all alerts."""
    run = heated()
    assert 1 == run.pipeline.transitions["forecast", "warning", "raised"]
    assert run.pipeline.count_active()["critical"] >= 1


def test_limits_change_no_verdict() -> None:
    """What a warning is open about is learnt like everything else."""
    outcomes = []
    for stream in (HIGH, Stream(topic="{sensor}")):
        run = Run(stream)
        times = START_S + INTERVAL_S * np.arange(940.0)
        outcomes.append(run.pipeline.step(Readings(np.zeros(940, np.intp), times, heating())))
    limited, unlimited = (each.verdicts for each in outcomes)
    np.testing.assert_array_equal(limited.score, unlimited.score)
    np.testing.assert_array_equal(limited.state, unlimited.state)


def test_a_silence_does_not_look_like_a_jump_in_the_course() -> None:
    """A day later the sensor is elsewhere: nothing is concluded from before and after."""
    run = Run(HIGH)
    run.live(calm(600))
    run.live(calm(200, seed=2) + 30.0, begin=9_000)
    assert [] == run.ends("forecast")
