"""The signals of the simulated plant: machines of eight channels, each of which changes in a way of
its own over the weeks.

A channel is a daily cycle, the machine's load cycle behind a lag of the channel's own, the
machine's wander, and noise; everything in units of the noise when new. No faults: `faults.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Floats

MEMBERS, WEEK_S, DAY_S = 8, 7 * 86400.0, 86400.0
INTERVAL_S = 120.0
START_S = 1_699_833_600.0  # a Monday

DAY, WEEK, HOUR = 720, 5040, 30
"""readings"""
_RECIPES, _NEW_FROM_WEEK, _SLIP = 3, 2, 0.05
_DIP, _SHAPE, _FADE = 4, 40, 8.0  # readings of a batch: before its height, of it, of its fading


@dataclass(slots=True)
class Machine:
    """What a change may change; R readings, with `age` (R, 1) from 0 to 1."""

    rng: np.random.Generator
    age: Floats
    daily: Floats | float = 1.0
    """height of the daily cycle"""
    turn: Floats | float = 0.0
    """days by which it moves"""
    level: Floats | float = 0.0
    """(R, MEMBERS) set behind the lag"""
    gain: Floats | float = 1.0
    """of the load cycle"""
    pace: Floats = field(default_factory=lambda: np.ones(1))
    """(R,) of the load cycle's period"""
    lag: Floats | float = 1.0
    noise: Floats | float = 1.0
    added: Floats | float = 0.0
    """(R, MEMBERS) not behind the lag"""

    @property
    def rows(self) -> int:
        return self.age.size


def steady(machine: Machine) -> None:
    """It stays as it is."""


def season(machine: Machine) -> None:
    """The daily cycle loses more than half of its height and moves by five hours, levels come and
    go."""
    machine.daily = 1.0 - 0.6 * machine.age
    machine.turn = 0.2 * machine.age
    machine.level = 15.0 * np.sin(np.pi * machine.age) * machine.rng.uniform(-1.0, 1.0, MEMBERS)


def wear(machine: Machine) -> None:
    """Noise and lags double, the load cycle slows."""
    machine.noise = machine.lag = 1.0 + machine.age
    machine.pace = 1.0 + 0.6 * machine.age[:, 0]


def ageing(machine: Machine) -> None:
    """Every channel follows the load differently in the end."""
    machine.gain = 1.0 + machine.age * machine.rng.uniform(-1.0, 1.0, MEMBERS)


def recipes(machine: Machine) -> None:
    """Three products by turns of some days: levels, gains, period."""
    rng = machine.rng
    which = _turns(rng, machine.rows, 1.5, 5.0, _RECIPES)
    machine.level = rng.uniform(-10.0, 10.0, (_RECIPES, MEMBERS))[which]
    machine.gain = rng.uniform(0.3, 1.7, (_RECIPES, MEMBERS))[which]
    machine.pace = rng.uniform(0.4, 1.6, _RECIPES)[which]


