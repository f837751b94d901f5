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
_AHEAD = np.array((0, *HORIZONS))[:, None]
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
_FEW_READINGS = 16.0  # no limit is told from so few
_TRICKLE = 1e-3
_CORRELATION_READINGS, _ERROR_READINGS, _SPREAD_READINGS = 300.0, 200.0, 2000.0

FEATURES, SIGNED_FEATURES = 26, 13
"""what the network sees of a channel; the first of them change sign with the signal"""
_LIMIT = 10.0  # features are clipped to ± this: beyond it a jump is a jump
_FORECAST_LIMIT = 500.0  # in units of scale: an expert this far off gets no weight anyway


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
        state = self._state.take(rows, 0).T.copy()
        fresh = state[COUNT] == 0.0
        anew = beats.after_gap | fresh
        if np.count_nonzero(anew):
            np.copyto(state[ORIGIN], values, where=fresh)
            self._cycles.reset(rows[beats.after_gap])
            _restart(state, values, anew, fresh)
        pace = _Pace.of(state[COUNT])
        _learn_errors(state, values, pace)
        _compare(state, beats.quarantined)
        tame = _learn_levels(state, values, pace)
        self._cycles.learn(rows, tame)
        self._profiles.learn(rows, beats.times, tame, beats.interval_s)
        has_profile, has_cycle = self._profiles.known(rows), self._cycles.known(rows)
        phi = _persistence_of_change(state)
        forecasts = self._forecasts(rows, state, beats, phi, has_profile, has_cycle)
        state[_FORECASTS] = forecasts[0]
        self._state[rows] = state.T
        return _outlook(state, forecasts, phi, has_profile, has_cycle)

    def _forecasts(
        self,
        rows: Rows,
        state: Floats,
        beats: Beats,
        phi: Floats,
        has_profile: Flags,
        has_cycle: Flags,
    ) -> Floats:
        """(horizons, experts, B), channel units."""
        last, origin = state[LAST], state[ORIGIN]
        forecasts = np.empty((len(HORIZONS), len(EXPERTS), rows.size))
        forecasts[:, 0], forecasts[:, 1], forecasts[:, 2] = last, state[FAST], state[SLOW]
        forecasts[:, 3], forecasts[:, 4], forecasts[:, 6] = state[MEDIUM], last, last
        if np.count_nonzero(has_profile):
            usual = self._profiles.at(rows, beats.times + _AHEAD * beats.interval_s)
            np.copyto(forecasts[:, 3], origin + usual[1:], where=has_profile)
            np.copyto(forecasts[:, 4], last + usual[1:] - usual[0], where=has_profile)
        reach = phi / (1.0 - phi) * state[DIFFERENCE]
        for at, power in enumerate(_powers(phi)):
            forecasts[at, 5] = last + (1.0 - power) * reach
        if np.count_nonzero(has_cycle):
            cycled = origin + self._cycles.ahead(rows, HORIZONS)
            np.copyto(forecasts[:, 6], cycled, where=has_cycle)
        return forecasts


class _Pace(NamedTuple):
    """How fast B channels learn."""

    plain: Floats
    """rate of a mean of all that a channel has seen"""
    young: Flags | None
    """so few readings that a limit from them is none; None: no channel"""

    @staticmethod
    def of(count: Floats) -> _Pace:
        young = ~(count > _FEW_READINGS)
        return _Pace(1.0 / (count + 1.0), young if np.count_nonzero(young) else None)

    def rate(self, readings: float) -> Floats:
        """Rate of an exponentially weighted mean that starts as the plain mean of what it has
        seen."""
        return np.maximum(1.0 / readings, self.plain)

    def tamed(self, deviation: Floats, limit: Floats) -> Floats:
        """Winsorised at `limit`. A channel that never moved has a limit of 0, and a trickle lets
        it learn that it moves now."""
        limited = limit > 0.0
        if np.count_nonzero(limited) < limited.size:
            limit = np.where(limited, limit, _TRICKLE * np.abs(deviation))
        if self.young is not None:
            limit = np.where(self.young, np.inf, limit)
        return np.minimum(np.maximum(deviation, -limit), limit)


def _restart(state: Floats, values: Floats, anew: Flags, fresh: Flags) -> None:
    """Where no ordinary step leads to `values`, let the short memories begin there."""
    for column in (LAST, FAST, MEDIUM, PROFILE, SHIFTED, AR, CYCLE, NETWORK):
        np.copyto(state[column], values, where=anew)
    np.copyto(state[SLOW], values, where=fresh)
    np.copyto(state[DIFFERENCE], 0.0, where=anew)


def _learn_errors(state: Floats, values: Floats, pace: _Pace) -> None:
    """Each one's running error; winsorised, so one outlier doesn't hide the next."""
    limit = 8.0 * state[_ALL_ERRORS] + 0.3 * state[SPREAD]
    missed = pace.tamed(np.abs(values - state[_ALL_FORECASTS]), limit)
    state[_ALL_ERRORS] += pace.rate(_ERROR_READINGS) * (missed - state[_ALL_ERRORS])


