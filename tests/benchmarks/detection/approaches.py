"""Machines on their way to a limit, and the same machines that never get there.

Written as plants, not as the forecaster's training data is: a thermal mass with a failing fan, a
bearing that wears under a changing load, a tank whose drain fails. `simulate` draws runs from a
seed; levels are moved so that every run's limit is `LIMIT`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Floats

Rng = np.random.Generator
Course = tuple[Floats, int]
"""(readings,) the process's own level, and the reading from which on it approaches a limit"""

LIMIT = 100.0


class Process(NamedTuple):
    """A kind of machine."""

    interval_s: float
    readings: int
    run: Callable[[Rng, int, bool], Course]
    """readings, and whether it fails"""
    noise: tuple[float, float]
    """of the instrument, as a share of the normal movement"""


class Runs(NamedTuple):
    """N runs of one process."""

    measured: Floats
    """(N, readings)"""
    onset: Floats
    """(N,) reading from which on it approaches"""
    crossing: Floats
    """(N,) reading at which the process reaches the limit; infinite where it never does"""


def simulate(process: Process, seed: int, runs: int, fails: bool) -> Runs:
    """Draw `runs` of them; with `fails` each reaches the limit at some time after the onset."""
    drawn = [
        _run(process, np.random.default_rng(sequence), fails)
        for sequence in np.random.SeedSequence([seed, fails]).spawn(runs)
    ]
    measured, onset, crossing = zip(*drawn, strict=True)
    return Runs(np.stack(measured), np.array(onset, float), np.array(crossing, float))


def _run(process: Process, rng: Rng, fails: bool) -> tuple[Floats, int, float]:
    while True:
        level, onset = process.run(rng, process.readings, fails)
        swing = float(np.ptp(level[:onset] if fails else level))
        if swing == 0.0:
            continue  # a tank that nothing flows into says nothing
        if not fails:
            limit, crossing = float(level.max()) + rng.uniform(0.3, 3.0) * swing, np.inf
            break
        new = _worth_a_limit(level, onset, swing)
        if new.size:
            crossing = float(rng.choice(new))
            limit = float(level[int(crossing)])
            break
    return _measured(process, rng, level, swing) + LIMIT - limit, onset, crossing


def _worth_a_limit(level: Floats, onset: int, swing: float) -> NDArray[np.intp]:
    """Moments after the onset at which the level is new, and above all that is normal."""
    highest = np.maximum.accumulate(level)
    worth = highest[1:] >= level[:onset].max() + 0.3 * swing
    return np.flatnonzero(worth & (np.diff(highest) > 0.0)) + 1


def _measured(process: Process, rng: Rng, level: Floats, swing: float) -> Floats:
    noise = rng.standard_normal(level.size) if rng.random() < 0.7 else rng.standard_t(4, level.size)
    measured = level + swing * rng.uniform(*process.noise) * noise
    grain = swing * rng.choice([0.002, 0.02, 0.1])
    return np.asarray(np.round(measured / grain) * grain)


# --- machines ---------------------------------------------------------------------------------


def _load(rng: Rng, readings: int, shortest: float, longest: float) -> Floats:
    """(readings,) of a machine that is switched between a few loads, between 0.3 and 1."""
    load, at = np.empty(readings), 0
    levels = rng.uniform(0.3, 1.0, rng.integers(2, 5))
    while at < readings:
        stay = int(rng.uniform(shortest, longest)) + 1
        load[at : at + stay] = rng.choice(levels)
        at += stay
    return load


def heating(rng: Rng, readings: int, fails: bool) -> Course:
    """A motor's winding (two thermal masses); its fan slows down or stops."""
    load = _load(rng, readings, 30, 500)
    ambient = 25.0 + rng.uniform(0.0, 4.0) * np.sin(
        2 * np.pi * (np.arange(readings) / 8640 + rng.random())
    )
    onset = int(rng.uniform(0.35, 0.6) * readings)
    weaker = rng.uniform(0.15, 0.5)
    fade = np.clip((np.arange(readings) - onset) / rng.uniform(1.0, 0.25 * readings), 0.0, 1.0)
    cooling = 1.0 - (1.0 - weaker) * fade if fails else np.ones(readings)
    slow, fast = rng.uniform(60, 300), rng.uniform(5, 25)
    shell = winding = float(ambient[0]) + 20.0
    level = np.empty(readings)
    for at in range(readings):
        shell += (45.0 * load[at] ** 2 - cooling[at] * (shell - ambient[at])) / slow
        winding += (shell + 12.0 * load[at] ** 2 - winding) / fast
        level[at] = winding
    return level, onset


def wear(rng: Rng, readings: int, fails: bool) -> Course:
    """Vibration of a bearing: grows once damage begins, faster with load and with damage."""
    load = _load(rng, readings, 12, 200)
    onset = int(rng.uniform(0.25, 0.5) * readings)
    base = 1.0 + rng.uniform(0.05, 0.3) * load
    if not fails:
        return base, onset
    rest = readings - onset
    amounts = rng.gamma(rng.uniform(0.05, 1.0), 1.0, rest) * (0.5 + load[onset:])
    damage = np.cumsum(amounts) / amounts.sum()
    exponent = rng.uniform(1.0, 2.5)
    grown = damage**exponent if rng.random() < 0.5 else np.expm1(3.0 * damage) / np.expm1(3.0)
    base[onset:] += rng.uniform(1.0, 4.0) * grown
    return base, onset


def filling(rng: Rng, readings: int, fails: bool) -> Course:
    """A tank between two marks, filled by a changing flow and pumped out; the pump fails."""
    flow = rng.uniform(0.5, 2.0) * (0.6 + 0.4 * _load(rng, readings, 30, 600))
    flow *= _load(rng, readings, 100, 1000) > 0.35
    onset = int(rng.uniform(0.4, 0.7) * readings)
    pump, high = flow.mean() * rng.uniform(2.0, 8.0), flow.mean() * rng.uniform(60, 400)
    leaves = rng.uniform(0.0, 0.5) * flow.mean()
    level, pumping, levels = rng.random() * high, False, np.empty(readings)
    for at in range(readings):
        works = not (fails and at >= onset)
        pumping = works and level > 0.1 * high and (pumping or level > high)
        level += flow[at] - (pump if pumping else 0.0) - (leaves if level > 0.0 and works else 0.0)
        levels[at] = level
    return levels, onset


PROCESSES = {
    "heating": Process(10.0, 6_000, heating, (0.002, 0.05)),
    "wear": Process(600.0, 5_000, wear, (0.05, 1.0)),
    "filling": Process(5.0, 6_000, filling, (0.001, 0.02)),
}
