"""The plant's rules: the seed decides every number, machines move as one, faults touch one sensor.

Its physics (`machines.py`) and its faults (`faults.py`) are seen through `Plant`, as callers do.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyd.demo.plant import Fault, FaultKind, Plant

CURRENT = "line1/pump1/current"
START, DURATION = 400, 200

Array = NDArray[np.float64]


def run_in_chunks(plant: Plant, steps: int, chunk: int) -> Array:
    return np.concatenate([plant.run(min(chunk, steps - at)) for at in range(0, steps, chunk)])


def correlation(one: Array, other: Array) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def healthy_and_faulty(kind: FaultKind, size: float = 0.0) -> tuple[Array, Array]:
    """Channel CURRENT without and with the fault, over the steps of the fault."""
    fault = Fault(kind, CURRENT, START, DURATION, size)
    healthy, faulty = Plant(1).run(1000), Plant(1, faults=[fault]).run(1000)
    changed = np.flatnonzero((healthy != faulty).any(axis=1))
    assert START <= changed[0] <= START + 1 and changed[-1] == fault.end - 1
    assert np.array_equal(healthy[:, 1:], faulty[:, 1:]), "a fault touches its channel alone"
    return healthy[START : fault.end, 0], faulty[START : fault.end, 0]


def test_the_seed_decides_every_number() -> None:
    assert np.array_equal(Plant(7).run(200), Plant(7).run(200))
    assert not np.array_equal(Plant(7).run(200), Plant(8).run(200))


@pytest.mark.parametrize("chunk", [1, 7, 100, 500])
def test_chunks_do_not_change_the_numbers(chunk: int) -> None:
    faults = [Fault("noise", CURRENT, 50, 200, 5.0), Fault("stuck", "line1/pump2/flow", 90, 100)]
    whole = Plant(3, faults=faults).run(500)
    assert np.array_equal(run_in_chunks(Plant(3, faults=faults), 500, chunk), whole)


def test_channels_spread_over_machines_of_eight_sensors() -> None:
    names = Plant(1, 24).names
    machines = {name.rsplit("/", 1)[0] for name in names}
    assert machines == {"line1/pump1", "line1/pump2", "line1/compressor1"}
    assert len(set(Plant(1, 1000).names)) == 1000
    assert Plant(1, 20).run(3).shape == (3, 20)


def test_sensors_of_a_machine_move_together_and_machines_do_not() -> None:
    plant = Plant(2)
    readings = plant.run(3000)
    at = {name: readings[:, column] for column, name in enumerate(plant.names)}
    machine = "line1/pump1"
    assert correlation(at[f"{machine}/current"], at[f"{machine}/vibration"]) > 0.7
    assert correlation(at[f"{machine}/current"], at[f"{machine}/flow"]) > 0.6
    assert correlation(at[f"{machine}/current"], at[f"{machine}/bearing_temperature"]) > 0.3
    assert abs(correlation(at[CURRENT], at["line1/pump2/current"])) < 0.4


def test_noise_and_spread_are_those_of_the_readings() -> None:
    plant = Plant(4)
    readings = plant.run(10_000)
    assert plant.spread == pytest.approx(readings.std(axis=0), rel=0.25)
    curvature = np.diff(readings, n=2, axis=0).std(axis=0) / np.sqrt(6)  # white noise: its own std
    white = [name.endswith(("current", "temperature", "voltage")) for name in plant.names]
    assert plant.noise[white] == pytest.approx(curvature[white], rel=0.2)


def test_readings_stay_bounded() -> None:
    plant = Plant(5)
    early, late = plant.run(4000), plant.run(4000)
    assert (np.abs(early.mean(axis=0) - late.mean(axis=0)) < 0.5 * plant.spread).all()


def test_spike_is_counted_in_the_channels_own_noise() -> None:
    healthy, faulty = healthy_and_faulty("spike", 8.0)
    assert faulty - healthy == pytest.approx(8 * Plant(1).noise[0])


def test_shift_and_drift_are_counted_in_the_channels_spread() -> None:
    spread = Plant(1).spread[0]
    healthy, faulty = healthy_and_faulty("shift", 5.0)
    assert faulty - healthy == pytest.approx(5 * spread)
    healthy, faulty = healthy_and_faulty("drift", 8.0)
    assert faulty - healthy == pytest.approx(8 * spread * np.arange(1, DURATION + 1) / DURATION)


def test_noise_is_so_many_times_the_usual() -> None:
    healthy, faulty = healthy_and_faulty("noise", 5.0)
    assert (faulty - healthy).std() == pytest.approx(np.sqrt(24) * Plant(1).noise[0], rel=0.2)


def test_stuck_holds_its_first_value() -> None:
    healthy, faulty = healthy_and_faulty("stuck")
    assert np.array_equal(faulty, np.full(DURATION, healthy[0]))


def test_decoupled_keeps_its_looks_and_leaves_its_machine() -> None:
    fault = Fault("decoupled", CURRENT, 1000, 2000)
    healthy, faulty = Plant(1).run(3000)[1000:], Plant(1, faults=[fault]).run(3000)[1000:]
    assert faulty[:, 0].mean() == pytest.approx(healthy[:, 0].mean(), rel=0.1)
    assert faulty[:, 0].std() == pytest.approx(healthy[:, 0].std(), rel=0.1)
    pace = np.diff(healthy[:, 0]).std()
    assert np.diff(faulty[:, 0]).std() == pytest.approx(pace, rel=0.1)
    assert correlation(healthy[:, 0], healthy[:, 4]) > 0.7
    assert correlation(faulty[:, 0], faulty[:, 4]) < 0.0
    jump = np.abs(faulty[0, 0] - healthy[0, 0])
    assert jump < Plant(1).spread[0]