def _compare(state: Floats, quarantined: Flags | None) -> None:
    """Who serves: the network or, where that has been worse of late, the best expert. Under alert
    that stays: some expert foresees any fault that repeats itself, and would make it normal."""
    errors = state[_ERRORS]
    margin = np.where(state[SIMPLE] > 0.0, _AS_GOOD, _WORSE)
    worse = state[NETWORK_ERROR] > margin * np.minimum.reduce(errors)
    serves = worse & (state[COUNT] >= _SETTLED_READINGS)
    if quarantined is not None:
        serves &= ~quarantined
    np.copyto(state[SIMPLE], 0.0, where=True if quarantined is None else ~quarantined)
    if np.count_nonzero(serves):
        chosen = np.flatnonzero(serves)
        state[SIMPLE, chosen] = 1.0 + errors[:, chosen].argmin(axis=0)


def _learn_levels(state: Floats, values: Floats, pace: _Pace) -> Floats:
    """Take the values; (B,) what may be remembered for long, relative to the origin."""
    # One glitch (65535, -9999) must not move for hours what remembers for hours.
    limit = _GLITCH * state[SPREAD]
    for column, readings in ((FAST, FAST_READINGS), (MEDIUM, MEDIUM_READINGS)):
        state[column] += pace.rate(readings) * pace.tamed(values - state[column], limit)
    off_level = pace.tamed(values - state[SLOW], limit)
    tame = state[SLOW] + off_level - state[ORIGIN]
    state[SLOW] += pace.rate(SLOW_READINGS) * off_level
    state[SPREAD] += pace.rate(_SPREAD_READINGS) * (np.abs(off_level) - state[SPREAD])

    difference = values - state[LAST]
    moved = np.abs(difference)
    smaller = (moved > 0.0) & ((state[QUANTUM] == 0.0) | (moved < state[QUANTUM]))
    np.copyto(state[QUANTUM], moved, where=smaller)

    rate = pace.rate(_CORRELATION_READINGS)
    clipped = pace.tamed(difference, 6.0 * np.sqrt(state[VARIANCE]))
    before = state[DIFFERENCE]
    state[COVARIANCE] += rate * (clipped * before - state[COVARIANCE])
    state[VARIANCE] += rate * (clipped * clipped - state[VARIANCE])
    state[DIFFERENCE] = clipped
    state[LAST] = values
    state[COUNT] += 1.0
    return np.asarray(tame)


def _persistence_of_change(state: Floats) -> Floats:
    """(B,) lag-1 correlation of the differences, in [-0.9, 0.95]."""
    phi = state[COVARIANCE] / (state[VARIANCE] + 1e-300)
    return np.asarray(np.minimum(np.maximum(phi, -0.9), 0.95))


def _powers(phi: Floats) -> tuple[Floats, ...]:
    """phi to the power of each horizon; by products, which cost a tenth of `**`."""
    second = phi * phi
    sixth = second * second * second
    twelfth = sixth * sixth
    return phi, sixth, twelfth * twelfth


def _outlook(
    state: Floats, forecasts: Floats, phi: Floats, has_profile: Flags, has_cycle: Flags
) -> Outlook:
    last, spread, errors = state[LAST], state[SPREAD], state[_ERRORS]
    floor = 1e-9 * (1.0 + np.abs(state[SLOW]))
    scale = np.minimum.reduce(errors) + 0.01 * spread + floor
    ahead = (forecasts - last) / scale
    features = np.empty((FEATURES, last.size), dtype=np.float32)
    signed = np.empty((SIGNED_FEATURES, last.size))
    signed[0:6] = ahead[0, 1:]
    signed[6:8], signed[8] = ahead[1, 3:5], ahead[1, 6]
    signed[9:11], signed[11] = ahead[2, 3:5], ahead[2, 6]
    signed[12] = state[DIFFERENCE] / scale
    features[:SIGNED_FEATURES] = _squash(signed)
    sizes = np.empty((len(EXPERTS) + 1, last.size))
    sizes[:-1], sizes[-1] = errors, spread
    features[SIGNED_FEATURES:21] = _log_ratio(sizes, scale)
    features[21] = state[DIFFERENCE] == 0.0
    features[22] = phi
    features[23] = np.minimum(state[COUNT], 500.0) / 500.0
    features[24], features[25] = has_profile, has_cycle
    ahead = np.minimum(np.maximum(ahead, -_FORECAST_LIMIT), _FORECAST_LIMIT)
    simple = np.full(last.size, np.nan)
    if np.count_nonzero(state[SIMPLE]):
        chosen = np.flatnonzero(state[SIMPLE])
        simple[chosen] = forecasts[0, state[SIMPLE, chosen].astype(np.intp) - 1, chosen]
    return Outlook(
        ahead.transpose(2, 0, 1),
        np.ascontiguousarray(features.T),
        last,
        scale,
        state[PROFILE],
        simple,
    )


def _squash(ratio: Floats) -> Floats:
    return np.minimum(np.maximum(np.arcsinh(ratio), -_LIMIT), _LIMIT)


def _log_ratio(figure: Floats, scale: Floats) -> Floats:
    return np.minimum(np.maximum(np.log(figure / scale + 1e-6), -_LIMIT), _LIMIT)
