"""The commissioning reference: where a channel's level has been while nothing was wrong.

A fault that stays is soon what a forecast expects. This view does not forget: it holds the running
level of a channel against the mean of all its quiet *batches* (means of 20 readings in a row), and
learns from none that stands out until the level has come back by itself. So a fault is held until
it ends, or until it is accepted as the new normal and the channel is commissioned anew.

How far the level may be from the mean is a Student-t prediction interval for one more batch mean
(batch means: Conway, 1963). A channel whose batches follow each other (a drift, a slow cycle) shows
it in the ratio of von Neumann, 1941: it has fewer independent batches than batches, and hardly any
degrees of freedom, so that a channel without a level of its own stays silent. Batches with a
greater kurtosis than a bell curve's (bursts) have the freedom of the Student-t with that kurtosis,
4 + 6 / excess (by the method of moments). On top stands an exponential tail of the stays near the
limit that ended by themselves (peaks over threshold: Pickands, 1975), which keeps the promise where
batches are no bell curve. Student's quantiles: Wallace, "Bounds on normal approximations to
Student's and the chi-square distributions", 1959.

Called by the pipeline on its thread, which owns it: no locks. O(1) a reading, no readings kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anomalyd.detection.reading import Flags, Floats, Rows

LEVEL_READINGS = 10.0
BATCH_READINGS = 20.0
"""a running mean over k readings is as noisy as a plain one over 2 k - 1"""
COMMISSIONING_BATCHES = 20.0
"""quiet batches before the reference is held against anything"""
COMMISSIONING_READINGS = BATCH_READINGS * COMMISSIONING_BATCHES

_MEMORY_BATCHES = 1000.0
_STANDS_OUT = 0.6
"""of the limit; a batch beyond it is learnt from only once the level is back"""
_LOOKS = 3.0  # a running level has so many chances in a batch to cross the limit
_SLACK = 2.0  # standard errors that von Neumann's ratio is given before it costs freedom
_FEWEST, _STEEPEST = 0.3, 300.0
# A stay beyond the limit that is this short is what the channel does at times, not a fault.
_SHORT_READINGS, _PEAK_LIMIT = 60.0, 2.0
_PATIENCE_BATCHES = 100.0  # a level that stands out for so long, below the limit, is normal too
_SPREADS, _SPREAD_READINGS, _SETTLED_READINGS = 4.0, 200.0, 20.0
_TINY = 1e-12

(
    COUNT, LEVEL, SPREAD, SUM, SUMMED,
    BATCHES, MEAN, VARIANCE, STEP, FOURTH, LAST,
    ASIDE, ASIDE_MEAN, ASIDE_VARIANCE, ASIDE_STEP, ASIDE_FOURTH,
    PEAK, STAY, PEAKS, EXCESS, WATCHED,
) = range(21)  # fmt: skip
_SIZE = 21


class Held(NamedTuple):
    """One reading of each of B channels against the reference; arrays (B,)."""

    score: Floats
    """>= 0; 1 is the limit, 0 while the channel is being commissioned"""
    mean: Floats
    limit: Floats
    """how far the level may be from the mean, channel units"""
    level: Floats
    spread: Floats
    reach: Floats
    """distance of the level in units of the interval alone"""
    ease: Floats
    """>= 1: how much further out the limit is than the interval, by stays that ended"""
    z: Floats
    """how far out the level is, as a distance on the bell curve"""
    z_limit: Floats
    """... and the limit"""
    tamed: Floats
    """the reading, pulled towards the level: one outlier is no level"""


class Reference:
    """Levels and references of `capacity` channels."""

    def __init__(self, capacity: int) -> None:
        self._state = np.zeros((capacity, _SIZE))

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`: they are commissioned anew."""
        self._state[rows] = 0.0

    def commissioned(self, rows: Rows) -> Flags:
        """(B,) where a level is known."""
        return np.asarray(self._state[rows, BATCHES] >= COMMISSIONING_BATCHES)

    def look(self, rows: Rows, values: Floats, floor: Floats, risk: Floats) -> Held:
        """Hold one reading of each channel in `rows` (unique) against its reference; changes
        nothing.

        `floor`: (B,) no smaller change of level is one. `risk`: (B,) false alarms that one reading
        may raise here.
        """
        state = self._state.take(rows, 0).T.copy()
        count, batches = state[COUNT] + 1.0, np.maximum(state[BATCHES], 2.0)
        began = np.where(count == 1.0, values, state[LEVEL])
        off = values - began
        reach = np.where(count > _SETTLED_READINGS, _SPREADS * state[SPREAD], np.inf)
        tamed = began + np.minimum(np.maximum(off, -reach), reach)
        rate = 1.0 / count
        level = began + np.maximum(1.0 / LEVEL_READINGS, rate) * (tamed - began)
        missed = np.minimum(np.abs(off), 1.25 * reach)
        spread = state[SPREAD] + np.maximum(1.0 / _SPREAD_READINGS, rate) * (
            1.25 * missed - state[SPREAD]
        )
        freedom, sigma = _predicted(state, batches)
        tail = np.minimum(np.maximum(0.5 * risk * BATCH_READINGS / _LOOKS, 1e-15), 0.2)
        z_limit = _normal_quantile(tail)
        student = _student(z_limit, freedom)
        interval = np.maximum(student * sigma, floor + _TINY)
        far = np.abs(level - state[MEAN]) / interval
        far[state[BATCHES] < COMMISSIONING_BATCHES] = 0.0
        ease = _ease(state, risk)
        mean, score = state[MEAN].copy(), far / ease
        z = _bell(score * student, freedom)
        return Held(score, mean, interval * ease, level, spread, far, ease, z, z_limit, tamed)

    def learn(self, rows: Rows, held: Held, learns: Flags, accepted: Flags) -> None:
        """Take what `look` saw. `learns`: (B,) the reading is normal as far as anyone knows;
        `accepted`: (B,) an alert has lasted so long that this is the new normal."""
        state = self._state.take(rows, 0).T.copy()
        state[COUNT] += 1.0
        state[LEVEL], state[SPREAD] = held.level, held.spread
        out = held.reach > _STANDS_OUT
        state[WATCHED] += state[BATCHES] >= COMMISSIONING_BATCHES
        patience = (state[ASIDE] >= _PATIENCE_BATCHES) & (state[PEAK] < held.ease)
        ended = (state[STAY] > 0.0) & (~out | patience)
        if np.count_nonzero(ended):
            _end_stays(state, ended, held.ease)
        state[PEAK] = np.where(out, np.maximum(state[PEAK], held.reach), 0.0)
        state[STAY] = np.where(out, state[STAY] + 1.0, 0.0)
        state[SUM] += held.tamed
        state[SUMMED] += 1.0
        _close_batches(state, out, learns)
        if np.count_nonzero(accepted):
            state[:, accepted & (held.score >= 1.0)] = 0.0
        self._state[rows] = state.T


