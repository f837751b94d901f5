"""The encoder-decoder network: a window in, quantiles of every coming step out.

One LSTM reads the window; another, started from its memory, writes one step after the other. It is
told what plain extrapolations say of each step, weighs them, and adds a correction and the spread.
For every step there are quantiles of the value and of the largest value until then: the chance that
the maximum until step h reaches a limit is the chance that the limit is crossed by step h, so the
quantiles of the running maximum are the distribution of the time to the limit.

Sequence to sequence: Sutskever, Vinyals and Le, 2014. Pinball loss: Koenker and Bassett,
"Regression quantiles", 1978.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_MEDIAN = LEVELS.index(0.5)


@dataclass(frozen=True, slots=True)
class EncoderDecoderConfig:
    """Sizes of the network; part of every checkpoint."""

    window: int = 64
    horizon: int = 32
    features: int = 4
    ahead: int = 6
    hidden: int = 40

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class Outlook(NamedTuple):
    """Quantiles of what comes, one for each of `LEVELS`, never crossing; (B, H, levels)."""

    value: Tensor
    peak: Tensor
    """of the largest value until that step; never falls from one step to the next"""


class EncoderDecoder(nn.Module):
    """features (B, W, features), extrapolations (B, H, ahead) -> Outlook (B, H)."""

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.LSTM(config.features, config.hidden, batch_first=True)
        self.decoder = nn.LSTM(config.ahead, config.hidden, batch_first=True)
        # Of value and peak: weights of the extrapolations and of "stays", a correction, the gaps.
        self._each = config.ahead + 1 + len(LEVELS) - 1
        self.head = nn.Linear(config.hidden + config.ahead, 2 * self._each)

    def forward(self, features: Tensor, ahead: Tensor) -> Outlook:
        """Movements from the last value, as `ahead` tells them."""
        _, memory = self.encoder(features)
        written, _ = self.decoder(ahead, memory)
        out = self.head(torch.cat((written, ahead), dim=-1))
        value = self._quantiles(out[..., : self._each], ahead)
        # The larger of two ordered sets of quantiles is ordered too.
        peak = self._quantiles(out[..., self._each :], ahead).cummax(dim=1).values
        return Outlook(value, peak)

    def _quantiles(self, out: Tensor, ahead: Tensor) -> Tensor:
        """Non-crossing by construction: a median, and gaps above and below it."""
        count = self.config.ahead
        weights = torch.softmax(out[..., :count], dim=-1)
        # The last of `ahead` is how far, no extrapolation: its weight is that of "stays".
        median = (weights[..., :-1] * ahead[..., :-1]).sum(dim=-1) + out[..., count]
        gaps = nn.functional.softplus(out[..., count + 1 :])
        below = gaps[..., :_MEDIAN].flip(-1).cumsum(dim=-1).flip(-1)
        above = gaps[..., _MEDIAN:].cumsum(dim=-1)
        median = median.unsqueeze(-1)
        return torch.cat((median - below, median, median + above), dim=-1)


def pinball(quantiles: Tensor, target: Tensor) -> Tensor:
    """Mean quantile loss; `quantiles` (..., levels), `target` (...)."""
    missed = target.unsqueeze(-1) - quantiles
    levels = torch.tensor(LEVELS)
    return torch.maximum(levels * missed, (levels - 1.0) * missed).mean()
