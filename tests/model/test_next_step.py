"""The network's two ways of running are one function, and it can learn to foresee a sine."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalyd.detection.experts import EXPERTS, FEATURES, HORIZONS
from anomalyd.model.next_step import Forecast, NextStep, NextStepConfig, student_t_nll

HORIZON_COUNT, EXPERT_COUNT = len(HORIZONS), len(EXPERTS)
SEQUENCE, HIDDEN = 20, 32


def _seen(series: int, readings: int) -> tuple[Tensor, Tensor]:
    """Features and experts of any channels."""
    features = torch.randn(series, readings, FEATURES)
    return features, torch.randn(series, readings, HORIZON_COUNT, EXPERT_COUNT)


def test_stepping_statefully_equals_running_the_whole_history() -> None:
    """Carrying h and c over 500 readings gives what re-running all of them gives, to 1e-5."""
    torch.manual_seed(1)
    network = NextStep(NextStepConfig()).eval()
    features, experts = _seen(7, 500)
    with torch.inference_mode():
        whole, _ = network(features, experts)
        h = c = torch.zeros(7, network.config.hidden)
        for at in range(500):
            step, h, c = network.step(features[:, at], experts[:, at], h, c)
            for once, all_at_once in zip(step, whole, strict=True):
                torch.testing.assert_close(once, all_at_once[:, at], atol=1e-5, rtol=1e-5)


def test_it_says_something_of_every_horizon() -> None:
    """Location, scale and freedom come for each horizon of each reading."""
    with torch.inference_mode():
        forecast, _ = NextStep(NextStepConfig())(*_seen(3, 20))
    assert {(3, 20, HORIZON_COUNT)} == {tuple(figure.shape) for figure in forecast}


def test_the_experts_are_weighed_within_their_range() -> None:
    """Without a correction the forecast is never beyond what the experts say."""
    torch.manual_seed(4)
    network = NextStep(NextStepConfig()).eval()
    features, experts = _seen(5, 50)
    out = network.head.bias.view(HORIZON_COUNT, -1)
    with torch.no_grad():
        network.head.weight.view(HORIZON_COUNT, out.shape[1], -1)[:, EXPERT_COUNT] = 0.0
        out[:, EXPERT_COUNT] = 0.0
        location = network(features, experts)[0].location
    assert bool((location <= experts.amax(-1) + 1e-5).all())
    assert bool((location >= experts.amin(-1) - 1e-5).all())


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
    network = NextStep(NextStepConfig()).eval()
    features, experts = _seen(3, 20)
    with torch.inference_mode():
        forecast, _ = network(1e3 * features, 50 * experts)
    assert bool(torch.isfinite(torch.stack(list(forecast))).all())
    assert bool((forecast.freedom >= 2.0).all())


# --- the source's first example -------------------------------------------------------------------


def _sines(series: int, seed: int) -> tuple[Tensor, Tensor]:
    """(series, SEQUENCE, 1) values of noise-free sines of random phase, and what comes next."""
    phase = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, (series, 1))
    values = np.sin(phase + 0.3 * np.arange(SEQUENCE + 1))
    drawn = torch.from_numpy(values.astype(np.float32))[..., None]
    return drawn[:, :-1], drawn[:, 1:]


def _foreseen(network: NextStep, values: Tensor) -> Tensor:
    """The next values: the only expert is persistence, what is said is added to it."""
    forecast, _ = network(values, torch.zeros(*values.shape, 1))
    return values + forecast.location


def test_of_a_sine_the_next_value_is_foreseen() -> None:
    """The source's first example, with its sizes: 20 values of one sine, hidden 32, the next value.
    On sequences that were not learnt the squared error is at most a hundredth of persistence's."""
    torch.manual_seed(1)
    network = NextStep(NextStepConfig(features=1, experts=1, horizons=1, hidden=HIDDEN))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    learnt, comes = _sines(256, seed=1)
    for _ in range(400):
        loss = torch.nn.functional.mse_loss(_foreseen(network, learnt), comes)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    unseen, target = _sines(500, seed=2)
    with torch.inference_mode():
        missed = (_foreseen(network, unseen) - target)[:, -1].square().mean()
        persistence = (unseen - target)[:, -1].square().mean()
    assert missed < persistence / 100.0
