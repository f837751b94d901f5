"""What serves is what was trained: step by step in numpy, the whole history in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalyd.model.asset import Carried
from tests.model.test_asset_module import network

MEMBERS, HIDDEN = 3, 8


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("assets", [1, 5, 3400])
def test_steps_are_the_sequence(assets: int, ahead: int) -> None:
    """Carried state gives what a whole sequence gives, also from values far out."""
    module = network(ahead)
    values = 4.0 * torch.randn(assets, 6, 4, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        whole = module(values).numpy()
    served = module.network()
    state = np.zeros((assets, MEMBERS, HIDDEN), dtype=np.float32)
    carried = Carried(state, state)
    for at in range(values.shape[1]):
        expected, carried = served.step(values[:, at].numpy(), carried)
        np.testing.assert_allclose(expected, whole[:, at], atol=1e-5, rtol=1e-5)
        assert np.float32 == expected.dtype == carried.h.dtype


def test_no_asset_is_a_step_too() -> None:
    """Of no values."""
    state = np.zeros((0, MEMBERS, HIDDEN), dtype=np.float32)
    expected, _ = network().network().step(np.zeros((0, 4), np.float32), Carried(state, state))
    assert (0, MEMBERS) == expected.shape
