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
from torch import Tensor

from anomalyd.detection.experts import (
    EXPERTS,
    FEATURES,
    HORIZONS,
    SIGNED_FEATURES,
    Beats,
    ExpertBank,
)
from anomalyd.detection.reading import Floats
from anomalyd.model.next_step import NextStep, NextStepConfig
from anomalyd.model.next_step_module import Forecast, NextStepModule, student_t_nll

_TARGET_LIMIT = 1e3  # in units of scale: further out, the gradient says nothing new
UNSCORED = 32
"""readings of a series before the bank knows its scale"""

Carried = tuple[Tensor, Tensor]
"""h and c of the LSTM"""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How long and how fast to learn."""

    steps: int = 24_000
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
    """(N, T, horizons, experts)"""
    target: Tensor
    """(N, T, horizons): (value ahead - last) / scale; NaN beyond the end of the series"""
    scale: Floats
    """(N, T), channel units"""


class Series(NamedTuple):
    """Recorded or drawn signals; arrays (N,) unless said otherwise."""

    values: Floats
    """(N, T + 1), channel units"""
    start_s: Floats
    """time of the first reading, seconds since 1970"""
    interval_s: Floats
    """time between readings"""
    period: Floats
    """readings in a cycle; 0 where there is none, or nobody knows"""


@dataclass(frozen=True, slots=True)
class Report:
    """Losses on held-out series, for each horizon. MAE is in units of persistence's MAE, series by
    series.

    `mae_best_expert` lets every series choose its best expert afterwards: no forecaster could.
    """

    series: int
    readings: int
    nll: tuple[float, ...]
    nll_persistence: tuple[float, ...]
    mae: tuple[float, ...]
    mae_best_expert: tuple[float, ...]
    mae_seasonal_naive: tuple[float, ...]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def prepare(series: Series, each: Callable[[], None] = lambda: None) -> Lessons:
    """Let the expert bank run over the series, as it would in service; `each` is called before
    every reading, and may raise to stop."""
    values = series.values
    count, length = values.shape[0], values.shape[1] - 1
    bank = ExpertBank(count)
    rows, no_gap = np.arange(count), np.zeros(count, dtype=np.bool_)
    # Filled in place: as a list to be stacked, a day of a plant would be there twice.
    features = np.empty((count, length, FEATURES), dtype=np.float32)
    experts = np.empty((count, length, len(HORIZONS), len(EXPERTS)), dtype=np.float32)
    scale = np.empty((count, length))
    target = np.full((count, length, len(HORIZONS)), np.nan, dtype=np.float32)
    for at in range(length):
        each()
        times = series.start_s + at * series.interval_s
        beats = Beats(times, series.interval_s, no_gap)
        outlook = bank.observe(rows, values[:, at], beats)
        features[:, at] = outlook.features
        experts[:, at] = outlook.forecasts
        scale[:, at] = outlook.scale
        for index, horizon in enumerate(HORIZONS):
            if at + horizon <= length:
                ahead = (values[:, at + horizon] - outlook.last) / outlook.scale
                target[:, at, index] = np.clip(ahead, -_TARGET_LIMIT, _TARGET_LIMIT)
    return Lessons(
        torch.from_numpy(features), torch.from_numpy(experts), torch.from_numpy(target), scale
    )


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
            network = NextStepModule.of(start) if start else NextStepModule(NextStepConfig())
            _fit(network.train(), lessons, np.random.default_rng(seed), plan, should_stop, progress)
    finally:
        torch.set_num_threads(threads)
    return network.network()


def _fit(
    network: NextStepModule,
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
        picked = pick(lessons, rng, plan.series_a_batch)
        carried: Carried | None = None
        for begin in range(0, picked.target.shape[1], plan.chunk):
            if step >= plan.steps or should_stop():
                return
            loss, carried = chunk_loss(network, picked, begin, plan.chunk, carried)
            if loss is None:
                continue
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            progress(step, float(loss.detach()))


def chunk_loss(
    network: NextStepModule, picked: Lessons, begin: int, chunk: int, carried: Carried | None
) -> tuple[Tensor | None, Carried]:
    """The loss of one chunk, None where nothing in it is known, and the state at its end."""
    part = slice(begin, begin + chunk)
    forecast, carried = network(picked.features[:, part], picked.experts[:, part], carried)
    target = picked.target[:, part]
    known = ~torch.isnan(target)
    known[:, : UNSCORED if begin == 0 else 0] = False
    loss = student_t_nll(forecast, torch.nan_to_num(target))[known].mean() if known.any() else None
    return loss, (carried[0].detach(), carried[1].detach())


def pick(lessons: Lessons, rng: np.random.Generator, count: int) -> Lessons:
    """A batch of series, each as it is or upside down."""
    total = lessons.target.shape[0]
    chosen = torch.from_numpy(rng.choice(total, size=min(count, total), replace=False))
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], size=chosen.shape[0]).astype(np.float32))
    features = lessons.features[chosen].clone()
    features[:, :, :SIGNED_FEATURES] *= sign[:, None, None]
    experts = lessons.experts[chosen] * sign[:, None, None, None]
    return Lessons(features, experts, lessons.target[chosen] * sign[:, None, None], lessons.scale)


def evaluate(network: NextStep, series: Series) -> Report:
    """Held-out losses against persistence, the best single expert, and seasonal-naive (which is
    persistence where there is no period).

    The figures begin where every rival has seen what it needs.
    """
    lessons = prepare(series)
    length = lessons.target.shape[1]
    late = slice(length // 2, length - HORIZONS[-1] + 1)
    with torch.inference_mode():
        forecast, _ = NextStepModule.of(network)(lessons.features, lessons.experts)
        cut = Forecast(*(figure[:, late] for figure in forecast))
        target = lessons.target[:, late]
        missed = (target - cut.location).abs().mean(1).double().numpy()
        of_experts = (target[..., None] - lessons.experts[:, late]).abs().mean(1).double().numpy()
        nll = student_t_nll(cut, target).mean(dim=(0, 1))
        rivals = [_best_nll_around_zero(target[..., each]) for each in range(len(HORIZONS))]
    persistence = of_experts[:, :, 0] + 1e-9
    naive = _seasonal_naive(series, lessons.scale, late)
    return Report(
        series=target.shape[0],
        readings=int(target[..., 0].numel()),
        nll=tuple(nll.tolist()),
        nll_persistence=tuple(rivals),
        mae=_mean(missed / persistence),
        mae_best_expert=_mean(of_experts.min(axis=2) / persistence),
        mae_seasonal_naive=_mean(np.minimum(naive / persistence, 100.0)),
    )


def _mean(figures: Floats) -> tuple[float, ...]:
    return tuple(figures.mean(axis=0).tolist())


def _best_nll_around_zero(target: Tensor) -> float:
    """Persistence with the best fixed Student-t around it: the kindest reading of persistence."""
    zero = torch.zeros_like(target)
    return min(
        float(student_t_nll(Forecast(zero, zero + width, zero + freedom), target).mean())
        for width in torch.linspace(-2.0, 2.0, 17)
        for freedom in (2.1, 3.0, 5.0, 10.0)
    )


def _seasonal_naive(series: Series, scale: Floats, late: slice) -> Floats:
    """(N, horizons) mean absolute error, in units of scale, of "as one cycle ago"."""
    values = series.values
    lag = np.maximum(np.rint(series.period).astype(int), 1)
    lag = np.where(lag > values.shape[1] // 2, 1, lag)[:, None]
    now = np.arange(values.shape[1] - 1)[late]
    missed = np.empty((values.shape[0], len(HORIZONS)))
    for index, horizon in enumerate(HORIZONS):
        cycles = -(-horizon // lag)
        before = np.take_along_axis(values, now[None, :] + horizon - cycles * lag, axis=1)
        missed[:, index] = (np.abs(values[:, now + horizon] - before) / scale[:, late]).mean(axis=1)
    return missed
