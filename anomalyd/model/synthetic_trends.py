"""The processes that the shipped forecaster learns from: what heats, wears, fills, cycles, rests.

`trends` draws windows of block means with what comes after them. A process is a trend (heating,
wear, filling, or none) with load changes, cycles and wandering on top, seen through a noisy,
sometimes quantised instrument; what comes is told as the instrument will see it, and as the largest
and smallest value that the process itself takes until then. Everything follows from the seed.
Called by training and by tests. numpy only; no files, no clock.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anomalyd.detection.reading import Floats

Rng = np.random.Generator

_FINE = 4  # moments of the process in a block
_DRAWN_TOGETHER = 4096


class Courses(NamedTuple):
    """N windows and their futures, in the units of the process."""

    window: Floats
    """(N, W) block means as measured, oldest first"""
    value: Floats
    """(N, H) block means to come"""
    peak: Floats
    """(N, H) largest value of the process until the end of that block"""
    trough: Floats
    """(N, H) smallest"""

    def take(self, rows: slice) -> Courses:
        return Courses(*(each[rows] for each in self))


def trends(seed: int, courses: int, window: int, horizon: int) -> Courses:
    """Draw `courses` of them; the same seed gives the same numbers."""
    chunks = -(-courses // _DRAWN_TOGETHER)
    # One generator a chunk: more courses begin with the fewer ones.
    sequences = np.random.SeedSequence(seed).spawn(chunks)
    drawn = [_draw(np.random.default_rng(each), window, horizon) for each in sequences]
    return Courses(*(np.concatenate(each)[:courses] for each in zip(*drawn, strict=True)))


def _draw(rng: Rng, window: int, horizon: int) -> Courses:
    count, blocks = _DRAWN_TOGETHER, window + horizon
    process = _process(rng, count, blocks * _FINE)
    means = process.reshape(count, blocks, _FINE).mean(axis=2)
    seen = _measured(rng, means)
    coming = process[:, window * _FINE :]
    ends = slice(_FINE - 1, None, _FINE)
    return Courses(
        seen[:, :window],
        seen[:, window:],
        np.maximum.accumulate(coming, axis=1)[:, ends],
        np.minimum.accumulate(coming, axis=1)[:, ends],
    )


def _measured(rng: Rng, means: Floats) -> Floats:
    """Block means through an instrument: noise, now and then a wild reading, a resolution."""
    count = len(means)
    movement = np.maximum(np.ptp(means, axis=1, keepdims=True), 1e-6)
    noise = rng.standard_normal(means.shape)
    wild = rng.random((count, 1)) < 0.15
    noise = np.where(wild, rng.standard_t(2.5, means.shape), noise)
    seen = means + movement * _scale(rng, count, 3e-4, 0.5) * noise
    grain = movement * _scale(rng, count, 1e-3, 0.1)
    coarse = rng.random((count, 1)) < 0.25
    return np.asarray(np.where(coarse, np.round(seen / grain) * grain, seen))


# --- the process: (count, length) in fine steps ----------------------------------------------


def _process(rng: Rng, count: int, length: int) -> Floats:
    """A trend of order 1 with disturbances, which in some are all there is."""
    kinds = (_heating, _heating, _wear, _wear, _filling, _filling, _rest)
    parts = np.array_split(np.arange(count), len(kinds))
    trend = np.concatenate(
        [kind(rng, part.size, length) for kind, part in zip(kinds, parts, strict=True)]
    )
    movement = np.ptp(trend, axis=1, keepdims=True)
    trend = trend / np.where(movement > 0.0, movement, 1.0)
    for disturbance, share in ((_loads, 0.35), (_cycles, 0.3), (_wandering, 0.4)):
        strength = _scale(rng, count, 0.003, 1.5) * (rng.random((count, 1)) < share)
        trend = trend + strength * disturbance(rng, count, length)
    order = rng.permutation(count)
    return np.asarray(trend[order] * rng.choice([-1.0, 1.0], size=(count, 1)))


def _scale(rng: Rng, count: int, lowest: float, highest: float) -> Floats:
    """(count, 1) of any order of magnitude between the two."""
    return np.exp(rng.uniform(np.log(lowest), np.log(highest), (count, 1)))


def _switching(rng: Rng, count: int, length: int, lowest: float, highest: float) -> Floats:
    """(count, length) levels that hold for random times of about so many blocks."""
    dwell = _scale(rng, count, lowest, highest) * _FINE
    turn = np.cumsum(rng.random((count, length)) < 1.0 / dwell, axis=1, dtype=np.int64)
    return np.take_along_axis(rng.random((count, int(turn.max()) + 1)), turn, axis=1)


def _lagged(drive: Floats, memory: Floats) -> Floats:
    """First-order response to `drive` (count, length); `memory` (count, 1) in fine steps."""
    response, rate = np.empty_like(drive), 1.0 - np.exp(-1.0 / memory[:, 0])
    level = drive[:, 0].copy()
    for at in range(drive.shape[1]):
        level += rate * (drive[:, at] - level)
        response[:, at] = level
    return response


def _heating(rng: Rng, count: int, length: int) -> Floats:
    """Two thermal masses under a load that changes little or much; from the onset on, before the
    window or in it, they are loaded or cooled otherwise, at once or by and by."""
    swing = _scale(rng, count, 0.02, 1.0)
    drive = 1.0 + swing * (_switching(rng, count, length, 0.5, 3000.0) - 1.0)
    onset = rng.uniform(-0.7, 0.6, (count, 1)) * length
    fade = np.clip((np.arange(length) - onset) / (length * _scale(rng, count, 1e-3, 1.0)), 0.0, 1.0)
    drive = drive * (1.0 + rng.uniform(-1.0, 3.0, (count, 1)) * fade)
    slow = _scale(rng, count, 3.0, 500.0) * _FINE
    warmed = _lagged(drive, slow)
    cold = rng.uniform(-1.0, 1.0, (count, 1)) * (rng.random((count, 1)) < 0.5)
    warmed = warmed + cold * np.exp(-np.arange(length) / slow)
    fast = _scale(rng, count, 0.1, 10.0) * _FINE
    return _lagged(warmed + rng.uniform(0.0, 0.3, (count, 1)) * drive, fast)


def _wear(rng: Rng, count: int, length: int) -> Floats:
    """Growth that goes on or gets faster: a power of the time, exponential, in random amounts."""
    onset = rng.uniform(-5.0, 0.6, (count, 1)) * length * rng.random((count, 1))
    age = np.maximum(np.arange(length) - onset, 0.0)
    grown = (age / length) ** rng.uniform(0.6, 3.5, (count, 1))
    faster = np.expm1(np.minimum(age / (_scale(rng, count, 15.0, 400.0) * _FINE), 30.0))
    growth = np.where(rng.random((count, 1)) < 0.5, grown, faster)
    shape = _scale(rng, count, 0.02, 30.0)
    amounts = np.diff(growth, axis=1, prepend=growth[:, :1])
    return np.cumsum(amounts * rng.gamma(shape, 1.0 / shape, growth.shape), axis=1)


def _filling(rng: Rng, count: int, length: int) -> Floats:
    """A level that is the sum of its flow: steady, changing, paused; some are drained when full."""
    flow = 1.0 + _scale(rng, count, 0.003, 1.0) * (_switching(rng, count, length, 3.0, 500.0) - 0.5)
    running = _switching(rng, count, length, 5.0, 300.0)
    paused = running < rng.choice([0.0, 0.0, 0.0, 0.2], (count, 1))
    flow = np.where(paused, 0.0, flow) / length
    full = np.where(rng.random((count, 1)) < 0.4, rng.uniform(0.1, 0.6, (count, 1)), np.inf)
    drains = rng.uniform(1.0, 20.0, count) / length
    return _drained(flow, full[:, 0], drains, rng.random(count))


def _drained(flow: Floats, full: Floats, drains: Floats, start: Floats) -> Floats:
    levels = np.empty_like(flow)
    level, draining = np.where(np.isfinite(full), start * full, 0.0), np.zeros(len(flow), np.bool_)
    for at in range(flow.shape[1]):
        level = level + np.where(draining, -drains, flow[:, at])
        draining = (draining | (level >= full)) & (level > 0.0)
        levels[:, at] = level
    return levels


def _rest(rng: Rng, count: int, length: int) -> Floats:
    """Nothing but what is put on top, and a faint wandering so that there is something."""
    return np.asarray(_wandering(rng, count, length))


def _loads(rng: Rng, count: int, length: int) -> Floats:
    """Load that comes and goes, at once or with a lag."""
    memory = _scale(rng, count, 0.05, 20.0) * _FINE
    return _lagged(_switching(rng, count, length, 0.3, 200.0), memory) - 0.5


def _cycles(rng: Rng, count: int, length: int) -> Floats:
    """A cycle with two harmonics: days, shifts, batches."""
    period = _scale(rng, count, 6.0, 300.0) * _FINE
    phase = np.arange(length) / period + rng.random((count, 1))
    second = rng.uniform(0.0, 0.5, (count, 1))
    turned = rng.random((count, 1))
    return np.asarray(
        0.5 * np.sin(2 * np.pi * phase) + 0.5 * second * np.sin(4 * np.pi * (phase + turned))
    )


def _wandering(rng: Rng, count: int, length: int) -> Floats:
    """Noise with a memory between a block and for ever: from jitter to a random walk."""
    memory = _scale(rng, count, 0.5, 2000.0) * _FINE
    keep = np.exp(-1.0 / memory[:, 0])
    level = rng.standard_normal(count) * np.minimum(1.0, np.sqrt(length / memory[:, 0]))
    drive, walk = rng.standard_normal((length, count)), np.empty((length, count))
    gain = np.sqrt(1.0 - keep**2)
    for at in range(length):
        level = keep * level + gain * drive[at]
        walk[at] = level
    walk -= walk.mean(axis=0)
    return np.asarray((walk / (walk.std(axis=0) + 1e-9)).T * 0.4)
