"""The asset network: what a machine's channels should be, given the others of the machine.

One network serves every asset of a class: its channels (members) are told apart by name, its values
are standardised per asset, and all members of all assets are one batch. Each member is expected
from the others only (leave-self-out): its own value is masked, or it would explain its own fault
away. With `ahead` = 1 nothing is masked and what is expected is the member's next value.

Next to a small LSTM, which remembers what the machine has been through, stands a linear regression
on the newest values. Training starts from it alone, so a class with few data stays linear.

Linear part beside a recurrent one: Lai et al., "Modeling long- and short-term temporal patterns
with deep neural networks" (LSTNet), 2018. LSTM: Hochreiter and Schmidhuber, 1997.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

LIMIT = 8.0
"""standard deviations: a value further out says no more about the other members than this"""


@dataclass(frozen=True, slots=True)
class AssetConfig:
    """The class of assets, and sizes of its network; part of every checkpoint."""

    members: Sequence[str]
    """channels that are expected from each other, by the labels that tell them apart"""
    inputs: Sequence[str] = ()
    """channels that are known beforehand: commands, set-points, machine state"""
    hidden: int = 24
    ahead: int = 0
    """0: each member's value now, from the others; 1: its next value, from all"""

    def __post_init__(self) -> None:
        # A file holds lists; two equal classes must be equal.
        object.__setattr__(self, "members", tuple(self.members))
        object.__setattr__(self, "inputs", tuple(self.inputs))

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class Carried(NamedTuple):
    """What the LSTM remembers of each member's surroundings; each (A, M, hidden)."""

    h: Tensor
    c: Tensor


class AssetNetwork(nn.Module):
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

    def forward(self, values: Tensor) -> Tensor:
        """Run whole sequences from their beginning."""
        seen = self._seen(values)
        assets, steps, members, width = seen.shape
        hidden, _ = self.lstm(seen.transpose(1, 2).reshape(assets * members, steps, width))
        hidden = hidden.reshape(assets, members, steps, -1).transpose(1, 2)
        return self._expect(seen, hidden)

    def step(self, values: Tensor, carried: Carried) -> tuple[Tensor, Carried]:
        """One value of each channel of A assets: (A, M + K)."""
        seen = self._seen(values)
        assets, members, width = seen.shape
        h, c = torch.lstm_cell(
            seen.reshape(assets * members, width),
            [each.reshape(assets * members, -1) for each in carried],
            *self.lstm.all_weights[0],
        )
        carried = Carried(h.reshape(assets, members, -1), c.reshape(assets, members, -1))
        return self._expect(seen, carried.h), carried

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
