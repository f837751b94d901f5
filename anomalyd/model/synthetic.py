"""The signals that the shipped predictor learns from: what sensors in a plant look like.

`corpus` draws series that are a process (cycles, machines, levels, walks), plus noise, seen
through an instrument (quantised, saturated, held, drifting). Everything follows from the seed.
Called by training and by tests. numpy only; no files, no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from anomalyd.detection.reading import Floats

Rng = np.random.Generator

DAY_S = 86400.0
_SHORTEST_PERIOD, _LONGEST_PERIOD = 6.0, 1500.0
_DAILY = 0.3  # share of series that follow the time of day
_READINGS_A_DAY = (24, 48, 96, 144, 288, 288, 1440)
_INTERVALS_S = (0.1, 1.0, 1.0, 5.0, 10.0, 60.0, 300.0, 3600.0)


class Corpus(NamedTuple):
    """Series of one length, and what each was made with; arrays (series,) unless said otherwise."""

    values: Floats
    """(series, length)"""
    period: Floats
    """readings in a cycle; 0 where the process has none"""
    start_s: Floats
    """time of the first reading"""
    interval_s: Floats
    """time between readings"""


def corpus(seed: int, series: int, length: int, each: Callable[[], None] = lambda: None) -> Corpus:
    """Draw `series` signals of `length` readings; the same seed gives the same numbers. `each` is
    called before every one, and may raise to stop."""
    values = np.empty((series, length))
    period, start_s, interval_s = np.zeros((3, series))
    # One generator a series: a longer corpus begins with the shorter one.
    for index, sequence in enumerate(np.random.SeedSequence(seed).spawn(series)):
        each()
        rng = np.random.default_rng(sequence)
        start_s[index] = rng.uniform(0.0, 7.0 * DAY_S)
        if rng.random() < _DAILY:
            period[index] = rng.choice(_READINGS_A_DAY)
            interval_s[index] = DAY_S / period[index]
            process = _daily(rng, start_s[index] + interval_s[index] * np.arange(length))
        else:
            interval_s[index] = rng.choice(_INTERVALS_S)
            process, period[index] = _PROCESSES[rng.integers(len(_PROCESSES))](rng, length)
        values[index] = _measured(rng, process)
    return Corpus(values, period, start_s, interval_s)


def _measured(rng: Rng, process: Floats) -> Floats:
    length = process.size
    spread = float(process.std()) or 1.0
    loudness = float(np.exp(rng.uniform(np.log(0.005), np.log(1.0))))
    if rng.random() < 0.06:
        loudness = 0.0  # recipes, set-points, what a controller works out
    noise = spread * loudness * _noise(rng, length)
    if rng.random() < 0.25:  # traffic, loads and counts are noisier where there are more
        noise *= 0.1 + 1.8 * (process - process.min()) / (float(np.ptp(process)) or 1.0)
    process = process + noise
    if rng.random() < 0.15:
        process = process + spread * _regimes(rng, length)
    seen = _instrument(rng, process)
    return np.asarray(float(10.0 ** rng.uniform(-2, 4)) * (seen + rng.normal(0.0, 5.0)))


# --- processes: (signal of order 1, period or 0) ---------------------------------------------


def _period(rng: Rng) -> float:
    return float(np.exp(rng.uniform(np.log(_SHORTEST_PERIOD), np.log(_LONGEST_PERIOD))))


def _phase(rng: Rng, length: int, period: float) -> Floats:
    """Cycles passed at each reading; a real machine's cycles are not quite equal."""
    jitter = rng.choice([0.0, 0.0, 0.002, 0.01])
    steps = 1.0 / period * (1.0 + jitter * np.sqrt(period) * rng.standard_normal(length))
    return np.asarray(rng.random() + np.cumsum(steps))


def _seasonal(rng: Rng, length: int) -> tuple[Floats, float]:
    """A daily or shift cycle: a few harmonics, sometimes with weaker cycles (weekends)."""
    period = _period(rng)
    phase = _phase(rng, length, period)
    signal = np.zeros(length)
    for harmonic in range(1, rng.integers(2, 6)):
        angle = 2 * np.pi * (harmonic * phase + rng.random())
        signal += rng.normal() / harmonic * np.sin(angle)
    if rng.random() < 0.3:
        weak = rng.random(7) < 2 / 7
        signal *= np.where(weak[np.floor(phase).astype(int) % 7], rng.uniform(0.1, 0.7), 1.0)
    return signal, period


