"""Data and a seed in, a trained predictor and its report out.

Called by `anomalyd train`. Same data, same seed, same version: the same weights, because one
thread computes them in one order. It asks `should_stop()` before every batch, reports progress
through a callback, and touches no file and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalyd.detection.experts import ExpertBank
from anomalyd.model.next_step import Forecast, NextStep, NextStepConfig, student_t_nll

Floats = NDArray[np.float64]

_SIGNED_FEATURES = 4  # the first features change sign with the signal
_TARGET_LIMIT = 1e3  # in units of scale: further out, the gradient says nothing new
_UNSCORED = 32  # readings of a series before the bank knows its scale


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How long and how fast to learn."""

    steps: int = 10_000
    series_a_batch: int = 96
    chunk: int = 128
    learning_rate: float = 4e-3

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


class Lessons(NamedTuple):
    """A corpus as the network sees it; T readings of N series."""

    features: Tensor
    """(N, T, features)"""
    experts: Tensor
    """(N, T, experts)"""
    target: Tensor
    """(N, T): (next - last) / scale"""
    scale: Floats
    """(N, T), channel units"""


@dataclass(frozen=True, slots=True)
class Report:
    """Losses on held-out series. MAE is in units of persistence's MAE, series by series.

    `mae_best_expert` lets every series choose its best expert afterwards: no forecaster could.
    """

    series: int
    readings: int
    nll: float
    nll_persistence: float
    mae: float
    mae_best_expert: float
    mae_seasonal_naive: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def prepare(values: Floats) -> Lessons:
    """Let the expert bank run over `values` (N, T + 1), as it would in service."""
    count, length = values.shape[0], values.shape[1] - 1
    bank = ExpertBank(count)
    rows, no_gap = np.arange(count), np.zeros(count, dtype=np.bool_)
    features, experts = [], []
    scale, target = np.empty((count, length)), np.empty((count, length), dtype=np.float32)
    for at in range(length):
        outlook = bank.observe(rows, values[:, at], no_gap)
        features.append(torch.from_numpy(outlook.features))
        experts.append(torch.from_numpy(outlook.forecasts.astype(np.float32)))
        scale[:, at] = outlook.scale
        ahead = (values[:, at + 1] - outlook.last) / outlook.scale
        target[:, at] = np.clip(ahead, -_TARGET_LIMIT, _TARGET_LIMIT)
    seen = torch.stack(features, 1), torch.stack(experts, 1)
    return Lessons(*seen, torch.from_numpy(target), scale)


def train(
    lessons: Lessons,
    seed: int,
    plan: TrainingPlan,
    start: NextStep | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> NextStep:
    """Fit a network by truncated back-propagation through time with carried state.

    `start` is fine-tuned (its weights are copied); otherwise the network begins at random.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = NextStep(start.config if start else NextStepConfig())
            if start:
                network.load_state_dict(start.state_dict())
            _fit(network, lessons, np.random.default_rng(seed), plan, should_stop, progress)
    finally:
        torch.set_num_threads(threads)
    return network.eval()


def _fit(
    network: NextStep,
    lessons: Lessons,
    rng: np.random.Generator,
    plan: TrainingPlan,
    should_stop: Callable[[], bool],
    progress: Callable[[int, float], None],
) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.02 + 0.49 * (1 + math.cos(math.pi * step / plan.steps))
    )
    step = 0
    while step < plan.steps:
        picked = _pick(lessons, rng, plan.series_a_batch)
        carried: tuple[Tensor, Tensor] | None = None
        for begin in range(0, picked.target.shape[1], plan.chunk):
            if step >= plan.steps or should_stop():
                return
            part = slice(begin, begin + plan.chunk)
            forecast, carried = network(picked.features[:, part], picked.experts[:, part], carried)
            carried = (carried[0].detach(), carried[1].detach())
            loss = student_t_nll(forecast, picked.target[:, part])
            loss = loss[:, _UNSCORED if begin == 0 else 0 :].mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            progress(step, float(loss.detach()))


def _pick(lessons: Lessons, rng: np.random.Generator, count: int) -> Lessons:
    """A batch of series, each as it is or upside down."""
    total = lessons.target.shape[0]
    chosen = torch.from_numpy(rng.choice(total, size=min(count, total), replace=False))
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], size=chosen.shape[0]).astype(np.float32))
    features = lessons.features[chosen].clone()
    features[:, :, :_SIGNED_FEATURES] *= sign[:, None, None]
    experts = lessons.experts[chosen] * sign[:, None, None]
    return Lessons(features, experts, lessons.target[chosen] * sign[:, None], lessons.scale)


def evaluate(network: NextStep, values: Floats, period: Floats) -> Report:
    """Held-out losses against persistence, the best single expert, and seasonal-naive.

    `values`: (N, T + 1); `period`: (N,) readings in a cycle, 0 where there is none (seasonal-naive
    is then persistence). The figures begin where every rival has seen what it needs.
    """
    lessons = prepare(values)
    with torch.inference_mode():
        forecast, _ = network(lessons.features, lessons.experts)
        late = slice(lessons.target.shape[1] // 2, None)
        cut = Forecast(*(figure[:, late] for figure in forecast))
        target = lessons.target[:, late]
        missed = (target - cut.location).abs().mean(1).double().numpy()
        of_experts = (target[..., None] - lessons.experts[:, late]).abs().mean(1).double().numpy()
        nll = float(student_t_nll(cut, target).mean())
        nll_persistence = _best_nll_around_zero(target)
    naive = _seasonal_naive(values, period, lessons.scale, late)
    persistence = of_experts[:, 0] + 1e-9
    return Report(
        series=values.shape[0],
        readings=int(target.numel()),
        nll=nll,
        nll_persistence=nll_persistence,
        mae=float((missed / persistence).mean()),
        mae_best_expert=float((of_experts.min(axis=1) / persistence).mean()),
        mae_seasonal_naive=float(np.minimum(naive / persistence, 100.0).mean()),
    )


def _best_nll_around_zero(target: Tensor) -> float:
    """Persistence with the best fixed Student-t around it: the kindest reading of persistence."""
    zero = torch.zeros_like(target)
    return min(
        float(student_t_nll(Forecast(zero, zero + width, zero + freedom), target).mean())
        for width in torch.linspace(-2.0, 2.0, 17)
        for freedom in (2.1, 3.0, 5.0, 10.0)
    )


def _seasonal_naive(values: Floats, period: Floats, scale: Floats, late: slice) -> Floats:
    """(N,) mean absolute error, in units of scale, of "as one cycle ago"."""
    lag = np.maximum(np.rint(period).astype(int), 1)
    lag = np.where(lag > values.shape[1] // 2, 1, lag)
    now = np.arange(values.shape[1] - 1)[late] + 1
    before = now[None, :] - lag[:, None]
    ahead = np.take_along_axis(values, before, axis=1)
    missed: Floats = np.abs(values[:, now] - ahead) / scale[:, late]
    return np.asarray(missed.mean(axis=1))
