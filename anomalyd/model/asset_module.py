"""The asset network as it is trained: `asset.AssetNetwork` in torch, for whole sequences.

Called by its training; what serves never imports it. Training starts from the linear part alone,
so a class with few data stays linear.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from anomalyd.model.asset import LIMIT, AssetConfig, AssetNetwork
from anomalyd.model.modules import fill, weights_of


class AssetModule(nn.Module):
    """values (A, T, M + K) of M members and K inputs, standardised -> expected values (A, T, M)."""

    def __init__(self, config: AssetConfig) -> None:
        super().__init__()
        self.config = config
        self.scale: Tensor
        members, hidden = len(config.members), config.hidden
        width = members + len(config.inputs)
        self.lstm = nn.LSTM(width + members, hidden, batch_first=True)
        self.linear = nn.Parameter(torch.zeros(members, width))
        self.head = nn.Parameter(torch.zeros(members, hidden))
        self.bias = nn.Parameter(torch.zeros(members))
        self.register_buffer("scale", torch.ones(members))
        """(M,) usual error of each member's expectation"""

    @classmethod
    def of(cls, network: AssetNetwork) -> Self:
        """With a copy of its weights."""
        return fill(cls(network.config), network.weights).eval()

    def network(self) -> AssetNetwork:
        """What serves, with a copy of the weights."""
        return AssetNetwork(self.config, weights_of(self))

    def forward(self, values: Tensor) -> Tensor:
        """Run whole sequences from their beginning."""
        seen = self._seen(values)
        assets, steps, members, width = seen.shape
        hidden, _ = self.lstm(seen.transpose(1, 2).reshape(assets * members, steps, width))
        hidden = hidden.reshape(assets, members, steps, -1).transpose(1, 2)
        return self._expect(seen, hidden)

    def _seen(self, values: Tensor) -> Tensor:
        """(..., M + K) -> (..., M, M + K + M): what each member is expected from, and which it
        is."""
        members = len(self.config.members)
        values = values.clamp(-LIMIT, LIMIT)
        which = torch.eye(members).expand(*values.shape[:-1], members, members)
        seen = values.unsqueeze(-2).expand(*values.shape[:-1], members, values.shape[-1])
        if self.config.ahead == 0:
            others = 1.0 - torch.eye(members, values.shape[-1])
            seen = seen * others
        return torch.cat((seen, which), dim=-1)

    def _expect(self, seen: Tensor, hidden: Tensor) -> Tensor:
        width = self.linear.shape[1]
        linear = (seen[..., :width] * self.linear).sum(dim=-1)
        return linear + (hidden * self.head).sum(dim=-1) + self.bias
