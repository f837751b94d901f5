"""Weights into a torch module and out of it again, under the names that a model file has.

Called by the modules that are trained; what serves never imports it.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from anomalyd.model.lstm import Weights

Module = TypeVar("Module", bound=nn.Module)


def fill(module: Module, weights: Weights) -> Module:
    """Copy them into it."""
    module.load_state_dict({name: torch.from_numpy(each.copy()) for name, each in weights.items()})
    return module


def weights_of(module: nn.Module) -> Weights:
    """A copy of them."""
    return {name: each.detach().numpy().copy() for name, each in module.state_dict().items()}
