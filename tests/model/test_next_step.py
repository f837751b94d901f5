"""What serves is what was trained: step by step in numpy, the whole history in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from anomalyd.model.lstm import Floats32
from anomalyd.model.next_step import NextStep, NextStepConfig
from anomalyd.model.next_step_module import NextStepModule

SIZES = NextStepConfig()


def _close(ours: Floats32, theirs: Tensor) -> None:
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5, rtol=1e-5)


def _module() -> NextStepModule:
    """Of random weights."""
    torch.manual_seed(1)
    return NextStepModule(SIZES).eval()


@pytest.mark.parametrize("batch", [0, 1, 7, 10_000])
def test_a_step_in_numpy_is_one_in_torch(batch: int) -> None:
    """From any memory, for as many channels as there are."""
    drawn, module = torch.Generator().manual_seed(2), _module()
    features = 3.0 * torch.randn(batch, 1, SIZES.features, generator=drawn)
    experts = torch.randn(batch, 1, SIZES.horizons, SIZES.experts, generator=drawn)
    h, c = torch.tanh(torch.randn(2, 1, batch, SIZES.hidden, generator=drawn))
    found, *carried = module.network().step(
        features[:, 0].numpy(), experts[:, 0].numpy(), h[0].numpy(), c[0].numpy()
    )
    if not batch:  # torch's LSTM wants a series
        assert (0, SIZES.horizons) == found.location.shape == found.log_scale.shape
        return
    with torch.inference_mode():
        forecast, expected = module(features, experts, (h, c))
    _close(found.location, forecast.location[:, 0])
    _close(found.log_scale, forecast.log_scale[:, 0])
    for ours, theirs in zip(carried, expected, strict=True):
        _close(ours, theirs[0])
        assert np.float32 == ours.dtype


def test_stepping_statefully_equals_running_the_whole_history() -> None:
    """Carrying h and c over 500 readings gives what re-running all of them gives, to 1e-5."""
    drawn, module = torch.Generator().manual_seed(3), _module()
    features = torch.randn(7, 500, SIZES.features, generator=drawn)
    experts = torch.randn(7, 500, SIZES.horizons, SIZES.experts, generator=drawn)
    with torch.inference_mode():
        whole, _ = module(features, experts)
    network = module.network()
    h = c = np.zeros((7, SIZES.hidden), dtype=np.float32)
    for at in range(500):
        step, h, c = network.step(features[:, at].numpy(), experts[:, at].numpy(), h, c)
        _close(step.location, whole.location[:, at])
        _close(step.log_scale, whole.log_scale[:, at])


def test_what_is_trained_on_leaves_what_serves_alone() -> None:
    """Both have weights of their own."""
    network = _module().network()
    before = network.weights["head.bias"].copy()
    with torch.no_grad():
        NextStepModule.of(network).head.bias.fill_(7.0)
    np.testing.assert_array_equal(before, network.weights["head.bias"])


def test_weights_that_do_not_fit_are_refused() -> None:
    """By name."""
    weights = {**_module().network().weights, "head.bias": np.zeros(2, dtype=np.float32)}
    with pytest.raises(ValueError, match=r"head\.bias is float32\[2\]"):
        NextStep(SIZES, weights)


@pytest.mark.parametrize("name", ["head.weight", "lstm.weight_hh_l0", "head.bias"])
def test_weights_that_are_too_large_are_no_warning(name: str) -> None:
    """What they say is not finite, or at its limits; the log has nothing of it."""
    network = _module().network()
    network.weights[name][:] = 3e38
    features = np.ones((2, SIZES.features), dtype=np.float32)
    experts = np.ones((2, SIZES.horizons, SIZES.experts), dtype=np.float32)
    state = np.ones((2, SIZES.hidden), dtype=np.float32)
    for _ in range(3):
        found, *_ = network.step(features, experts, state, -state)
    assert (2, SIZES.horizons) == found.location.shape
