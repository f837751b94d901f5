"""Readings of the history through the real pipeline with a network that doesn't serve.

Called by the gate on its thread, with a pipeline of its own: nothing that serves is touched. Cases
that have nothing to do with each other go through it side by side, each with channels and assets of
its own: a step of the network costs about as much for sixty channels as for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Floats, Readings
from anomalyd.model.next_step import NextStep
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.model.segment import Segment
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Alerts, Channels, Stream

_BATCH = 4096
_ROUNDS = 64  # in a batch, at most: whoever wants the thread to stop waits for no more


@dataclass(frozen=True, slots=True)
class Plant:
    """What the pipeline needs to know beside the readings."""

    channels: Mapping[str, Channel]
    streams: Sequence[Stream]
    settings: Channels
    alerts: Alerts


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of it."""

    raised: Sequence[tuple[str, float]]
    """channel and time of each alert raised"""
    promised: float
    """alerts that the budget allows in that time"""
    channels: Sequence[str]
    rows: NDArray[np.int32]
    """(R,) places in `channels`"""
    times: Floats
    """(R,)"""
    score: Floats
    """(R,)"""


Case = Sequence[Segment]
"""what is rehearsed together: no channel or asset of it meets another case's"""


def rehearse(
    network: NextStep, plant: Plant, case: Case, each: Callable[[], None] = lambda: None
) -> Rehearsed:
    """Score the segments in order of time; `each` is called before every batch, and may raise."""
    return _Rehearsal(network, plant, [case]).run(each)[0]


def rehearse_each(
    network: NextStep, plant: Plant, cases: Sequence[Case], each: Callable[[], None] = lambda: None
) -> list[Rehearsed]:
    """As `rehearse` does it for each case alone, side by side."""
    return _Rehearsal(network, plant, cases).run(each) if cases else []


def _names(case: Case) -> list[str]:
    return sorted({segment.channel for segment in case})


class _Rehearsal:
    """Cases in one pipeline."""

    def __init__(self, network: NextStep, plant: Plant, cases: Sequence[Case]) -> None:
        self._cases = cases
        self._names = [_names(case) for case in cases]
        self._count = count = sum(map(len, self._names))
        # A channel may raise here what it may raise in the plant, however few are rehearsed.
        budget = plant.alerts.plant_budget_per_day * count / len(plant.channels)
        predictor = NextStepPredictor(network, "rehearsed", count)
        self._pipeline = Pipeline(
            "gate",
            plant.settings.model_copy(update={"max": count}),
            plant.alerts.model_copy(update={"plant_budget_per_day": budget}),
            plant.streams,
            [predictor] * (len(plant.streams) + 1),
        )
        self._row: dict[tuple[int, str], int] = {}
        self._owner: dict[str, tuple[int, str]] = {}
        for at, names in enumerate(self._names):
            for name in names:
                self._add(at, plant.channels[name])

    def _add(self, at: int, channel: Channel) -> None:
        """Under a name of the case's own."""
        asset = None if channel.asset is None else f"{at}/{channel.asset}"
        own = replace(channel, name=f"{at}/{channel.name}", asset=asset)
        row = self._pipeline.add(own)
        assert row is not None, "the table has room for all of them"
        self._row[at, channel.name] = row
        self._owner[own.name] = at, channel.name

    def run(self, each: Callable[[], None]) -> list[Rehearsed]:
        """What came of each case."""
        case, readings = self._readings()
        raised: list[list[tuple[str, float]]] = [[] for _ in self._cases]
        scores = []
        size = min(_BATCH, _ROUNDS * self._count)
        for begin in range(0, len(readings), size):
            each()
            batch = np.arange(begin, min(begin + size, len(readings)))
            outcome = self._pipeline.step(readings.take(batch))
            scores.append(outcome.verdicts.score)
            for alert in outcome.alerts:
                if alert.transition == "raised":
                    at, name = self._owner[alert.channel]
                    updated_s = datetime.fromisoformat(alert.updated_at).timestamp()
                    raised[at].append((name, updated_s))
        score = np.concatenate(scores)
        return [
            self._of_case(
                at, raised[at], readings.take(np.flatnonzero(case == at)), score[case == at]
            )
            for at in range(len(self._cases))
        ]

    def _readings(self) -> tuple[NDArray[np.int32], Readings]:
        """Of all cases, each in order of time: their firsts, their seconds, and so on; and whose
        each one is."""
        parts = []
        for at, segments in enumerate(self._cases):
            rows = [np.full(s.times.size, self._row[at, s.channel], np.intp) for s in segments]
            times = np.concatenate([segment.times for segment in segments])
            values = np.concatenate([segment.values for segment in segments])
            order = np.argsort(times, kind="stable")
            own = np.concatenate(rows)[order], times[order], values[order]
            parts.append(
                (np.full(times.size, at, np.int32), np.arange(times.size, dtype=np.int32), *own)
            )
        case, place, *columns = (np.concatenate(each) for each in zip(*parts, strict=True))
        parts.clear()
        order = np.lexsort((case, place)).astype(np.int32)
        return case[order], Readings(*(column[order] for column in columns))

    def _of_case(
        self, at: int, raised: Sequence[tuple[str, float]], readings: Readings, score: Floats
    ) -> Rehearsed:
        spans = sum(float(segment.times[-1] - segment.times[0]) for segment in self._cases[at])
        promised = self._pipeline.budget_per_week * spans / (7 * 86400.0)
        names = self._names[at]
        place = np.zeros(self._count, dtype=np.int32)
        place[[self._row[at, name] for name in names]] = np.arange(len(names))
        return Rehearsed(raised, promised, names, place[readings.rows], readings.times, score)