def _daily(rng: Rng, times: Floats) -> Floats:
    """What people and weather do to a plant: a day of bumps or of smooth waves, no two quite alike,
    quieter at weekends."""
    day, hour = np.divmod(times / DAY_S, 1.0)
    weekend = (day.astype(int) + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    days = int(day[-1]) + 1
    signal = np.zeros(times.size)
    if rng.random() < 0.5:
        for harmonic in range(1, rng.integers(2, 5)):
            signal += rng.normal() / harmonic * np.sin(2 * np.pi * (harmonic * hour + rng.random()))
    else:
        for _ in range(rng.integers(1, 4)):
            off = np.abs(hour - rng.random())
            off = np.minimum(off, 1.0 - off) / rng.uniform(0.01, 0.15)
            bump = np.exp(-0.5 * off**2) if rng.random() < 0.5 else (off < 1.5).astype(float)
            signal += rng.uniform(0.3, 1.5) * rng.choice([-1.0, 1.0]) * bump
    amplitude = 1.0 + rng.choice([0.0, 0.05, 0.2]) * rng.standard_normal(days)
    signal *= amplitude[day.astype(int)]
    if rng.random() < 0.4:
        signal = np.where(weekend, rng.uniform(0.0, 0.8) * signal + rng.normal(0.0, 0.3), signal)
    if rng.random() < 0.5:
        drift = _lag(rng.standard_normal(times.size), rng.uniform(50.0, 600.0))
        signal += float(signal.std()) * rng.uniform(0.1, 1.0) * drift
    return signal


def _saw(rng: Rng, length: int) -> tuple[Floats, float]:
    """A tank that fills and empties, at different speeds."""
    period = _period(rng)
    part = _phase(rng, length, period) % 1.0
    rise = rng.uniform(0.1, 0.95)
    return np.where(part < rise, part / rise, (1.0 - part) / (1.0 - rise)), period


def _duty(rng: Rng, length: int) -> tuple[Floats, float]:
    """A machine that switches on and off in a cycle; its load differs from cycle to cycle."""
    period = _period(rng)
    phase = _phase(rng, length, period)
    load = 1.0 + rng.choice([0.0, 0.1]) * rng.standard_normal(int(phase[-1]) + 2)
    return np.where(phase % 1.0 < rng.uniform(0.02, 0.95), load[phase.astype(int)], 0.0), period


def _thermal(rng: Rng, length: int) -> tuple[Floats, float]:
    """A first-order response to a duty cycle: temperatures, pressures behind a valve."""
    drive, period = _duty(rng, length)
    return _lag(drive, rng.uniform(2.0, 0.5 * _LONGEST_PERIOD**0.7)), period


def _telegraph(rng: Rng, length: int) -> tuple[Floats, float]:
    """An intermittent machine: it runs and rests for times that nobody knows in advance."""
    dwell = np.exp(rng.uniform(np.log(5.0), np.log(400.0)))
    turns = np.cumsum(rng.random(length) < 1.0 / dwell)
    levels = rng.choice([0.0, 1.0, rng.uniform(0.3, 2.0)], size=int(turns[-1]) + 1)
    signal = levels[turns]
    return (_lag(signal, rng.uniform(1.0, 30.0)) if rng.random() < 0.5 else signal), 0.0


def _bursts(rng: Rng, length: int) -> tuple[Floats, float]:
    """Rest with bursts of activity: vibration, a compressor, a batch mixer."""
    active, _ = _telegraph(rng, length)
    level = np.clip(active, 0.02, None)
    return level * (1.0 + rng.uniform(0.05, 0.6) * _noise(rng, length)), 0.0


def _autoregressive(rng: Rng, length: int) -> tuple[Floats, float]:
    """A level that is pulled back to its set-point (AR(1), Ornstein-Uhlenbeck)."""
    return _lag(rng.standard_normal(length), np.exp(rng.uniform(np.log(1.5), np.log(300.0)))), 0.0


def _walk(rng: Rng, length: int) -> tuple[Floats, float]:
    """A random walk, sometimes with momentum: ambient conditions, wear."""
    steps = _noise(rng, length)
    if rng.random() < 0.4:
        steps = _lag(steps, rng.uniform(2.0, 30.0))
    return np.cumsum(steps) / np.sqrt(length), 0.0


def _level(rng: Rng, length: int) -> tuple[Floats, float]:
    """A steady value with a slow drift: noise is all there is."""
    return rng.choice([0.0, 0.3, 3.0]) * np.linspace(0.0, rng.normal(), length), 0.0


def _counts(rng: Rng, length: int) -> tuple[Floats, float]:
    """Small integers: parts an interval, requests, almost constant states."""
    rate = np.exp(rng.uniform(np.log(0.02), np.log(30.0)))
    drive, period = _seasonal(rng, length) if rng.random() < 0.5 else (np.zeros(length), 0.0)
    lift = np.exp(np.clip(drive, -2.0, 2.0))
    return rng.poisson(rate * lift).astype(float) / (1.0 + np.sqrt(rate)), period


def _cycles_on_machine(rng: Rng, length: int) -> tuple[Floats, float]:
    """A fast cycle that rides on a slow one."""
    slow, period = _thermal(rng, length)
    fast, _ = _seasonal(rng, length)
    return slow + rng.uniform(0.05, 0.5) * fast, period


_PROCESSES: tuple[Callable[[Rng, int], tuple[Floats, float]], ...] = (
    _seasonal,
    _seasonal,
    _saw,
    _duty,
    _thermal,
    _thermal,
    _telegraph,
    _bursts,
    _autoregressive,
    _autoregressive,
    _walk,
    _level,
    _counts,
    _cycles_on_machine,
)


# --- noise, regimes and instruments ----------------------------------------------------------


def _noise(rng: Rng, length: int) -> Floats:
    """Unit noise: Gaussian, heavy-tailed, coloured, skewed, in spikes, or with a loudness that
    changes."""
    kind = int(rng.integers(8))
    if kind <= 1:
        return rng.standard_normal(length)
    if kind == 2:
        freedom = rng.uniform(2.5, 8.0)
        return np.asarray(rng.standard_t(freedom, length) * np.sqrt(1.0 - 2.0 / freedom))
    if kind == 3:
        return _lag(rng.standard_normal(length), rng.uniform(1.2, 20.0))
    if kind <= 5:
        return _skewed(rng, length)
    if kind == 6:
        return _spiky(rng, length)
    loudness: Floats = np.exp(_lag(rng.standard_normal(length), rng.uniform(20.0, 300.0)))
    return np.asarray(rng.standard_normal(length) * loudness / loudness.mean())


def _skewed(rng: Rng, length: int) -> Floats:
    """Loads, latencies, flows: many small values and few large ones, sometimes in runs."""
    drive = rng.standard_normal(length)
    if rng.random() < 0.4:
        drive = _lag(drive, rng.uniform(1.2, 10.0))
    noise: Floats = np.exp(rng.uniform(0.3, 1.2) * drive)
    return np.asarray((noise - noise.mean()) / noise.std())


def _spiky(rng: Rng, length: int) -> Floats:
    """Quiet, with spikes to one side that die away: jobs, flushes, passing trucks."""
    spikes = rng.exponential(1.0, length) * (rng.random(length) < rng.uniform(0.003, 0.08))
    if rng.random() < 0.5:
        spikes = _lag(spikes, rng.uniform(1.2, 8.0))
    noise = spikes / (float(spikes.std()) or 1.0)
    noise += rng.uniform(0.02, 0.3) * rng.standard_normal(length)
    return np.asarray(rng.choice([-1.0, 1.0, 1.0]) * (noise - noise.mean()))


def _regimes(rng: Rng, length: int) -> Floats:
    """One or two lasting changes of level, as after a product change or a repair."""
    signal = np.zeros(length)
    for start in rng.integers(length // 8, length, rng.integers(1, 3)):
        signal[start:] += rng.normal(0.0, 2.0)
    return signal


def _instrument(rng: Rng, signal: Floats) -> Floats:
    """What the instrument makes of the process: resolution, range, report by exception."""
    spread = float(signal.std()) or 1.0
    if rng.random() < 0.15:
        low, high = np.quantile(signal, [rng.uniform(0.0, 0.2), rng.uniform(0.8, 1.0)])
        signal = np.clip(signal, low, high)
    if rng.random() < 0.3:
        step = spread * np.exp(rng.uniform(np.log(0.01), np.log(0.5)))
        signal = np.round(signal / step) * step
    if rng.random() < 0.1:
        signal = _held(signal, spread * rng.uniform(0.05, 0.5))
    return signal


def _held(signal: Floats, deadband: float) -> Floats:
    """Report by exception: the last value stands until the signal has left its deadband."""
    held = np.empty_like(signal)
    last = signal[0]
    for index, value in enumerate(signal.tolist()):
        if abs(value - last) > deadband:
            last = value
        held[index] = last
    return held


def _lag(drive: Floats, readings: float) -> Floats:
    """First-order lag of `drive`, of unit spread; its memory is so many readings."""
    out = np.empty_like(drive)
    state = 0.0
    for index, value in enumerate(drive.tolist()):
        state += (value - state) / readings
        out[index] = state
    spread = float(out.std())
    return out / spread if spread > 0.0 else out
