"""The parts of every network: the gates of torch's cell, weights that are refused by name, and a
softmax that doesn't overflow."""

import numpy as np
import pytest
import torch

from anomalyd.model import lstm


def test_a_step_is_that_of_torchs_cell() -> None:
    """With torch's names and order of the gates; far out, where they saturate, too."""
    torch.manual_seed(1)
    cell = torch.nn.LSTMCell(5, 7)
    weights = {f"x.{name}_l0": each.detach().numpy() for name, each in cell.named_parameters()}
    assert {name: each.shape for name, each in weights.items()} == lstm.shapes("x", 5, 7)
    seen, h, c = 100.0 * torch.randn(4, 5), torch.randn(4, 7), torch.randn(4, 7)
    with torch.inference_mode():
        expected = cell(seen, (h, c))
    heard = lstm.hear(weights, "x", seen.numpy().T)
    found = lstm.remember(weights, "x", heard, h.numpy().T, c.numpy().T)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.T, theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({}, "missing or unknown: w"),
        ({"w": np.zeros(2, np.float32), "v": np.zeros(1, np.float32)}, "missing or unknown: v"),
        ({"w": np.zeros((2, 1), np.float32)}, r"w is float32\[2, 1\], not float32\[2\]"),
        ({"w": np.zeros(2)}, r"w is float64\[2\], not float32\[2\]"),
    ],
)
def test_weights_that_do_not_fit_are_named(weights: lstm.Weights, said: str) -> None:
    """What is missing, unknown, of another shape or type."""
    with pytest.raises(ValueError, match=said):
        lstm.check(weights, {"w": (2,)})


def test_a_softmax_of_large_numbers_is_one() -> None:
    """Shares along the axis, however large the numbers are."""
    logits = np.array([[1e30, 0.0], [1e30, np.log(3.0)]], dtype=np.float32)
    expected = np.array([[0.5, 0.25], [0.5, 0.75]])
    np.testing.assert_allclose(lstm.softmax(logits, axis=0), expected, atol=1e-6)
