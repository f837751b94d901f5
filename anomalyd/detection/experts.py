"""The bank of simple experts: four O(1) forecasts per channel, and what the network sees of them.

The experts are persistence, a fast and a slow exponentially weighted mean, and an AR(1) model on
differences. Each keeps its running error, so the bank knows for every channel how hard that
channel is to forecast, in the channel's own units. The network (`model/next_step.py`) weighs the
experts; everything it sees here is free of the channel's scale and offset.

Called by the pipeline for live readings and by training for whole corpora: the same code, so the
network meets in service what it met in training. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]

EXPERTS = ("persistence", "ewma_fast", "ewma_slow", "ar_difference")

# Columns of the state. LAST to AR are the experts' standing forecasts, ERROR their running errors.
COUNT, LAST, FAST, SLOW, AR, DIFFERENCE, VARIANCE, COVARIANCE, SPREAD, QUANTUM, ERROR = range(11)
_SIZE = ERROR + len(EXPERTS)
_FORECASTS = slice(LAST, AR + 1)
_ERRORS = slice(ERROR, _SIZE)

# Memory of the running figures, in readings.
FAST_READINGS, SLOW_READINGS = 8.0, 400.0
_GLITCH = 20.0  # spreads
_TRICKLE = 1e-3
_CORRELATION_READINGS, _ERROR_READINGS, _SPREAD_READINGS = 300.0, 200.0, 2000.0

FEATURES = 12
_LIMIT = 8.0  # features are clipped to ± this: beyond it a jump is a jump
_FORECAST_LIMIT = 50.0  # in units of scale: an expert this far off gets no weight anyway


class Outlook(NamedTuple):
    """What the bank says of the next value of each of B channels."""

    forecasts: Floats
    """(B, experts), scale-free: (forecast - last) / scale"""
    features: NDArray[np.float32]
    """(B, FEATURES), scale-free"""
    last: Floats
    """(B,), channel units"""
    scale: Floats
    """(B,), channel units: the best expert's running error, with a floor"""


class ExpertBank:
    """Running state of the experts for `capacity` channels; 112 bytes a channel."""

    def __init__(self, capacity: int) -> None:
        # zeros, not empty: the pages of rows that are never used are never touched.
        self._state = np.zeros((capacity, _SIZE))

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._state[rows] = 0.0

    def quantum(self, rows: Rows) -> Floats:
        """(B,) smallest change seen on each channel: its resolution, 0 while it never changed."""
        quantum: Floats = self._state[rows, QUANTUM]
        return quantum

    def observe(self, rows: Rows, values: Floats, after_gap: NDArray[np.bool_]) -> Outlook:
        """Take one value of each channel in `rows` (unique) and look ahead to the next.

        `values`: (B,) channel units. `after_gap`: (B,) the time since the last value is no
        ordinary step, so the change across it says nothing about forecasting.
        """
        state = np.ascontiguousarray(self._state[rows].T)
        fresh = state[COUNT] == 0.0
        _restart(state, values, after_gap, fresh)
        _learn_errors(state, values)
        _learn_levels(state, values)
        self._state[rows] = state.T
        return _look_ahead(state)


def _restart(
    state: Floats, values: Floats, after_gap: NDArray[np.bool_], fresh: NDArray[np.bool_]
) -> None:
    """Where no ordinary step leads to `values`, let the short memories begin there."""
    anew = after_gap | fresh
    for column in (LAST, FAST, AR):
        np.copyto(state[column], values, where=anew)
    np.copyto(state[SLOW], values, where=fresh)
    np.copyto(state[DIFFERENCE], 0.0, where=anew)


def _learn_errors(state: Floats, values: Floats) -> None:
    """Each expert's running error; winsorised, so one outlier doesn't hide the next."""
    limit = 8.0 * state[_ERRORS] + 0.3 * state[SPREAD]
    missed = _tamed(np.abs(values - state[_FORECASTS]), limit, state[COUNT])
    state[_ERRORS] += _rate(state[COUNT], _ERROR_READINGS) * (missed - state[_ERRORS])


def _learn_levels(state: Floats, values: Floats) -> None:
    count = state[COUNT]
    # One glitch (65535, -9999) must not move for hours what remembers for hours.
    limit = _GLITCH * state[SPREAD]
    state[FAST] += _rate(count, FAST_READINGS) * _tamed(values - state[FAST], limit, count)
    off_level = _tamed(values - state[SLOW], limit, count)
    state[SLOW] += _rate(count, SLOW_READINGS) * off_level
    state[SPREAD] += _rate(count, _SPREAD_READINGS) * (np.abs(off_level) - state[SPREAD])

    difference = values - state[LAST]
    moved = np.abs(difference)
    smaller = (moved > 0.0) & ((state[QUANTUM] == 0.0) | (moved < state[QUANTUM]))
    np.copyto(state[QUANTUM], moved, where=smaller)

    rate = _rate(count, _CORRELATION_READINGS)
    clipped = _tamed(difference, 6.0 * np.sqrt(state[VARIANCE]), count)
    before = state[DIFFERENCE]
    state[COVARIANCE] += rate * (clipped * before - state[COVARIANCE])
    state[VARIANCE] += rate * (clipped * clipped - state[VARIANCE])
    state[DIFFERENCE] = clipped
    state[LAST] = values
    state[AR] = values + _persistence_of_change(state) * clipped
    state[COUNT] = count + 1.0


def _persistence_of_change(state: Floats) -> Floats:
    """(B,) lag-1 correlation of the differences, in [-0.9, 0.95]."""
    correlation: Floats = state[COVARIANCE] / (state[VARIANCE] + 1e-300)
    return correlation.clip(-0.9, 0.95)


def _look_ahead(state: Floats) -> Outlook:
    last, spread, errors = state[LAST], state[SPREAD], state[_ERRORS]
    floor = 1e-9 * (1.0 + np.abs(state[SLOW]))
    scale = errors.min(axis=0) + 0.01 * spread + floor
    ahead = (state[_FORECASTS] - last) / scale
    features = np.empty((FEATURES, last.size), dtype=np.float32)
    features[0:3] = _squash(ahead[1:])
    features[3] = _squash(state[DIFFERENCE] / scale)
    features[4:8] = _log_ratio(errors, scale)
    features[8] = _log_ratio(spread, scale)
    features[9] = state[DIFFERENCE] == 0.0
    features[10] = _persistence_of_change(state)
    features[11] = np.minimum(state[COUNT], 500.0) / 500.0
    forecasts = np.clip(ahead, -_FORECAST_LIMIT, _FORECAST_LIMIT)
    return Outlook(forecasts.T, np.ascontiguousarray(features.T), last, scale)


def _tamed(deviation: Floats, limit: Floats, count: Floats) -> Floats:
    """Winsorised at `limit`. A limit from few readings is none; a channel that never moved has a
    limit of 0, and a trickle lets it learn that it moves now."""
    reach = np.where(limit > 0.0, limit, _TRICKLE * np.abs(deviation))
    reach = np.where(count > 16.0, reach, np.inf)
    return np.clip(deviation, -reach, reach)


def _rate(count: Floats, readings: float) -> Floats:
    """Rate of an exponentially weighted mean that starts as the plain mean of what it has seen."""
    return np.maximum(1.0 / readings, 1.0 / (count + 1.0))


def _squash(ratio: Floats) -> Floats:
    return np.clip(np.arcsinh(ratio), -_LIMIT, _LIMIT)


def _log_ratio(figure: Floats, scale: Floats) -> Floats:
    return np.clip(np.log(figure / scale + 1e-6), -_LIMIT, _LIMIT)
