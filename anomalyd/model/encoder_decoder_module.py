"""The forecaster's network as it is trained: `encoder_decoder.EncoderDecoder` in torch.

Called by its training; what serves never imports it.
Pinball loss: Koenker and Bassett, "Regression quantiles", 1978.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from anomalyd.model.encoder_decoder import (
    LEVELS,
    MEDIAN,
    EncoderDecoder,
    EncoderDecoderConfig,
)
from anomalyd.model.modules import fill, weights_of


class Outlook(NamedTuple):
    """Quantiles of what comes, one for each of `LEVELS`, never crossing; (B, H, levels)."""

    value: Tensor
    peak: Tensor
    """of the largest value until that step; never falls from one step to the next"""


class EncoderDecoderModule(nn.Module):
    """features (B, W, features), extrapolations (B, H, ahead) -> Outlook (B, H)."""

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.LSTM(config.features, config.hidden, batch_first=True)
        self.decoder = nn.LSTM(config.ahead, config.hidden, batch_first=True)
        self.head = nn.Linear(config.hidden + config.ahead, 2 * config.outputs)

    @classmethod
    def of(cls, network: EncoderDecoder) -> Self:
        """With a copy of its weights."""
        return fill(cls(network.config), network.weights).eval()

    def network(self) -> EncoderDecoder:
        """What serves, with a copy of the weights."""
        return EncoderDecoder(self.config, weights_of(self))

    def forward(self, features: Tensor, ahead: Tensor) -> Outlook:
        """Movements from the last value, as `ahead` tells them."""
        _, memory = self.encoder(features)
        written, _ = self.decoder(ahead, memory)
        out = self.head(torch.cat((written, ahead), dim=-1))
        value = self._quantiles(out[..., : self.config.outputs], ahead)
        # The larger of two ordered sets of quantiles is ordered too.
        peak = self._quantiles(out[..., self.config.outputs :], ahead).cummax(dim=1).values
        return Outlook(value, peak)

    def _quantiles(self, out: Tensor, ahead: Tensor) -> Tensor:
        """Non-crossing by construction: a median, and gaps above and below it."""
        count = self.config.ahead
        weights = torch.softmax(out[..., :count], dim=-1)
        # The last of `ahead` is how far, no extrapolation: its weight is that of "stays".
        median = (weights[..., :-1] * ahead[..., :-1]).sum(dim=-1) + out[..., count]
        gaps = nn.functional.softplus(out[..., count + 1 :])
        below = gaps[..., :MEDIAN].flip(-1).cumsum(dim=-1).flip(-1)
        above = gaps[..., MEDIAN:].cumsum(dim=-1)
        median = median.unsqueeze(-1)
        return torch.cat((median - below, median, median + above), dim=-1)


def pinball(quantiles: Tensor, target: Tensor) -> Tensor:
    """Mean quantile loss; `quantiles` (..., levels), `target` (...)."""
    missed = target.unsqueeze(-1) - quantiles
    levels = torch.tensor(LEVELS)
    return torch.maximum(levels * missed, (levels - 1.0) * missed).mean()