def batches(machine: Machine) -> None:
    """Campaigns of some days, with a batch every two hours, whose height grows by half."""
    on = _turns(machine.rng, machine.rows, 2.0, 5.0, 2) == 0
    gaps = 20.0 + machine.rng.exponential(40.0, machine.rows // 20)
    machine.added = _batches(machine, [at for at in _whole(gaps, machine.rows) if on[at]])


def cleaning(machine: Machine) -> None:
    """From the third week on it is cleaned several times a day, ever more often."""
    gaps, at, found = machine.rng.exponential(1.0, machine.rows // 40), 0.0, []
    for gap in gaps.tolist():
        at += _SHAPE + gap * 6.0 * HOUR * (1.5 - min(at / machine.rows, 1.0))
        found.append(int(at))
    begins = _NEW_FROM_WEEK * WEEK
    machine.added = _batches(machine, [a for a in found if begins <= a < machine.rows - _SHAPE])


def cavities(machine: Machine) -> None:
    """Two moulds by turns, a reading each; one in twenty is missed. They wear apart."""
    slips = machine.rng.random(machine.rows) < _SLIP
    side = (np.arange(machine.rows) + np.cumsum(slips)) % 2
    apart = machine.rng.uniform(2.0, 5.0, MEMBERS) * (0.2 + machine.age)
    machine.added = apart * side[:, None]


CHANGES: dict[str, Callable[[Machine], None]] = {
    "none": steady,
    "season": season,
    "wear": wear,
    "ageing": ageing,
    "recipes": recipes,
    "batches": batches,
    "cleaning": cleaning,
    "cavities": cavities,
}


def signals(seed: int, changes: list[str], weeks: float) -> Floats:
    """(R, channels) of machines that change so, in their order."""
    rows = round(weeks * WEEK)
    made = [_signal(seed, number, CHANGES[name], rows) for number, name in enumerate(changes)]
    return np.concatenate(made, axis=1)


def _signal(seed: int, number: int, change: Callable[[Machine], None], rows: int) -> Floats:
    rng = np.random.default_rng((seed, number))
    machine = Machine(rng, np.linspace(0.0, 1.0, rows)[:, None], pace=np.ones(rows))
    height, turn = rng.uniform(1.0, 6.0, MEMBERS), rng.uniform(0.0, 1.0, MEMBERS)
    period, width = rng.uniform(1.5, 6.0) * HOUR, rng.uniform(0.4, 0.6)
    lag = np.exp(rng.uniform(np.log(5.0), np.log(30.0), MEMBERS))
    gain, share = rng.uniform(-8.0, 8.0, MEMBERS), rng.uniform(-3.0, 3.0, MEMBERS)
    wander = _lagged(rng.standard_normal((rows, 1)), np.full((rows, 1), 500.0))
    noise = rng.standard_normal((rows, MEMBERS))
    jitter = rng.uniform(0.95, 1.05, rows)
    change(machine)
    day = np.arange(rows)[:, None] / DAY
    daily = height * machine.daily * np.sin(2.0 * np.pi * (day + turn + machine.turn))
    load = np.cumsum(jitter / (period * machine.pace)) % 1.0 < width
    driven = np.broadcast_to(gain * machine.gain * load[:, None] + machine.level, noise.shape)
    driven = _lagged(driven, np.broadcast_to(lag * machine.lag, noise.shape))
    wander = 15.0 * share * wander
    return np.asarray(
        100.0 + daily + driven + wander + machine.added + noise * machine.noise, dtype=np.float64
    )


def _turns(
    rng: np.random.Generator, rows: int, least_days: float, most_days: float, count: int
) -> NDArray[np.intp]:
    """(R,) which of `count` states it is in, each for some days, never the same again at once."""
    which, at, state = np.zeros(rows, dtype=np.intp), 0, 0
    while at < rows:
        end = at + round(float(rng.uniform(least_days, most_days)) * DAY)
        which[at:end] = state
        at, state = end, (state + int(rng.integers(1, count))) % count
    return which


def _whole(gaps: Floats, rows: int) -> list[int]:
    at = np.cumsum(gaps).astype(np.intp)
    return [int(each) for each in at[at < rows - _SHAPE - _DIP]]


def _batches(machine: Machine, begins: list[int]) -> Floats:
    """(R, MEMBERS) each a dip, a jump the other way, and its fading; half as high again in the
    end."""
    rng = machine.rng
    height = rng.uniform(6.0, 14.0, MEMBERS) * rng.choice([-1.0, 1.0], MEMBERS)
    dip = -np.sign(height) * rng.uniform(2.0, 4.0, MEMBERS)
    fading = height * np.exp(-np.arange(_SHAPE)[:, None] / _FADE)
    added = np.zeros((machine.rows, MEMBERS))
    for at in begins:
        added[at : at + _DIP] += dip
        after = added[at + _DIP : at + _DIP + _SHAPE]
        after += (1.0 + 0.5 * machine.age[at]) * fading[: len(after)]
    return added


def _lagged(drive: Floats, readings: Floats) -> Floats:
    """(R, K) first-order lag of each column."""
    out, state = np.empty_like(drive), drive[0].copy()
    for at in range(len(drive)):
        state = state + (drive[at] - state) / readings[at]
        out[at] = state
    return out
