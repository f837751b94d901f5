"""What passes the gate of asset networks, and why what doesn't is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anomalyd.model import asset_training
from anomalyd.model.asset import AssetConfig, AssetNetwork
from anomalyd.model.asset_training import AssetPlan
from anomalyd.runtime.asset_gate import AssetIncident, judge_asset
from anomalyd.runtime.asset_rows import AssetRows
from anomalyd.runtime.gate import GateReport

Array = NDArray[np.float64]

CONFIG = AssetConfig(("current", "flow", "pressure"), ("setpoint",), hidden=4)
PLAN = AssetPlan(steps=60, check_every=20)
START_S = 1.7e9
NEW, OLD = (1.0, 2.0, -1.0), (1.0, 0.5, -2.0)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def machine(ticks: int, seed: int, gain: tuple[float, ...] = NEW) -> Array:
    """(ticks, seats): members that follow a command with noise of their own."""
    rng = np.random.default_rng(seed)
    command = np.repeat(rng.uniform(0.0, 4.0, ticks // 25 + 1), 25)[:ticks]
    values = command[:, None] * gain + 0.2 * rng.standard_normal((ticks, 3))
    return np.column_stack([values, command])


def trained(*recordings: Array, seed: int = 1) -> AssetNetwork:
    return asset_training.train(list(recordings), CONFIG, seed, PLAN)[0]


def part(values: Array, start: int) -> AssetRows:
    return AssetRows("0:pump", START_S + start + np.arange(len(values), dtype=np.float64), values)


def faulty(seed: int) -> Array:
    """800 rows, the last 200 with a sensor that says too much."""
    values = machine(800, seed)
    values[600:, 2] += 2.0
    return values


def incident() -> AssetIncident:
    rows = part(faulty(9), 50_000)
    return AssetIncident("a-1", START_S + 50_600.0, START_S + 50_800.0, [rows])


def judged(
    champion: AssetNetwork, challenger: AssetNetwork, *incidents: AssetIncident
) -> GateReport:
    learnt, held = part(machine(900, 1), 0), part(machine(600, 2), 900)
    return judge_asset(champion, challenger, [learnt], [held], incidents, champion)


def test_one_that_knows_the_machine_better_is_accepted() -> None:
    """The champion was made for a machine whose members have other shares; and the challenger still
    stands out in an incident."""
    report = judged(trained(machine(900, 3, OLD)), trained(machine(900, 1)), incident())
    assert (True, []) == (report.accepted, report.reasons)
    assert 1.0 == report.metrics["incidents"]
    assert report.metrics["gain_at_least"] > 0.01


def test_one_that_is_no_better_is_refused() -> None:
    """The same machine, learnt once more: that is no reason to change anything."""
    report = judged(trained(machine(900, 1)), trained(machine(900, 6), seed=2), incident())
    assert (False, ["log_score"]) == (report.accepted, report.reasons)


def test_one_that_is_worse_is_refused() -> None:
    """For its forecasts, and for what they would raise."""
    report = judged(trained(machine(900, 1)), trained(machine(900, 3, OLD)))
    assert ["log_score", "alarms"] == report.reasons


def test_one_that_is_too_sure_of_itself_is_refused() -> None:
    """Its forecasts are as good, its usual errors are a lie."""
    champion = trained(machine(900, 1))
    scale = {"scale": champion.scale / np.float32(3.0)}
    report = judged(champion, replace(champion, weights={**champion.weights, **scale}))
    assert "alarms" in report.reasons


@pytest.mark.parametrize("weight", ["linear", "scale"])
def test_one_that_is_not_finite_is_refused(weight: str) -> None:
    champion = trained(machine(900, 1))
    weights = {**champion.weights, weight: np.full_like(champion.weights[weight], np.nan)}
    report = judged(champion, replace(champion, weights=weights))
    assert ["finite"] == report.reasons
    assert weight in report.reason


def test_one_whose_forecasts_are_not_finite_is_refused() -> None:
    """Sound weights can be too large."""
    champion = trained(machine(900, 1))
    weights = {**champion.weights, "linear": np.full_like(champion.weights["linear"], 3e38)}
    assert ["finite"] == judged(champion, replace(champion, weights=weights)).reasons


def test_one_that_has_learnt_the_incident_is_refused() -> None:
    """A third of what it learnt from was faulty."""
    taught = trained(machine(900, 1), *[faulty(seed)[500:] for seed in range(20, 32)])
    report = judged(trained(machine(900, 3, (1.0, 1.8, -1.1))), taught, incident())
    assert "incident" in report.reasons
    assert "a-1" in report.reason


def test_without_held_out_rows_nothing_is_accepted() -> None:
    network = trained(machine(300, 1))
    learnt = part(machine(300, 1), 0)
    assert ["held_out"] == judge_asset(network, network, [learnt], [], [], network).reasons
