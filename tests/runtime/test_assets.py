"""Assets with a network of their own: the sensor that leaves is told by the others and held until
it is back, whatever order the channels came in; a known input is never accused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Readings, State, Verdicts
from anomalyd.model import asset_training
from anomalyd.model.asset import AssetConfig
from anomalyd.model.asset_predictor import AssetPredictor
from anomalyd.model.asset_training import AssetPlan
from anomalyd.runtime import registry
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Alerts, Channels, Stream

Array = NDArray[np.float64]

MEMBERS, COMMAND = ("current", "flow", "pressure"), "setpoint"
STREAM = Stream(topic="plant/{machine}/{sensor}", group_by=("machine",), inputs=(COMMAND,))
TICKS, FAULT, END = 1500, 900, 1200
SENSORS = (*MEMBERS, COMMAND)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def machine(ticks: int, seed: int) -> Array:
    """(ticks, sensors): three that follow a command, which jumps; and the command."""
    rng = np.random.default_rng(seed)
    command = np.repeat(rng.uniform(0.0, 4.0, ticks // 25 + 1), 25)[:ticks]
    values = command[:, None] * [1.0, 2.0, -1.0] + 0.2 * rng.standard_normal((ticks, 3))
    return np.column_stack([values, command])


def predictor() -> AssetPredictor:
    """Trained on other machines of the class."""
    config = AssetConfig(MEMBERS, (COMMAND,), hidden=8)
    data = [machine(600, seed) for seed in (11, 12)]
    network, _ = asset_training.train(data, config, 1, AssetPlan(steps=60, check_every=20))
    return AssetPredictor(network, "machines", 16)


class Run:
    """One machine through the pipeline."""

    def __init__(self, network: AssetPredictor | None, order: tuple[int, ...]) -> None:
        served = registry.load((STREAM,), Path(), 16)
        channels = Channels(max=16, warmup_readings=60)
        rules = Alerts(budget_per_week=20.0, plant_budget_per_day=1000.0)
        self.pipeline = Pipeline("test", channels, rules, (STREAM,), served.predictors, (network,))
        self.order = order
        self.alerts: list[Alert] = []
        for sensor in order:
            name = SENSORS[sensor]
            labels = {"machine": "pump", "sensor": name}
            self.pipeline.add(Channel(f"pump/{name}", labels, 0, "", "0:pump", name))

    def step(self, values: Array, start: int = 0) -> Verdicts:
        """(ticks, sensors), one reading of each a second."""
        ticks, width = values.shape
        rows = np.tile(np.arange(width), ticks)
        times = 1.7e9 + np.repeat(np.arange(start, start + ticks), width) + 0.01 * rows
        said = values[:, list(self.order)].ravel()
        outcome = self.pipeline.step(Readings(rows.astype(np.intp), times, said))
        self.alerts += outcome.alerts
        return outcome.verdicts


def drifted() -> Array:
    """The pressure sensor says too much for a while, but nothing that it never said before."""
    values = machine(TICKS, 1)
    values[FAULT:END, 2] += 0.6
    return values


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_a_sensor_that_leaves_its_machine_is_held(order: tuple[int, ...]) -> None:
    """It is named, with the largest share; the alert lasts as long as the fault."""
    run = Run(predictor(), order)
    verdicts = run.step(drifted())
    firing = (verdicts.state == State.FIRING).reshape(TICKS, 4)[:, order.index(2)]
    assert not firing[:FAULT].any()
    assert firing[FAULT + 60 : END].all()
    assert not firing[END + 100 :].any()
    first = run.alerts[0]
    assert ("pump/pressure", "relation") == (first.channel, first.kind)
    assert "pump/pressure" == first.contributors[0].channel
    assert {"pump/pressure"} == {alert.channel for alert in run.alerts}


def test_a_known_input_is_never_accused() -> None:
    """A command that jumps to where it never was is a command; it has no share in any alert."""
    run = Run(predictor(), (0, 1, 2, 3))
    values = machine(TICKS, 1)
    values[FAULT:, 3] += 50.0
    verdicts = run.step(values)
    assert not (verdicts.state == State.FIRING).reshape(TICKS, 4)[:, 3].any()
    named = {each.channel for alert in run.alerts for each in alert.contributors}
    assert f"pump/{COMMAND}" not in named


def test_without_a_network_the_covariance_serves() -> None:
    """The same asset, and a known input is no more accused there."""
    run = Run(None, (0, 1, 2, 3))
    values = machine(TICKS, 1)
    values[FAULT:, 1] = values[FAULT, 1]
    run.step(values)
    assert "pump/flow" in {alert.channel for alert in run.alerts}
    assert f"pump/{COMMAND}" not in {alert.channel for alert in run.alerts}


def test_a_batch_says_what_its_readings_say_one_by_one() -> None:
    """However the readings are cut."""
    whole, cut = Run(predictor(), (0, 1, 2, 3)), Run(predictor(), (0, 1, 2, 3))
    values = drifted()[: FAULT + 100]
    at_once = whole.step(values)
    parts = [cut.step(values[begin : begin + 7], begin) for begin in range(0, len(values), 7)]
    for column in ("score", "expected", "state"):
        pieces = np.concatenate([getattr(part, column) for part in parts])
        assert np.allclose(getattr(at_once, column), pieces, atol=1e-4, equal_nan=True)


def test_an_asset_that_loses_a_channel_goes_back_to_the_covariance() -> None:
    """The network needs all of its members; when they are complete again it begins anew."""
    run = Run(predictor(), (0, 1, 2, 3))
    run.step(machine(300, 1))
    run.pipeline.retire(1, 1.7e9 + 300.0)
    rows, times = np.array([0, 2], dtype=np.intp), 1.7e9 + np.array([301.0, 301.1])
    run.pipeline.step(Readings(rows, times, np.array([1.0, -1.0])))
    labels = {"machine": "pump", "sensor": "flow"}
    assert run.pipeline.add(Channel("pump/flow", labels, 0, "", "0:pump", "flow")) == 1
    assert np.isfinite(run.step(machine(100, 2), 400).expected[-4:]).all()
