"""From a promised number of false alarms to a threshold, for every channel and view.

Each view of a channel (its residual, its noise, its level, ...) keeps a compact sketch of its own
tail: a running high quantile, and the moments of the *peaks* above it. A peak is the largest value
of one stay above the quantile, so neighbours in time count once and the promise is about events,
not samples. The threshold is where a generalised Pareto tail with these moments gives the promised
rate; it is never below what was lately seen as normal.

Peaks over threshold: Pickands, "Statistical inference using extreme order statistics", 1975;
moment estimators: Hosking and Wallis, "Parameter and quantile estimation for the generalized
Pareto distribution", 1987; streaming use: Siffer et al., "Anomaly detection in streams with
extreme value theory", 2017. Quantile in the log domain by stochastic approximation: Robbins and
Monro, 1951. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Flags, Floats, Rows

_EXCEEDED = 0.05  # share of readings above the running quantile
_START_READINGS = 32.0
_RATE_READINGS = 5000.0
_PEAKS = 300.0  # memory of the moments

# Until a channel has shown peaks of its own, its tail is taken to be as the prior says; these
# weights are in peaks.
_SHAPE_WEIGHT, _EXCESS_WEIGHT = 10.0, 4.0
_HEAVIEST = 0.5  # a heavier tail has no variance to estimate its shape from
_LARGEST_MARGIN, _LARGEST_READINGS = 1.1, 20_000.0

COUNT, QUANTILE, CLUSTERS, PEAKS, EXCESS, SQUARE, PEAK, LARGEST, THRESHOLD = range(9)
_SIZE = 9


@dataclass(frozen=True, slots=True)
class TailTraits:
    """What is known of the tail of a view before it has shown peaks of its own."""

    shape: float
    """0 = exponential, more = heavier, less = it has an end"""
    lightest: float
    """no shape below this is believed, whatever the peaks say"""
    excess: float
    """mean height of a peak above the quantile, in units of the quantile"""
    caution: float
    """standard errors that are added to the shape: few peaks say little of how heavy a tail is"""
    rate: float
    """how fast the quantile follows; a slow view must not follow a drift that it should see"""
    patience: float
    """readings by which a threshold stands twice as far out: neighbouring values of a slow view are
    alike, so that many of them say little"""


class Tails:
    """Sketches of some views of `capacity` channels."""

    def __init__(self, capacity: int, traits: Sequence[TailTraits]) -> None:
        self._state = np.zeros((capacity, _SIZE, len(traits)))
        (
            self._shape,
            self._lightest,
            self._excess,
            self._caution,
            self._rate,
            self._patience,
        ) = np.array([astuple(trait) for trait in traits]).T[:, :, None]

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._state[rows] = 0.0

    def thresholds(self, rows: Rows) -> Floats:
        """(views, B) the value of each view at which the score is 1."""
        return np.ascontiguousarray(self._state[rows, THRESHOLD].T)

    def quantiles(self, rows: Rows) -> Floats:
        """(views, B) the high quantile of each view."""
        return np.ascontiguousarray(self._state[rows, QUANTILE].T)

    def counts(self, rows: Rows) -> Floats:
        """(views, B) values that each view has learnt from."""
        return np.ascontiguousarray(self._state[rows, COUNT].T)

    def learn(self, rows: Rows, views: Floats, floor: Floats, risk: Floats, learns: Flags) -> None:
        """Take values that count as normal.

        `views`: (views, B) values >= 0, or NaN where there is nothing to learn. `floor`: (B,) or
        (views, B) what the instrument can't resolve. `risk`: (B,) promised events a reading and
        view. `learns`: (B,) which of them to take.
        """
        if not learns.all():
            rows, views, floor, risk = (
                rows[learns],
                views[:, learns],
                floor[..., learns],
                risk[learns],
            )
        if not rows.size:
            return
        before = self._state[rows].transpose(1, 2, 0)
        state = before.copy(order="C")
        known = ~np.isnan(views)
        views = np.where(known, views, 0.0)
        _follow_quantile(state, views, floor, self._rate)
        _gather_peaks(state, views)
        state[THRESHOLD] = self._threshold(state, floor, risk)
        self._state[rows] = np.where(known, state, before).transpose(2, 0, 1)

    def _threshold(self, state: Floats, floor: Floats, risk: Floats) -> Floats:
        quantile, peaks, mean = state[QUANTILE], state[PEAKS], state[EXCESS]
        variance = np.maximum(state[SQUARE] - mean * mean, 1e-6 * mean * mean + 1e-300)
        shape = 0.5 * (1.0 - mean * mean / variance)
        shape = (_SHAPE_WEIGHT * self._shape + peaks * np.clip(shape, -0.5, 0.5)) / (
            _SHAPE_WEIGHT + peaks
        )
        shape += self._caution / np.sqrt(peaks + _SHAPE_WEIGHT)
        shape = np.clip(shape, self._lightest, _HEAVIEST)
        excess = (_EXCESS_WEIGHT * self._excess * quantile + peaks * mean) / (
            _EXCESS_WEIGHT + peaks
        )
        excess *= 1.0 + 1.0 / np.sqrt(
            peaks + 1.0
        )  # one standard error of the mean on the safe side
        rarity = np.log(np.maximum(np.maximum(state[CLUSTERS], 1e-3) / risk, 1.0))
        reach = excess * (1.0 - shape) * _grown(shape, rarity)
        reach *= 1.0 + self._patience / state[COUNT]
        seen = np.maximum(_LARGEST_MARGIN * state[LARGEST], floor)
        return np.asarray(np.maximum(quantile + reach, seen))


def _follow_quantile(state: Floats, views: Floats, floor: Floats, slowest: Floats) -> None:
    count, quantile = state[COUNT], state[QUANTILE]
    starting = count < _START_READINGS
    # At first twice the running mean: near the 95 % quantile of any bell-shaped residual.
    mean = quantile + (2.0 * views - quantile) / (count + 1.0)
    rate = np.maximum(slowest, 2.0 / (count + 10.0))
    moved = quantile * np.exp(rate * ((views > quantile) - _EXCEEDED))
    state[QUANTILE] = np.where(starting, mean, np.maximum(moved, floor))
    state[COUNT] = count + 1.0


def _gather_peaks(state: Floats, views: Floats) -> None:
    above = views > state[QUANTILE]
    closes = ~above & (state[PEAK] > 0.0)
    rate = np.maximum(1.0 / _RATE_READINGS, 1.0 / state[COUNT])
    state[CLUSTERS] += rate * (closes - state[CLUSTERS])
    peaks = state[PEAKS] + closes
    weight = np.where(closes, np.maximum(1.0 / _PEAKS, 1.0 / np.maximum(peaks, 1.0)), 0.0)
    excess = np.maximum(state[PEAK] - state[QUANTILE], 0.0)
    state[EXCESS] += weight * (excess - state[EXCESS])
    state[SQUARE] += weight * (excess * excess - state[SQUARE])
    state[PEAKS] = peaks
    ended = state[PEAK].copy()
    state[PEAK] = np.where(above, np.maximum(state[PEAK], views), 0.0)
    kept = state[LARGEST] * (1.0 - 1.0 / _LARGEST_READINGS)
    # Only a peak that has ended was normal after all: a drift that is still rising is not.
    state[LARGEST] = np.where(closes, np.maximum(kept, ended), kept)


def _grown(shape: NDArray[np.float64], rarity: Floats) -> Floats:
    """(exp(shape * rarity) - 1) / shape, also where shape is 0."""
    small = np.abs(shape) < 1e-6
    safe = np.where(small, 1.0, shape)
    return np.where(small, rarity, np.expm1(safe * rarity) / safe)
