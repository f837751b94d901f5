"""Windows and their futures in, a trained forecaster and its report out.

Called by `anomalyd train --predictor forecast`. Same data, same seed, same version: the same
weights, because one thread computes them in one order. It asks `should_stop()` before every batch,
reports progress through a callback, and touches no file and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from anomalyd.detection.reading import Flags, Floats, Rows
from anomalyd.detection.trend import Trend, look
from anomalyd.model.encoder_decoder import (
    FEWEST_BLOCKS,
    LEVELS,
    EncoderDecoder,
    EncoderDecoderConfig,
)
from anomalyd.model.encoder_decoder_module import EncoderDecoderModule, Outlook, pinball
from anomalyd.model.synthetic_trends import Courses

_PART_FILLED = 0.3
_BATCH_HELD_OUT = 512
_INNER = (LEVELS.index(0.1), LEVELS.index(0.9))


@dataclass(frozen=True, slots=True)
class ForecastPlan:
    """How long and how fast to learn."""

    steps: int = 12_000
    courses_a_batch: int = 128
    learning_rate: float = 5e-3

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ForecastReport:
    """How it did on held-out courses. Losses are pinball losses in the network's own units."""

    courses: int
    pinball_value: float
    pinball_peak: float
    mae: float
    """of the median, in units of persistence's"""
    mae_line: float
    """of the line through a third of the window"""
    within_80_value: float
    """share of values between the 10 % and the 90 % quantile"""
    within_80_peak: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What the network sees, and what came, in its units; (B, H)."""

    features: Tensor
    ahead: Tensor
    value: Tensor
    peak: Tensor


def train(
    courses: Courses,
    seed: int,
    plan: ForecastPlan,
    config: EncoderDecoderConfig | None = None,
    start: EncoderDecoder | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> EncoderDecoder:
    """Fit a network; `start` is fine-tuned (its weights are copied), otherwise one of `config`'s
    sizes begins at random."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if start:
                network = EncoderDecoderModule.of(start).train()
            else:
                network = EncoderDecoderModule(config or EncoderDecoderConfig())
            _fit(network, courses, np.random.default_rng(seed), plan, should_stop, progress)
    finally:
        torch.set_num_threads(threads)
    return network.network()


def _fit(
    network: EncoderDecoderModule,
    courses: Courses,
    rng: np.random.Generator,
    plan: ForecastPlan,
    should_stop: Callable[[], bool],
    progress: Callable[[int, float], None],
) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.01 + 0.495 * (1 + math.cos(math.pi * step / plan.steps))
    )
    for step in range(1, plan.steps + 1):
        if should_stop():
            return
        batch = _pick(courses, rng, plan.courses_a_batch)
        loss = _loss(network(batch.features, batch.ahead), batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(step, float(loss.detach()))


def _loss(outlook: Outlook, batch: _Batch) -> Tensor:
    return pinball(outlook.value, batch.value) + pinball(outlook.peak, batch.peak)


def _pick(courses: Courses, rng: np.random.Generator, count: int) -> _Batch:
    """Some of the courses, each as it is or upside down, some with a part of their window only."""
    total, width = courses.window.shape
    rows = rng.choice(total, size=min(count, total), replace=False)
    fewest = min(FEWEST_BLOCKS, width)
    part = rng.integers(fewest, width + 1, rows.size)
    filled = np.where(rng.random(rows.size) < _PART_FILLED, part, width)
    return _prepare(courses, rows, filled, rng.random(rows.size) < 0.5)


def _prepare(courses: Courses, rows: Rows, filled: Rows, turned: Flags) -> _Batch:
    sign = np.where(turned, -1.0, 1.0)[:, None]
    horizon = courses.value.shape[1]
    trend = look(sign * courses.window[rows], filled, horizon)
    peak = np.where(turned[:, None], -courses.trough[rows], courses.peak[rows])
    return _Batch(
        torch.from_numpy(trend.features),
        torch.from_numpy(trend.ahead),
        _in_units(sign * courses.value[rows], trend),
        _in_units(peak, trend),
    )


def _in_units(values: Floats, trend: Trend) -> Tensor:
    unit = np.where(trend.unit > 0.0, trend.unit, 1.0)
    moved = np.arcsinh((values - trend.last[:, None]) / unit[:, None])
    return torch.from_numpy(moved.astype(np.float32))


def evaluate(network: EncoderDecoder, courses: Courses) -> ForecastReport:
    """Held-out losses, errors against persistence and a line, and how often the intervals hold."""
    found = []
    module = EncoderDecoderModule.of(network)
    width = courses.window.shape[1]
    for first in range(0, len(courses.window), _BATCH_HELD_OUT):
        rows = np.arange(first, min(first + _BATCH_HELD_OUT, len(courses.window)))
        whole, upright = np.full(rows.size, width), np.zeros(rows.size, dtype=np.bool_)
        batch = _prepare(courses, rows, whole, upright)
        with torch.inference_mode():
            found.append((rows.size, _figures(module(batch.features, batch.ahead), batch)))
    weights = np.array([size for size, _ in found])
    means = np.average(np.array([figures for _, figures in found]), axis=0, weights=weights)
    value, peak, of_median, of_line, of_persistence, within_value, within_peak = means.tolist()
    return ForecastReport(
        courses=len(courses.window),
        pinball_value=value,
        pinball_peak=peak,
        mae=of_median / of_persistence,
        mae_line=of_line / of_persistence,
        within_80_value=within_value,
        within_80_peak=within_peak,
    )


def _figures(outlook: Outlook, batch: _Batch) -> list[float]:
    median = outlook.value[..., LEVELS.index(0.5)]
    return [
        float(each)
        for each in (
            pinball(outlook.value, batch.value),
            pinball(outlook.peak, batch.peak),
            (median - batch.value).abs().mean(),
            (batch.ahead[..., 2] - batch.value).abs().mean(),
            batch.value.abs().mean(),
            _within(outlook.value, batch.value),
            _within(outlook.peak, batch.peak),
        )
    ]


def _within(quantiles: Tensor, target: Tensor) -> Tensor:
    low, high = (quantiles[..., index] for index in _INNER)
    return ((target >= low) & (target <= high)).float().mean()
