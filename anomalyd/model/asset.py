"""The asset network as it serves: what a machine's channels should be, given the others of the
machine; numpy.

One network serves every asset of a class: its channels (members) are told apart by name, its values
are standardised per asset, and all members of all assets are one batch. Each member is expected
from the others only (leave-self-out): its own value is masked, or it would explain its own fault
away. With `ahead` = 1 nothing is masked and what is expected is the member's next value.

Next to a small LSTM, which remembers what the machine has been through, stands a linear regression
on the newest values. It is trained as `asset_module.AssetModule`, which needs torch.

Linear part beside a recurrent one: Lai et al., "Modeling long- and short-term temporal patterns
with deep neural networks" (LSTNet), 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from anomalyd.model import lstm
from anomalyd.model.lstm import Floats32, Shapes, Weights

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

    h: Floats32
    c: Floats32


@dataclass(frozen=True, slots=True, eq=False)
class AssetNetwork:
    """A trained network. Raises ValueError where the weights don't fit."""

    config: AssetConfig
    weights: Weights

    def __post_init__(self) -> None:
        lstm.check(self.weights, self._shapes())

    def _shapes(self) -> Shapes:
        members, hidden = len(self.config.members), self.config.hidden
        width = members + len(self.config.inputs)
        return {
            **lstm.shapes("lstm", width + members, hidden),
            "linear": (members, width),
            "head": (members, hidden),
            "bias": (members,),
            "scale": (members,),
        }

    @property
    def scale(self) -> Floats32:
        """(M,) usual error of each member's expectation."""
        return self.weights["scale"]

    # Sound weights can be too large: what comes of them isn't finite, and is counted in service.
    @np.errstate(over="ignore", invalid="ignore")
    def step(self, values: Floats32, carried: Carried) -> tuple[Floats32, Carried]:
        """One value of each channel of A assets, (A, M + K), standardised; expected values
        (A, M)."""
        seen = self._seen(values)
        assets, members, width = seen.shape
        heard = lstm.hear(self.weights, "lstm", seen.reshape(assets * members, width).T)
        size = self.config.hidden
        h, c = (each.reshape(assets * members, size).T for each in carried)
        h, c = lstm.remember(self.weights, "lstm", heard, h, c)
        shape = assets, members, size
        carried = Carried(h.T.reshape(shape), c.T.reshape(shape))
        return self._expect(seen, carried.h), carried

    def _seen(self, values: Floats32) -> Floats32:
        """(A, M + K) -> (A, M, M + K + M): what each member is expected from, and which it is."""
        assets, width = values.shape
        members = len(self.config.members)
        seen = np.empty((assets, members, width + members), dtype=np.float32)
        seen[..., :width] = values.clip(-LIMIT, LIMIT)[:, None]
        seen[..., width:] = np.eye(members)
        if self.config.ahead == 0:
            own = np.arange(members)
            seen[:, own, own] = 0.0
        return seen

    def _expect(self, seen: Floats32, hidden: Floats32) -> Floats32:
        linear = self.weights["linear"]
        expected = (seen[..., : linear.shape[1]] * linear).sum(axis=-1)
        expected += (hidden * self.weights["head"]).sum(axis=-1)
        expected += self.weights["bias"]
        return np.asarray(expected)
