"""The cycles' rules: a period is found in what was read, and what comes is what came one cycle
ago."""

import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyd.detection.cycles import Cycles

ONE = np.array([0])
HORIZONS = (1, 6, 24)
PERIODS = (7, 25, 60)

Array = NDArray[np.float64]


def machine(period: int, readings: int, seed: int = 0) -> Array:
    """Cycles of one shape, slightly noisy."""
    rng = np.random.default_rng(seed)
    shape = np.where(np.arange(period) < 0.4 * period, 10.0, 0.0) + np.arange(period) / period
    return np.resize(shape, readings) + 0.1 * rng.standard_normal(readings)


def live(values: Array) -> Cycles:
    """(readings, channels)."""
    cycles = Cycles(values.shape[1])
    for each in values:
        cycles.learn(np.arange(values.shape[1]), each)
    return cycles


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("readings", [128, 193, 300])
def test_what_comes_is_what_came_one_cycle_ago(period: int, readings: int) -> None:
    """Each forecast is the reading a whole number of cycles before, the newest there is."""
    values = machine(period, readings)
    cycles = live(values[:, None])
    assert [True] == cycles.known(ONE).tolist()
    before = [readings - 1 + each - period * -(-each // period) for each in HORIZONS]
    said = cycles.ahead(ONE, HORIZONS)[:, 0]
    assert said.tolist() == values[before].astype(np.float32).tolist()


def test_a_period_is_found_when_there_is_enough_to_see() -> None:
    """Not before two of the longest have passed."""
    values = machine(25, 128)[:, None]
    assert [False] == live(values[:-1]).known(ONE).tolist()
    assert [True] == live(values).known(ONE).tolist()


def test_a_channel_without_cycles_has_none() -> None:
    """Noise, a ramp and a constant repeat nothing; a random walk, whatever it seems to do, gives
    a forecast that is a reading."""
    rng = np.random.default_rng(0)
    steps = rng.standard_normal((512, 4))
    values = np.concatenate(
        [steps[:, :2], np.cumsum(steps[:, 2:], axis=0), np.full((512, 1), 20.0)], axis=1
    )
    values = np.column_stack([values, np.arange(512.0)])
    cycles, rows = live(values), np.arange(6)
    assert [False, False] == cycles.known(rows)[[0, 1]].tolist()
    assert [False, False] == cycles.known(rows)[[4, 5]].tolist()
    said = cycles.ahead(rows, HORIZONS)
    assert np.isin(said, values.astype(np.float32)).all()


def test_a_machine_may_change_its_period() -> None:
    """The period is that of the last readings."""
    values = np.concatenate([machine(25, 256), machine(7, 256)])
    said = live(values[:, None]).ahead(ONE, (1,))[0, 0]
    assert said == np.float32(values[-7])


def test_channels_have_each_its_own_period() -> None:
    """A batch learns of each channel what it would have learnt alone."""
    values = np.stack([machine(period, 256) for period in PERIODS], axis=1)
    together = live(values).ahead(np.arange(3), HORIZONS)
    for row in range(3):
        alone = live(values[:, [row]]).ahead(ONE, HORIZONS)
        assert alone[:, 0].tolist() == together[:, row].tolist()


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    """A reset leaves no period, and leaves the others alone."""
    values = np.stack([machine(25, 256), machine(7, 256)], axis=1)
    cycles = live(values)
    cycles.reset(ONE)
    assert [False, True] == cycles.known(np.arange(2)).tolist()
    for value in machine(60, 128):
        cycles.learn(ONE, np.array([value]))
    assert [True] == cycles.known(ONE).tolist()