def _ease(state: Floats, risk: Floats) -> Floats:
    rate = state[PEAKS] / np.maximum(state[WATCHED], 1.0)
    excess = state[EXCESS] / np.maximum(state[PEAKS], 1.0)
    rarity = np.log(np.maximum(rate / risk, 1.0))
    return np.asarray(np.maximum(_STANDS_OUT + excess * rarity, 1.0))


def _predicted(state: Floats, batches: Floats) -> tuple[Floats, Floats]:
    """Degrees of freedom, and the standard error of one more batch mean against the reference."""
    kept = np.minimum(batches, _MEMORY_BATCHES)
    ratio = 0.5 * state[STEP] / np.maximum(state[VARIANCE], 1e-300)
    ratio = np.minimum(np.maximum(ratio + _SLACK / np.sqrt(kept + 1.0), 0.0), 1.0)
    freedom = np.minimum((kept - 1.0) * ratio, _heavy(state, kept))
    freedom = np.maximum(freedom, _FEWEST)
    return freedom, np.sqrt(state[VARIANCE] * (kept + 1.0) / (kept - 1.0))


def _heavy(state: Floats, batches: Floats) -> Floats:
    """Degrees of freedom of the Student-t with the kurtosis of the batches; infinite where it isn't
    above a bell curve's by more than chance."""
    kurtosis = state[FOURTH] / np.maximum(state[VARIANCE], 1e-150) ** 2
    excess = kurtosis - 3.0 - _SLACK * np.sqrt(24.0 / batches)
    return np.asarray(np.where(excess > 0.0, 4.0 + 6.0 / np.maximum(excess, _TINY), np.inf))


