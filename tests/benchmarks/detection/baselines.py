"""The simple rules as detectors, with the kindest simple calibration, under the same promises.

`Ranked`: how rare a view is among the last 5 000 readings of its channel, as -log10 of its rank;
beyond the largest of them, 3 log10 of the ratio to it are added. The score is that over -log10 of
the promised risk of a reading, so that 1 is where the promise is. An alert is raised at a score of
1 or more that is above every score of the last 200 readings: without that rule all of them do far
worse.

`Commissioned`: for an asset whose first readings are known to be good. A running mean of each view
over 10 readings, in standard deviations of what it was there, the root mean square over the
channels, and a threshold of 3: no promise, a round figure.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from anomalyd.detection.reading import Floats
from anomalyd.detection.score import WEEK_S
from anomalyd.settings import Alerts, Stream
from tests.benchmarks.detection.judged import PER_READING, Detector, Judged, Promise
from tests.benchmarks.detection.rules import (
    VIEWS,
    View,
    before,
    ewma,
    half_space_trees_joint,
    river_is_there,
)
from tests.benchmarks.detection.series import Series

_HISTORY, _WARMUP, _NEW_PEAK, _BEYOND = 5000, 100, 200, 3.0
_SIGMAS, _SMOOTHING = 3.0, 10.0


class Ranked:
    """A view, calibrated by its rank."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._rarity: dict[tuple[str, int], Floats] = {}

    def __call__(
        self, series: Sequence[Series], promise: Promise, streams: Sequence[Stream] = ()
    ) -> list[Judged]:
        channels = sum(len(each.channels) for each in series)
        return [self._judge(each, promise, channels) for each in series]

    def _judge(self, series: Series, promise: Promise, channels: int) -> Judged:
        key = series.name, len(series)
        if key not in self._rarity:  # a set asks under each promise
            columns = self._view(series).T
            self._rarity[key] = np.stack([rarity(column) for column in columns], axis=1)
        risk = PER_READING if promise is Promise.READINGS else weekly_risk(series, channels)
        score = self._rarity[key] / -np.log10(risk)
        firing = score >= 1.0
        peak = score > _highest_before(score, _NEW_PEAK)
        onset = np.where(peak, score, 0.0)
        return Judged(score, firing, firing & peak, onset, np.full_like(score, np.nan))


class Commissioned:
    """A view, judged against an asset's first rows."""

    def __init__(self, view: View, rows: int) -> None:
        self._view = view
        self._rows = rows

    def __call__(
        self, series: Sequence[Series], promise: Promise, streams: Sequence[Stream] = ()
    ) -> list[Judged]:
        return [self._judge(each) for each in series]

    def _judge(self, series: Series) -> Judged:
        view = self._view(series)
        known = ~np.isnan(view)
        filled = np.where(known, view, view[known.argmax(axis=0), np.arange(view.shape[1])])
        smooth = np.where(known, ewma(filled, _SMOOTHING), np.nan)
        first = smooth[self._rows // 10 : self._rows]
        spread = np.nanstd(first, axis=0) + 1e-9
        z = np.nan_to_num((smooth - np.nanmean(first, axis=0)) / spread)
        score = np.sqrt(np.mean(z**2, axis=1, keepdims=True)) / _SIGMAS
        score = np.repeat(score, len(series.channels), axis=1)
        firing = score >= 1.0
        raised = firing & ~np.nan_to_num(before(firing.astype(float))).astype(np.bool_)
        onset = np.where(raised, score, 0.0)
        return Judged(score, firing, raised, onset, np.full_like(score, np.nan))


def ranked() -> dict[str, Detector]:
    """All rules that can run here."""
    return {name: Ranked(view) for name, view in _runnable(VIEWS).items()}


def commissioned(rows: int) -> dict[str, Detector]:
    """The same for assets; the EWMA rule is the plain value's."""
    views = dict(VIEWS) | {
        "EWMA z": lambda series: series.values,
        "HalfSpaceTrees": half_space_trees_joint,
    }
    return {name: Commissioned(view, rows) for name, view in _runnable(views).items()}


def weekly_risk(series: Series, channels: int) -> float:
    """Alarms a reading that the shipped budget allows, where there are so many channels."""
    budget = Alerts()
    week = min(budget.budget_per_week, 7.0 * budget.plant_budget_per_day / channels)
    return min(week * series.interval_s / WEEK_S, 0.5)


def rarity(view: Floats) -> Floats:
    """(N,) -log10 of the rank of each figure among the readings before it; 0 while they are few."""
    out = np.zeros(view.size)
    kept: list[float] = []
    order: deque[float] = deque()
    for index, figure in enumerate(view.tolist()):
        if figure != figure:
            continue
        if len(kept) >= _WARMUP:
            above = len(kept) - bisect_left(kept, figure)
            out[index] = -np.log10((1.0 + above) / (len(kept) + 1.0))
            if above == 0 and kept[-1] > 0.0:
                out[index] += _BEYOND * np.log10(figure / kept[-1])
        insort(kept, figure)
        order.append(figure)
        if len(order) > _HISTORY:
            del kept[bisect_left(kept, order.popleft())]
    return out


def _highest_before(score: Floats, readings: int) -> Floats:
    """(N, K) the highest of the last `readings` rows before each."""
    padded = np.vstack([np.full((readings, score.shape[1]), -np.inf), score[:-1]])
    spans = np.lib.stride_tricks.sliding_window_view(padded, readings, axis=0)
    return np.asarray(spans.max(axis=-1))


def _runnable(views: Mapping[str, View]) -> dict[str, View]:
    return {
        name: view for name, view in views.items() if name != "HalfSpaceTrees" or river_is_there()
    }
