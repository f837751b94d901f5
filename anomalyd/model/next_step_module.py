"""The next-step network as it is trained: `next_step.NextStep` in torch, for whole sequences.

Called by training, fine-tuning and the gate; what serves never imports it. The output is a
Student-t distribution of the value at each horizon, with a location, a scale and degrees of
freedom.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from anomalyd.model.modules import fill, weights_of
from anomalyd.model.next_step import (
    CORRECTION_LIMIT,
    FIGURES,
    LOG_SCALE_RANGE,
    NextStep,
    NextStepConfig,
)


class Forecast(NamedTuple):
    """Distribution of the coming values minus the last, in units of scale; each of shape
    (..., horizons)."""

    location: Tensor
    log_scale: Tensor
    freedom: Tensor


class NextStepModule(nn.Module):
    """features (B, T, features), experts (B, T, horizons, experts) -> Forecast (B, T, horizons)."""

    def __init__(self, config: NextStepConfig) -> None:
        super().__init__()
        self.config = config
        self.lstm = nn.LSTM(config.features, config.hidden, batch_first=True)
        outputs = config.horizons * (config.experts + FIGURES)
        self.head = nn.Linear(config.hidden + config.features, outputs)

    @classmethod
    def of(cls, network: NextStep) -> Self:
        """With a copy of its weights."""
        return fill(cls(network.config), network.weights).eval()

    def network(self) -> NextStep:
        """What serves, with a copy of the weights."""
        return NextStep(self.config, weights_of(self))

    def forward(
        self, features: Tensor, experts: Tensor, carried: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Forecast, tuple[Tensor, Tensor]]:
        """Run whole sequences; `carried` is (h, c), each (1, B, hidden), or None at the start."""
        hidden, carried = self.lstm(features, carried)
        return self.gate(hidden, features, experts), carried

    def gate(self, hidden: Tensor, features: Tensor, experts: Tensor) -> Forecast:
        """Weigh the experts by what the LSTM remembers."""
        out = self.head(torch.cat((hidden, features), dim=-1))
        count = self.config.experts
        out = out.unflatten(-1, (self.config.horizons, count + FIGURES))
        # Experts first: a softmax over the last, short axis takes twenty times as long.
        weights = torch.softmax(out[..., :count].movedim(-1, 0).contiguous(), dim=0)
        correction = out[..., count].clamp(-CORRECTION_LIMIT, CORRECTION_LIMIT)
        location = (weights * experts.movedim(-1, 0)).sum(dim=0) + correction
        log_scale = out[..., count + 1].clamp(*LOG_SCALE_RANGE)
        freedom = 2.0 + nn.functional.softplus(out[..., count + 2])
        return Forecast(location, log_scale, freedom)


def student_t_nll(forecast: Forecast, target: Tensor) -> Tensor:
    """Negative log-likelihood of `target` (same shape as the forecast), element by element."""
    freedom, log_scale = forecast.freedom, forecast.log_scale
    z = (target - forecast.location) * torch.exp(-log_scale)
    half = 0.5 * (freedom + 1.0)
    return (
        torch.lgamma(0.5 * freedom)
        - torch.lgamma(half)
        + 0.5 * torch.log(freedom * torch.pi)
        + log_scale
        + half * torch.log1p(z * z / freedom)
    )