def _student(z: Floats, freedom: Floats) -> Floats:
    """The distance on Student's curve that is as rare as `z` on the bell curve."""
    z = z * (8.0 * freedom + 3.0) / (8.0 * freedom + 1.0)
    return np.asarray(np.sqrt(freedom * np.expm1(np.minimum(z * z / freedom, _STEEPEST))))


def _bell(t: Floats, freedom: Floats) -> Floats:
    """The other way round."""
    z = np.sqrt(freedom * np.log1p(t * t / freedom))
    return np.asarray(z * (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0))


def _normal_quantile(tail: Floats) -> Floats:
    """z with this much of a bell curve beyond it, to 5e-4: Abramowitz and Stegun, 26.2.23."""
    t = np.sqrt(-2.0 * np.log(tail))
    above = 2.515517 + t * (0.802853 + t * 0.010328)
    below = 1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))
    return np.asarray(t - above / below)


def _end_stays(state: Floats, ended: Flags, ease: Floats) -> None:
    """What stood out and came back by itself was normal after all: it is learnt from, and counts
    among the peaks. A fault that ended is neither."""
    normal = ended & (state[PEAK] < ease)
    counts = normal | ended & (state[STAY] < _SHORT_READINGS)
    state[PEAKS] += counts
    excess = np.minimum(state[PEAK], _PEAK_LIMIT) - _STANDS_OUT
    state[EXCESS] += np.where(counts, np.maximum(excess, 0.0), 0.0)
    merged = normal & (state[ASIDE] > 0.0)
    if merged.any():
        state[:, merged] = _merged(state[:, merged])
    state[ASIDE : ASIDE_FOURTH + 1, ended] = 0.0


def _merged(state: Floats) -> Floats:
    """The batches that were set aside, taken into the reference (Chan et al., 1979)."""
    kept, aside = np.minimum(state[BATCHES], _MEMORY_BATCHES), state[ASIDE]
    share = aside / (kept + aside)
    between = state[ASIDE_MEAN] - state[MEAN]
    state[FOURTH] += share * (state[ASIDE_FOURTH] - state[FOURTH])
    state[FOURTH] += share * (1.0 - share) * between**4
    state[VARIANCE] += share * (state[ASIDE_VARIANCE] - state[VARIANCE])
    state[VARIANCE] += share * (1.0 - share) * between * between
    state[STEP] += share * (state[ASIDE_STEP] - state[STEP])
    state[MEAN] += share * between
    state[BATCHES] += aside
    return state


def _close_batches(state: Floats, out: Flags, learns: Flags) -> None:
    """Put the mean of a full batch to the reference, or aside while the level stands out."""
    full = state[SUMMED] >= BATCH_READINGS
    if not np.count_nonzero(full):
        return
    batch = state[SUM] / BATCH_READINGS
    for at, chosen in ((BATCHES, full & learns & ~out), (ASIDE, full & out)):
        _take(state, at, chosen, batch)
    state[LAST] = np.where(full, batch, state[LAST])
    state[SUM, full] = state[SUMMED, full] = 0.0


def _take(state: Floats, at: int, chosen: Flags, batch: Floats) -> None:
    """Move count, mean, variance and mean squared step, which stand from `at` on."""
    count = state[at] + 1.0
    rate = np.where(chosen, np.maximum(1.0 / count, 1.0 / _MEMORY_BATCHES), 0.0)
    off, step = batch - state[at + 1], batch - state[LAST]
    # The very first batch has none before it.
    step = np.where(state[BATCHES] == 0.0, 0.0, step)
    state[at + 1] += rate * off
    square = (1.0 - rate) * off * off
    state[at + 2] += rate * (square - state[at + 2])
    state[at + 3] += rate * (step * step - state[at + 3])
    state[at + 4] += rate * (square * square - state[at + 4])
    state[at] += chosen
