"""Readings of the history through the real pipeline with a network that doesn't serve.

Called by the gate on its thread, with a pipeline of its own: nothing that serves is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Floats, Readings
from anomalyd.model.next_step import NextStep
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.model.segment import Segment
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Alerts, Channels, Stream

_BATCH = 4096


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
    rows: Floats
    """(R,) places in `channels`"""
    times: Floats
    """(R,)"""
    score: Floats
    """(R,)"""


def rehearse(
    network: NextStep,
    plant: Plant,
    segments: Sequence[Segment],
    each: Callable[[], None] = lambda: None,
) -> Rehearsed:
    """Score the segments in order of time; `each` is called before every batch, and may raise."""
    names = sorted({segment.channel for segment in segments})
    predictor = NextStepPredictor(network, "rehearsed", len(names))
    pipeline = Pipeline(
        "gate",
        plant.settings.model_copy(update={"max": len(names)}),
        plant.alerts,
        plant.streams,
        [predictor] * (len(plant.streams) + 1),
    )
    row = {name: pipeline.add(plant.channels[name]) for name in names}
    rows = np.concatenate([np.full(s.times.size, row[s.channel], np.intp) for s in segments])
    times = np.concatenate([segment.times for segment in segments])
    values = np.concatenate([segment.values for segment in segments])
    order = np.argsort(times, kind="stable")
    readings = Readings(rows[order], times[order], values[order])
    raised, scores = [], []
    for begin in range(0, len(readings), _BATCH):
        each()
        batch = np.arange(begin, min(begin + _BATCH, len(readings)))
        outcome = pipeline.step(readings.take(batch))
        scores.append(outcome.verdicts.score)
        raised += [
            (alert.channel, datetime.fromisoformat(alert.updated_at).timestamp())
            for alert in outcome.alerts
            if alert.transition == "raised"
        ]
    spans = sum(float(segment.times[-1] - segment.times[0]) for segment in segments)
    promised = pipeline.budget_per_week * spans / (7 * 86400.0)
    return Rehearsed(
        raised, promised, names, readings.rows.astype(float), readings.times, np.concatenate(scores)
    )
