"""The cycles' rules: a period is found in the channel's own past, used to look ahead, and forgotten
across a gap."""

import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyd.detection.cycles import Cycles
from anomalyd.detection.experts import HORIZONS

ONE = np.array([0])
LONG = 384

Array = NDArray[np.float64]


def cycle(period: int, readings: int = LONG, seed: int = 0) -> Array:
    """A machine's cycle: any shape, over and over."""
    shape = np.random.default_rng(seed).standard_normal(period)
    return np.asarray(np.resize(shape, readings))


def live(values: Array, cycles: Cycles | None = None) -> Cycles:
    """One channel, reading by reading."""
    cycles = cycles or Cycles(1)
    for value in values:
        cycles.learn(ONE, np.array([value]))
    return cycles


@pytest.mark.parametrize("period", [3, 7, 25, 60])
def test_a_period_is_found_and_looked_ahead_by(period: int) -> None:
    """Once it is known, every horizon is one cycle ago."""
    values = cycle(period, LONG + HORIZONS[-1])
    cycles = live(values[:LONG])
    assert [True] == cycles.known(ONE).tolist()
    ahead = cycles.ahead(ONE, HORIZONS)[:, 0]
    assert values[[LONG - 1 + horizon for horizon in HORIZONS]] == pytest.approx(ahead, abs=1e-6)


def test_nothing_is_known_at_first() -> None:
    """A period needs a past to be found in."""
    assert [False] == live(cycle(7, 127)).known(ONE).tolist()
    assert [True] == live(cycle(7, 128)).known(ONE).tolist()


def test_noise_hides_no_cycle() -> None:
    """A period of 25 is found under noise of a third of its swing, in nearly every channel."""
    rng = np.random.default_rng(1)
    wave = np.sin(2.0 * np.pi * np.arange(LONG) / 25.0)[:, None]
    values = wave + rng.normal(0.0, 0.33, (LONG, 50))
    cycles, rows = Cycles(50), np.arange(50)
    for each in values:
        cycles.learn(rows, each)
    assert cycles.known(rows).mean() >= 0.95
    missed = np.abs(cycles.ahead(rows, (25,)) - values[-1])
    assert np.median(missed) < 0.6


def test_plain_noise_has_no_cycle() -> None:
    """Chance looks like a period in few channels."""
    cycles, rows = Cycles(200), np.arange(200)
    for each in np.random.default_rng(2).standard_normal((LONG, 200)):
        cycles.learn(rows, each)
    assert cycles.known(rows).mean() <= 0.05


def test_a_walk_is_looked_ahead_without_harm() -> None:
    """Whether or not a walk seems to repeat itself, what is said of it is something it has said."""
    cycles, rows = Cycles(100), np.arange(100)
    steps = np.random.default_rng(3).standard_normal((LONG, 100))
    walks = np.cumsum(steps, axis=0).astype(np.float32)
    for each in walks.astype(np.float64):
        cycles.learn(rows, each)
    known = cycles.known(rows)
    ahead = cycles.ahead(rows, HORIZONS)[:, known]
    recent = walks[-128:, known]
    assert ((recent.min(axis=0) <= ahead) & (ahead <= recent.max(axis=0))).all()


@pytest.mark.parametrize("value", [0.0, 21.5, -1e30, 1e30])
def test_a_constant_has_no_cycle(value: float) -> None:
    """Nothing is divided by zero, whatever the constant."""
    assert [False] == live(np.full(LONG, value)).known(ONE).tolist()


def test_the_largest_values_do_no_harm() -> None:
    """Values of any size have a period, and it looks ahead to finite ones."""
    cycles = live(1e36 * cycle(7))
    assert [True] == cycles.known(ONE).tolist()
    assert np.isfinite(cycles.ahead(ONE, HORIZONS)).all()


def test_a_gap_forgets_the_cycle() -> None:
    """A reset leaves no period until a new one is found, and the neighbour keeps its own."""
    values = cycle(7)
    cycles, rows = Cycles(2), np.arange(2)
    for value in values:
        cycles.learn(rows, np.full(2, value))
    cycles.reset(ONE)
    assert [False, True] == cycles.known(rows).tolist()
    again, new = live(cycle(25), cycles), live(cycle(25))
    assert new.ahead(ONE, HORIZONS).tolist() == again.ahead(ONE, HORIZONS).tolist()
