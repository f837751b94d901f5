"""The optimiser of what learns on site: PyTorch's own, to the bit, without its compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from anomalyd.model.adam import Adam

WITHOUT = """
import sys
import numpy as np
from anomalyd.model.asset import AssetConfig
from anomalyd.model import asset_training, checkpoint
from anomalyd.model.asset_training import AssetPlan
from anomalyd.model.fine_tuning import FineTuningPlan, fine_tune
from anomalyd.model.segment import Cut
draw = np.random.default_rng(1).standard_normal
values, learnt = draw(300), np.ones(300, dtype=np.bool_)
fine_tune(
    checkpoint.shipped_network(), [Cut("a", np.arange(300.0), values, learnt)], 1,
    FineTuningPlan(steps=2, most_pieces=1),
)
asset_training.train(
    [draw((400, 3))], AssetConfig(("a", "b", "c"), (), hidden=4), 1, AssetPlan(steps=2)
)
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_it_steps_as_pytorch_does(decay: float) -> None:
    """Whatever the rate."""
    torch.manual_seed(3)
    ours = [torch.nn.Parameter(torch.ones(4, 3)), torch.nn.Parameter(torch.ones(3))]
    theirs = [torch.nn.Parameter(each.detach().clone()) for each in ours]
    own, original = Adam(ours, 1e-3, decay), torch.optim.AdamW(theirs, 1e-3, weight_decay=decay)
    for step in range(20):
        own.clear()
        original.zero_grad()
        own.rate = original.param_groups[0]["lr"] = 1e-3 * (1.0 + step)
        seen = torch.randn(5, 4)
        for weight, bias in (ours, theirs):
            torch.autograd.backward(((seen @ weight + bias) ** 3).sum())
        own.step()
        original.step()
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_a_parameter_without_a_gradient_stays() -> None:
    still, moves = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    torch.autograd.backward(moves.sum())
    Adam([still, moves], 0.1).step()
    assert torch.equal(torch.ones(2), still)
    assert not torch.equal(torch.ones(2), moves)


def test_the_daemon_learns_without_the_compiler() -> None:
    """Which is 70 MB, imported by the optimiser that comes with PyTorch."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=100
    )
    assert "[]" == done.stdout.strip()
