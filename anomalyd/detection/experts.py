"""The bank of simple experts: seven O(1) forecasts per channel, and what the network sees of them.

The experts are persistence, a fast and a slow exponentially weighted mean, the time-of-day
profile as it is and shifted to the newest value, an AR(1) model on differences, and "as one cycle
ago". They look 1, 6 and 24 readings ahead. Each keeps its running error, so the bank knows for
every channel how hard that channel is to forecast, in the channel's own units. The network
(`model/next_step.py`) weighs the experts; everything it sees here is free of the channel's scale
and offset.

Called by the predictor for live readings and by training for whole corpora: the same code, so the
network meets in service what it met in training. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.cycles import Cycles
from anomalyd.detection.profile import Profiles
from anomalyd.detection.reading import Flags, Floats, Rows

HORIZONS = (1, 6, 24)
"""readings ahead"""
EXPERTS = (
    "persistence",
    "ewma_fast",
    "ewma_slow",
    "profile",
    "profile_shifted",
    "ar_difference",
    "cycle",
)

# Columns of the state. LAST to CYCLE are the experts' standing forecasts of the next value, NETWORK
# what the network made of them; from ERROR on, the running errors of all in the same order.
(
    COUNT,
    ORIGIN,
    LAST,
    FAST,
    SLOW,
    PROFILE,
    SHIFTED,
    AR,
    CYCLE,
    NETWORK,
    MEDIUM,
    DIFFERENCE,
    VARIANCE,
    COVARIANCE,
    SPREAD,
    QUANTUM,
    SIMPLE,
    ERROR,
) = range(18)
NETWORK_ERROR = ERROR + len(EXPERTS)
_SIZE = NETWORK_ERROR + 1
_FORECASTS, _ALL_FORECASTS = slice(LAST, CYCLE + 1), slice(LAST, NETWORK + 1)
_ERRORS, _ALL_ERRORS = slice(ERROR, NETWORK_ERROR), slice(ERROR, _SIZE)
_SKILL_READINGS = 100.0  # from which on the running errors are more than their beginning
# The best expert serves where the network's running error is so many times its own, until the
# network is as good again. The best of seven by their past is flattered: hence not at once.
_WORSE, _AS_GOOD = 1.1, 1.03
# As long as the running errors' memory: before that they are plain means, in which the network's
# first readings weigh as much as any.
_SETTLED_READINGS = 200.0

# Memory of the running figures, in readings.
FAST_READINGS, MEDIUM_READINGS, SLOW_READINGS = 8.0, 60.0, 400.0
_GLITCH = 20.0  # spreads
_TRICKLE = 1e-3
_CORRELATION_READINGS, _ERROR_READINGS, _SPREAD_READINGS = 300.0, 200.0, 2000.0

FEATURES, SIGNED_FEATURES = 26, 13
"""what the network sees of a channel; the first of them change sign with the signal"""
_LIMIT = 8.0  # features are clipped to ± this: beyond it a jump is a jump
_FORECAST_LIMIT = 50.0  # in units of scale: an expert this far off gets no weight anyway


class Outlook(NamedTuple):
    """What the bank says of the coming values of each of B channels."""

    forecasts: Floats
    """(B, horizons, experts), scale-free: (forecast - last) / scale"""
    features: NDArray[np.float32]
    """(B, FEATURES), scale-free"""
    last: Floats
    """(B,), channel units"""
    scale: Floats
    """(B,), channel units: the best expert's running error, with a floor"""
    usual: Floats
    """(B,), channel units: the next value as the time of day has it"""
    simple: Floats
    """(B,), channel units: the best expert's next value where the network is worse, else NaN"""


class Beats(NamedTuple):
    """When one value of each of B channels was read; arrays (B,)."""

    times: Floats
    """seconds since 1970"""
    interval_s: Floats
    """usual time between the channel's values"""
    after_gap: Flags
    """the time since the last value is no ordinary step, so the change across it says nothing
    about forecasting"""
    quarantined: Flags | None = None
    """the channel is under alert or in maintenance; None: none is"""

    def take(self, chosen: Flags | slice) -> Beats:
        """Those of some of the channels."""
        times, interval_s, after_gap, quarantined = self
        return Beats(
            times[chosen],
            interval_s[chosen],
            after_gap[chosen],
            None if quarantined is None else quarantined[chosen],
        )


