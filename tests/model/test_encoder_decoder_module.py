"""The encoder-decoder: quantiles never cross, maxima never fall, and the classic task is learnt."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from anomalyd.detection.reading import Floats
from anomalyd.detection.trend import look
from anomalyd.model import forecast_training
from anomalyd.model.encoder_decoder import LEVELS, EncoderDecoderConfig
from anomalyd.model.encoder_decoder_module import EncoderDecoderModule, Outlook, pinball
from anomalyd.model.forecast_training import ForecastPlan
from anomalyd.model.synthetic_trends import Courses, trends

IN, OUT = 20, 5
_TENTH_OF_A_RADIAN = 0.1


@cache
def _untrained() -> EncoderDecoderModule:
    torch.manual_seed(1)
    return EncoderDecoderModule(EncoderDecoderConfig()).eval()


def _outlook(network: EncoderDecoderModule, windows: Floats) -> Outlook:
    trend = look(windows, np.full(len(windows), windows.shape[1]), network.config.horizon)
    with torch.inference_mode():
        answer: Outlook = network(torch.from_numpy(trend.features), torch.from_numpy(trend.ahead))
    return answer


def test_quantiles_never_cross_whatever_the_weights_are() -> None:
    """Also those of a network that has learnt nothing: it is in how they are built."""
    outlook = _outlook(_untrained(), trends(3, 64, 64, 32).window)
    for quantiles in outlook:
        assert (64, 32, len(LEVELS)) == tuple(quantiles.shape)
        assert bool((quantiles.diff(dim=-1) >= 0).all())


def test_the_largest_value_until_a_step_never_falls() -> None:
    """So each of its quantiles reaches a limit once and for all."""
    peak = _outlook(_untrained(), trends(3, 64, 64, 32).window).peak
    assert bool((peak.diff(dim=1) >= 0).all())


def test_scale_and_offset_change_nothing() -> None:
    """A temperature in kelvin or in millidegrees is forecast alike."""
    windows = trends(3, 32, 64, 32).window
    first, other = (_outlook(_untrained(), each) for each in (windows, 2.0**10 * windows + 2.0**14))
    assert torch.allclose(first.value, other.value, atol=1e-4)


def test_the_pinball_loss_is_least_at_the_quantiles() -> None:
    """Of many draws, their own quantiles have a smaller loss than shifted ones."""
    target = torch.from_numpy(np.random.default_rng(1).normal(size=20_000)).float()
    own = torch.quantile(target, torch.tensor(LEVELS)).expand(20_000, -1)
    best = pinball(own, target)
    assert best < pinball(own + 0.1, target)
    assert best < pinball(own - 0.1, target)


def _sines(sequences: int, seed: int) -> Courses:
    """Sines in steps of a tenth of a radian, from any phase: 20 in, 5 out."""
    phase = np.random.default_rng(seed).uniform(0.0, 2 * np.pi, (sequences, 1))
    sine = np.sin(phase + _TENTH_OF_A_RADIAN * np.arange(IN + OUT))
    seen, coming = sine[:, :IN], sine[:, IN:]
    peak, trough = np.maximum.accumulate(coming, 1), np.minimum.accumulate(coming, 1)
    return Courses(seen, coming, peak, trough)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_learns_the_classic_task(seed: int) -> None:
    """Sequence to sequence, 20 in and 5 out, hidden 32, on a sine: on held-out sequences at least
    ten times better than persistence, in mean squared error."""
    config = EncoderDecoderConfig(window=IN, horizon=OUT, hidden=32)
    plan = ForecastPlan(steps=300, courses_a_batch=64, learning_rate=1e-2)
    network = forecast_training.train(_sines(800, seed), seed, plan, config)
    held = _sines(200, 1000 + seed)
    module = EncoderDecoderModule.of(network)
    median = _outlook(module, held.window).value[..., LEVELS.index(0.5)].double().numpy()
    trend = look(held.window, np.full(200, IN), OUT)
    forecast = trend.last[:, None] + trend.unit[:, None] * np.sinh(median)
    missed = np.mean((forecast - held.value) ** 2)
    persistence = np.mean((held.window[:, -1:] - held.value) ** 2)
    assert persistence / missed > 10.0
