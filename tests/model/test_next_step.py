"""The network's two ways of running are one function."""

from __future__ import annotations

from typing import Any

import torch

from anomalyd.model.next_step import Forecast, NextStep, NextStepConfig, student_t_nll


def test_stepping_statefully_equals_running_the_whole_history() -> None:
    """Carrying h and c over 500 readings gives what re-running all of them gives, to 1e-5."""
    torch.manual_seed(1)
    network = NextStep(NextStepConfig()).eval()
    features, experts = torch.randn(7, 500, 12), torch.randn(7, 500, 4)
    with torch.inference_mode():
        whole, _ = network(features, experts)
        h = c = torch.zeros(7, network.config.hidden)
        for at in range(500):
            step, h, c = network.step(features[:, at], experts[:, at], h, c)
            for once, all_at_once in zip(step, whole, strict=True):
                torch.testing.assert_close(once, all_at_once[:, at], atol=1e-5, rtol=1e-5)


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
    with torch.inference_mode():
        forecast, _ = network(1e3 * torch.randn(3, 20, 12), 50 * torch.randn(3, 20, 4))
    assert bool(torch.isfinite(torch.stack(list(forecast))).all())
    assert bool((forecast.freedom >= 2.0).all())
