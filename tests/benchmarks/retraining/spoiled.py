"""Challengers deliberately spoiled, and what the gate says of them; and one that the gate can't
know, which floods in service."""

from __future__ import annotations

import numpy as np
import torch

from anomalyd.adapters.models.manifest import NEXT_STEP, Manifest
from anomalyd.model import checkpoint
from anomalyd.model.checkpoint import shipped_network
from anomalyd.model.fine_tuning import FineTuningPlan, fine_tune
from anomalyd.model.next_step import NextStepConfig
from anomalyd.model.next_step_module import NextStepModule
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.settings import Retrain
from tests.benchmarks.detection.table import Table
from tests.benchmarks.retraining.signals import INTERVAL_S, START_S, signals
from tests.benchmarks.retraining.site import site
from tests.runtime import test_gate as gate

_MACHINES, _SETTLED, _SOUND, _READINGS = 3, 2000, 60, 180


def challengers(seed: int) -> Table:
    """Acceptance 2."""
    table = Table("Spoiled challengers, and what the gate says")
    nan = shipped_network()
    torch.manual_seed(seed)
    random = NextStepModule(NextStepConfig()).network()
    nan.weights["head.bias"][3] = np.nan
    rng = np.random.default_rng(0)
    tiny = gate._cut("c0", 50.0 + np.cumsum(rng.normal(0.0, 1.0, 200)))
    plan = FineTuningPlan(steps=200, series_a_batch=1, length=200, learning_rate=4e-3, rehearsed=0)
    overfit = fine_tune(shipped_network(), [tiny], 1, plan).network
    case = gate._incident()
    for name, network, learnt in (
        ("honest", gate._honest(), ()),
        ("NaN", nan, ()),
        ("random weights", random, ()),
        ("overfit", overfit, (tiny,)),
        ("trained on the incident", gate._taught("jump"), ()),
    ):
        report = gate._judged(network, case, learnt=learnt)
        said = ", ".join(report.reasons) or "accepted"
        table.add({"challenger": name, "gate": said, "reason": report.reason})
    return table


def flood(seed: int, rules: Retrain) -> Table:
    """A version that is sound on disk, and goes wrong in service: its forecasts jump."""
    table = Table("A version that floods in service")
    readings = _SETTLED + _READINGS
    values = signals(seed, ["none"] * _MACHINES, readings * INTERVAL_S / (7 * 86400.0))
    times = INTERVAL_S * np.arange(float(readings))
    sound = _SETTLED + _SOUND
    with site(_MACHINES, rules.model_copy(update={"every_h": 0.0})) as made:
        made.live(times[:_SETTLED], values[:_SETTLED])
        about = Manifest(
            role=NEXT_STEP, created_s=START_S + made.now_s, seed=seed, code_version="bench"
        )
        version = made.store.add(checkpoint.dump(shipped_network(), {"by": "hand"}), about)
        made.store.promote(version, "by hand", START_S + made.now_s)
        made.live(times[_SETTLED:sound], values[_SETTLED:sound], turn_every=1)
        serving = made.pipeline.predictors.serving
        assert isinstance(serving, NextStepPredictor)
        assert version == serving.name
        serving._network.weights["head.bias"][:] += 8.0
        spoilt_s, before = made.now_s, len(made.raised)
        made.live(times[sound:], values[sound:], turn_every=1)
        back = [(at, reason) for at, step, _, reason in made.steps if step == "rolled-back"]
        table.add(
            {
                "alerts before": before,
                "alerts since": len(made.raised) - before,
                "rolled back after, minutes": (back[0][0] - spoilt_s) / 60.0 if back else None,
                "reason": back[0][1] if back else "-",
            }
        )
    return table