class ExpertBank:
    """Running state of the experts for `capacity` channels."""

    def __init__(self, capacity: int) -> None:
        # zeros, not empty: the pages of rows that are never used are never touched.
        self._state = np.zeros((capacity, _SIZE))
        self._profiles = Profiles(capacity)
        self._cycles = Cycles(capacity)

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._state[rows] = 0.0
        self._profiles.reset(rows)
        self._cycles.reset(rows)

    def quantum(self, rows: Rows) -> Floats:
        """(B,) smallest change seen on each channel: its resolution, 0 while it never changed."""
        quantum: Floats = self._state[rows, QUANTUM]
        return quantum

    def tell(self, rows: Rows, forecasts: Floats) -> None:
        """The network's forecasts (B,) of the next values, to compare it with the experts."""
        self._state[rows, NETWORK] = forecasts

    def told(self, rows: Rows) -> Floats:
        """(B,) those forecasts, whoever serves."""
        return np.asarray(self._state[rows, NETWORK])

    def skill(self, rows: Rows) -> Floats:
        """(B,) 1 - the network's running error / the best expert's: 0 is no better than that, below
        0 is worse; NaN while too little is known, and where an expert is never wrong."""
        state = self._state[rows]
        best = state[:, _ERRORS].min(axis=1)
        known = (state[:, COUNT] >= _SKILL_READINGS) & (best > 0.0)
        ratio = state[:, NETWORK_ERROR] / np.where(known, best, 1.0)
        return np.where(known, 1.0 - ratio, np.nan)

    def observe(self, rows: Rows, values: Floats, beats: Beats) -> Outlook:
        """Take one value (B,) of each channel in `rows` (unique) and look ahead."""
        state = np.ascontiguousarray(self._state[rows].T)
        fresh = state[COUNT] == 0.0
        np.copyto(state[ORIGIN], values, where=fresh)
        self._cycles.reset(rows[beats.after_gap])
        _restart(state, values, beats.after_gap, fresh)
        _learn_errors(state, values)
        _compare(state, beats.quarantined)
        tame = _learn_levels(state, values)
        self._cycles.learn(rows, tame)
        self._profiles.learn(rows, beats.times, tame, beats.interval_s)
        forecasts = self._forecasts(rows, state, beats)
        state[_FORECASTS] = forecasts[0]
        self._state[rows] = state.T
        has = self._profiles.known(rows), self._cycles.known(rows)
        return _outlook(state, forecasts, *has)

    def _forecasts(self, rows: Rows, state: Floats, beats: Beats) -> Floats:
        """(horizons, experts, B), channel units."""
        last, origin = state[LAST], state[ORIGIN]
        forecasts = np.empty((len(HORIZONS), len(EXPERTS), rows.size))
        forecasts[:, 0], forecasts[:, 1], forecasts[:, 2] = last, state[FAST], state[SLOW]
        ahead = np.array((0, *HORIZONS))[:, None] * beats.interval_s
        usual = self._profiles.at(rows, beats.times + ahead)
        known = self._profiles.known(rows)
        forecasts[:, 3] = np.where(known, origin + usual[1:], state[MEDIUM])
        forecasts[:, 4] = np.where(known, last + usual[1:] - usual[0], last)
        phi = _persistence_of_change(state)
        reach = phi / (1.0 - phi) * state[DIFFERENCE]
        for at, power in enumerate(_powers(phi)):
            forecasts[at, 5] = last + (1.0 - power) * reach
        cycled = origin + self._cycles.ahead(rows, HORIZONS)
        forecasts[:, 6] = np.where(self._cycles.known(rows), cycled, last)
        return forecasts


def _restart(
    state: Floats, values: Floats, after_gap: NDArray[np.bool_], fresh: NDArray[np.bool_]
) -> None:
    """Where no ordinary step leads to `values`, let the short memories begin there."""
    anew = after_gap | fresh
    for column in (LAST, FAST, MEDIUM, PROFILE, SHIFTED, AR, CYCLE, NETWORK):
        np.copyto(state[column], values, where=anew)
    np.copyto(state[SLOW], values, where=fresh)
    np.copyto(state[DIFFERENCE], 0.0, where=anew)


