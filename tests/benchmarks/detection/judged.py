"""What a detector says of a series: the columns that every protocol scores.

anomalyd's come from `Replay.blocks`, the code of `anomalyd replay`, with the labels out of its
sight. The baselines (`baselines.py`) fill the same columns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Protocol

import numpy as np

from anomalyd.detection.reading import Flags, Floats, State
from anomalyd.detection.score import WEEK_S
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.replay import Replay
from anomalyd.settings import Alerts, Settings, Stream
from tests.benchmarks.detection.gathered import Gathered
from tests.benchmarks.detection.series import Series

PER_READING = 1e-4
"""the promise of one false alarm in 10 000 readings"""
_NO_LIMIT = 1e9


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert that was raised."""

    at: int
    """row of the series"""
    channel: str
    """the first of its contributors: what the alert names"""


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts on N readings of K channels."""

    score: Floats
    """(N, K) 1 at the threshold; 0 where the channel could not be scored"""
    firing: Flags
    """(N, K) an alert stands"""
    raised: Flags
    """(N, K) an alert was raised with this reading"""
    onset: Floats
    """(N, K) the score where an alert was raised, 0 elsewhere; a rule that can tell what it would
    raise at lower thresholds has those scores here, too"""
    expected: Floats
    """(N, K) NaN where nothing was expected"""
    alerts: Sequence[Raised] = field(default_factory=list)


def judge(series: Sequence[Series], settings: Settings) -> list[Judged]:
    """Replay all series in one run; each one's verdicts."""
    recording = Gathered(series)
    with tempfile.TemporaryDirectory() as folder:
        blocks = list(Replay(settings, Path(folder)).blocks(recording))
    order = np.argsort(recording.owners(), kind="stable")
    ends = np.cumsum([each.values.size for each in series])[:-1]
    verdicts = [block.verdicts for block in blocks]
    columns = [
        np.split(np.concatenate(figures)[order], ends)
        for figures in (
            [each.score for each in verdicts],
            [each.state for each in verdicts],
            [each.expected for each in verdicts],
        )
    ]
    alerts = _raised(series, [alert for block in blocks for alert in block.alerts])
    return [
        _judged(each, score, state, expected, raised)
        for each, score, state, expected, raised in zip(series, *columns, alerts, strict=True)
    ]


class Promise(Enum):
    """What a detector is asked to keep."""

    WEEK = "the shipped budget: one false alarm a channel and week"
    READINGS = "one false alarm in 10 000 readings of a channel"


class Detector(Protocol):
    """Judges all series of a set; the labels are not for it."""

    def __call__(
        self, series: Sequence[Series], promise: Promise, streams: Sequence[Stream] = ()
    ) -> list[Judged]: ...


def anomalyd(
    series: Sequence[Series], promise: Promise, streams: Sequence[Stream] = ()
) -> list[Judged]:
    """The shipped configuration, with the streams of the data set.

    A budget is stated by the week, so the promise by readings takes a run for each sampling
    interval.
    """
    if promise is Promise.WEEK:
        return judge(series, Settings(streams=tuple(streams)))
    found: dict[int, Judged] = {}
    intervals = [each.interval_s for each in series]
    for interval_s in sorted(set(intervals)):
        chosen = [index for index, each in enumerate(intervals) if each == interval_s]
        week = PER_READING * WEEK_S / interval_s
        alerts = Alerts(budget_per_week=week, plant_budget_per_day=_NO_LIMIT)
        settings = Settings(streams=tuple(streams), alerts=alerts)
        found |= zip(chosen, judge([series[index] for index in chosen], settings), strict=True)
    return [found[index] for index in range(len(series))]


def _judged(
    series: Series, score: Floats, state: Floats, expected: Floats, alerts: Sequence[Raised]
) -> Judged:
    shape = series.values.shape
    firing = state.reshape(shape) == State.FIRING
    # The state falls back for at least one reading before an alert can be raised anew.
    raised = firing & ~np.vstack([np.zeros((1, shape[1]), dtype=np.bool_), firing[:-1]])
    score = np.nan_to_num(score).reshape(shape)
    onset = np.where(raised, score, 0.0)
    return Judged(score, firing, raised, onset, expected.reshape(shape), alerts)


def _raised(series: Sequence[Series], alerts: Sequence[Alert]) -> list[list[Raised]]:
    owner = {channel: index for index, each in enumerate(series) for channel in each.channels}
    found: list[list[Raised]] = [[] for _ in series]
    for alert in alerts:
        if alert.transition == "raised":
            index = owner[alert.channel]
            time_s = datetime.fromisoformat(alert.started_at).timestamp()
            at = int(np.argmin(np.abs(series[index].times - time_s)))
            named = alert.contributors[0].channel if alert.contributors else alert.channel
            found[index].append(Raised(at, named))
    return found
