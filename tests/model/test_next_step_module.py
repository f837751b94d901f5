"""What the network says is a distribution among its experts, and it can learn a sine."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from anomalyd.model.next_step import NextStepConfig
from anomalyd.model.next_step_module import Forecast, NextStepModule, student_t_nll


def _random(*shape: int) -> tuple[Tensor, Tensor]:
    """Features and experts of the usual sizes."""
    sizes = NextStepConfig()
    features = torch.randn(*shape, sizes.features)
    return features, torch.randn(*shape, sizes.horizons, sizes.experts)


def test_it_answers_for_every_horizon() -> None:
    """One location, scale and freedom for each."""
    network = NextStepModule(NextStepConfig()).eval()
    forecast, _ = network(*_random(3, 5))
    assert all(figure.shape == (3, 5, network.config.horizons) for figure in forecast)


def test_without_a_correction_it_stays_among_its_experts() -> None:
    """The location is a convex combination of the experts of its own horizon."""
    torch.manual_seed(4)
    network = NextStepModule(NextStepConfig()).eval()
    sizes = network.config
    features, experts = _random(5, 40)
    with torch.no_grad():
        for weight in (network.head.weight, network.head.bias):
            weight.view(sizes.horizons, -1, *weight.shape[1:])[:, sizes.experts] = 0.0
        location = network(features, experts)[0].location
    assert bool((location >= experts.amin(dim=-1) - 1e-5).all())
    assert bool((location <= experts.amax(dim=-1) + 1e-5).all())


def test_the_likelihood_is_that_of_a_student_t() -> None:
    """Negative log-likelihood agrees with torch's own distribution."""
    location, log_scale, target = torch.randn(3, 50)
    freedom = 2.0 + torch.rand(50) * 10
    distribution: Any = torch.distributions.StudentT(freedom, location, log_scale.exp())
    expected = -distribution.log_prob(target)
    actual = student_t_nll(Forecast(location, log_scale, freedom), target)
    torch.testing.assert_close(actual, expected)


def test_the_scale_is_positive_and_the_variance_exists() -> None:
    """Whatever comes in, the answer is a distribution with more than two degrees of freedom."""
    torch.manual_seed(2)
    network = NextStepModule(NextStepConfig()).eval()
    features, experts = _random(3, 20)
    with torch.inference_mode():
        forecast, _ = network(1e3 * features, 50 * experts)
    assert bool(torch.isfinite(torch.stack(list(forecast))).all())
    assert bool((forecast.freedom >= 2.0).all())


# --- the next value of one channel: a sine, sequences of 20, hidden size 32 -------------------

_SEQUENCE, _PERIOD = 20, 25


def _sines(seed: int) -> Tensor:
    """(256, _SEQUENCE + 1): sines of random phase, the last value to be forecast."""
    phase = torch.rand(256, 1, generator=torch.Generator().manual_seed(seed))
    return torch.sin(2 * math.pi * (phase + torch.arange(_SEQUENCE + 1) / _PERIOD))


def _next(network: NextStepModule, sequences: Tensor) -> Tensor:
    """(B,) what it says of the value after each sequence (B, T), from the values alone."""
    persistence = torch.zeros(*sequences.shape, 1, 1)
    forecast, _ = network(sequences[..., None], persistence)
    location: Tensor = forecast.location[:, -1, 0]
    return sequences[:, -1] + location


def test_a_sine_is_forecast_a_hundred_times_better_than_by_persistence() -> None:
    """Mean squared error on phases it has not seen. It gets one value at a time, so which way the
    sine goes it can only remember."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = NextStepModule(NextStepConfig(features=1, experts=1, horizons=1, hidden=32))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    learnt, held = _sines(2), _sines(3)
    for _ in range(200):
        loss = (_next(network, learnt[:, :-1]) - learnt[:, -1]).square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        missed = (_next(network, held[:, :-1]) - held[:, -1]).square().mean()
    assert 100 * missed < (held[:, -2] - held[:, -1]).square().mean()
