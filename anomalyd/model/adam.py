"""Adam (Kingma and Ba, "Adam: a method for stochastic optimization", 2015) with decoupled weight
decay (Loshchilov and Hutter, 2019), as `torch.optim.AdamW` steps, to the last bit.

That class imports PyTorch's compiler when it is made: 70 MB and half a second, in a daemon that
compiles nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

_BETAS, _TINY = (0.9, 0.999), 1e-8


@dataclass(slots=True)
class Moments:
    """Of the gradients of one parameter, each shaped as it is."""

    first: Tensor
    second: Tensor


class Adam:
    """Steps some parameters along their gradients."""

    def __init__(self, parameters: Iterable[Tensor], rate: float, decay: float = 0.0) -> None:
        """`decay`: of a parameter, that each step takes off it, for each unit of the rate."""
        self.rate = rate
        self._decay = decay
        self.steps = 0
        self.parameters = list(parameters)
        self.moments = [
            Moments(torch.zeros_like(each), torch.zeros_like(each)) for each in self.parameters
        ]

    def clear(self) -> None:
        """Forget the gradients."""
        for each in self.parameters:
            each.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Parameters without a gradient stay."""
        self.steps += 1
        early, late = (1.0 - beta**self.steps for beta in _BETAS)
        for parameter, moments in zip(self.parameters, self.moments, strict=True):
            gradient = parameter.grad
            if gradient is None:
                continue
            if self._decay:
                parameter.mul_(1.0 - self.rate * self._decay)
            moments.first.lerp_(gradient, 1.0 - _BETAS[0])
            moments.second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1.0 - _BETAS[1])
            size = (moments.second.sqrt() / late**0.5).add_(_TINY)
            parameter.addcdiv_(moments.first, size, value=-self.rate / early)
