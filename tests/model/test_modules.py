"""Weights go into a torch module and come out again, each side with a copy of its own."""

import numpy as np
import torch

from anomalyd.model.modules import fill, weights_of


def test_weights_come_back_as_they_went_in() -> None:
    """Under the same names; what is done to one side is not seen on the other."""
    weights = {"weight": np.eye(2, dtype=np.float32), "bias": np.arange(2, dtype=np.float32)}
    module = fill(torch.nn.Linear(2, 2), weights)
    found = weights_of(module)
    assert weights.keys() == found.keys()
    with torch.no_grad():
        module.weight.fill_(7.0)
    for name, each in weights.items():
        np.testing.assert_array_equal(each, found[name])
    np.testing.assert_array_equal(np.eye(2), weights["weight"])