def _learn_errors(state: Floats, values: Floats) -> None:
    """Each one's running error; winsorised, so one outlier doesn't hide the next."""
    limit = 8.0 * state[_ALL_ERRORS] + 0.3 * state[SPREAD]
    missed = _tamed(np.abs(values - state[_ALL_FORECASTS]), limit, state[COUNT])
    rate = _rate(state[COUNT], _ERROR_READINGS)
    state[_ALL_ERRORS] += rate * (missed - state[_ALL_ERRORS])


def _compare(state: Floats, quarantined: Flags | None) -> None:
    """Who serves: the network or, where that has been worse of late, the best expert. Under alert
    that stays: some expert foresees any fault that repeats itself, and would make it normal."""
    errors = state[_ERRORS]
    worse = state[NETWORK_ERROR] > np.where(state[SIMPLE] > 0.0, _AS_GOOD, _WORSE) * errors.min(0)
    serves = worse & (state[COUNT] >= _SETTLED_READINGS)
    if quarantined is not None:
        serves &= ~quarantined
    np.copyto(state[SIMPLE], 0.0, where=True if quarantined is None else ~quarantined)
    if (chosen := np.flatnonzero(serves)).size:
        state[SIMPLE, chosen] = 1.0 + errors[:, chosen].argmin(axis=0)


def _learn_levels(state: Floats, values: Floats) -> Floats:
    """Take the values; (B,) what may be remembered for long, relative to the origin."""
    count = state[COUNT]
    # One glitch (65535, -9999) must not move for hours what remembers for hours.
    limit = _GLITCH * state[SPREAD]
    state[FAST] += _rate(count, FAST_READINGS) * _tamed(values - state[FAST], limit, count)
    state[MEDIUM] += _rate(count, MEDIUM_READINGS) * _tamed(values - state[MEDIUM], limit, count)
    off_level = _tamed(values - state[SLOW], limit, count)
    tame = state[SLOW] + off_level - state[ORIGIN]
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
    state[COUNT] = count + 1.0
    return np.asarray(tame)


def _persistence_of_change(state: Floats) -> Floats:
    """(B,) lag-1 correlation of the differences, in [-0.9, 0.95]."""
    return np.asarray(np.clip(state[COVARIANCE] / (state[VARIANCE] + 1e-300), -0.9, 0.95))


def _powers(phi: Floats) -> tuple[Floats, ...]:
    """phi to the power of each horizon; by products, which cost a tenth of `**`."""
    second = phi * phi
    sixth = second * second * second
    twelfth = sixth * sixth
    return phi, sixth, twelfth * twelfth


def _outlook(state: Floats, forecasts: Floats, has_profile: Flags, has_cycle: Flags) -> Outlook:
    last, spread, errors = state[LAST], state[SPREAD], state[_ERRORS]
    floor = 1e-9 * (1.0 + np.abs(state[SLOW]))
    scale = errors.min(axis=0) + 0.01 * spread + floor
    ahead = (forecasts - last) / scale
    features = np.empty((FEATURES, last.size), dtype=np.float32)
    features[0:6] = _squash(ahead[0, 1:])
    features[6:8], features[8] = _squash(ahead[1, 3:5]), _squash(ahead[1, 6])
    features[9:11], features[11] = _squash(ahead[2, 3:5]), _squash(ahead[2, 6])
    features[12] = _squash(state[DIFFERENCE] / scale)
    features[13:20] = _log_ratio(errors, scale)
    features[20] = _log_ratio(spread, scale)
    features[21] = state[DIFFERENCE] == 0.0
    features[22] = _persistence_of_change(state)
    features[23] = np.minimum(state[COUNT], 500.0) / 500.0
    features[24], features[25] = has_profile, has_cycle
    ahead = np.clip(ahead, -_FORECAST_LIMIT, _FORECAST_LIMIT)
    simple = np.full(last.size, np.nan)
    if (chosen := np.flatnonzero(state[SIMPLE])).size:
        simple[chosen] = forecasts[0, state[SIMPLE, chosen].astype(np.intp) - 1, chosen]
    return Outlook(
        ahead.transpose(2, 0, 1),
        np.ascontiguousarray(features.T),
        last,
        scale,
        state[PROFILE],
        simple,
    )


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
