"""The next-step network: a small LSTM that gates a bank of simple experts.

One network serves every channel. It sees only scale-free features (`detection/experts.py`) and
answers in units of the channel's scale, so a pressure in pascal and a temperature in kelvin are
the same to it. The output is a Student-t distribution of the value 1, 6 and 24 readings ahead, each
with a convex combination of the experts plus a correction, a scale, and degrees of freedom.

Mixture of experts: Jacobs et al., "Adaptive mixtures of local experts", 1991.
LSTM: Hochreiter and Schmidhuber, "Long short-term memory", 1997.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomalyd.detection.experts import EXPERTS, FEATURES, HORIZONS

_LOG_SCALE_RANGE = (-4.0, 8.0)
_CORRECTION_LIMIT = 20.0
_FIGURES = 3  # correction, log scale, freedom


@dataclass(frozen=True, slots=True)
class NextStepConfig:
    """Sizes of the network; part of every checkpoint."""

    features: int = FEATURES
    experts: int = len(EXPERTS)
    horizons: int = len(HORIZONS)
    hidden: int = 32

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class Forecast(NamedTuple):
    """Distribution of the coming values minus the last, in units of scale; each of shape
    (..., horizons)."""

    location: Tensor
    log_scale: Tensor
    freedom: Tensor


class NextStep(nn.Module):
    """features (B, T, features), experts (B, T, horizons, experts) -> Forecast (B, T, horizons)."""

    def __init__(self, config: NextStepConfig) -> None:
        super().__init__()
        self.config = config
        self.lstm = nn.LSTM(config.features, config.hidden, batch_first=True)
        outputs = config.horizons * (config.experts + _FIGURES)
        self.head = nn.Linear(config.hidden + config.features, outputs)

    def forward(
        self, features: Tensor, experts: Tensor, carried: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Forecast, tuple[Tensor, Tensor]]:
        """Run whole sequences; `carried` is (h, c), each (1, B, hidden), or None at the start."""
        hidden, carried = self.lstm(features, carried)
        return self.gate(hidden, features, experts), carried

    def step(
        self, features: Tensor, experts: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Forecast, Tensor, Tensor]:
        """One reading of each of B channels: (B, features), (B, horizons, experts), h and c
        (B, hidden)."""
        h, c = torch.lstm_cell(features, (h, c), *self.lstm.all_weights[0])
        return self.gate(h, features, experts), h, c

    def gate(self, hidden: Tensor, features: Tensor, experts: Tensor) -> Forecast:
        """Weigh the experts by what the LSTM remembers."""
        out = self.head(torch.cat((hidden, features), dim=-1))
        count = self.config.experts
        out = out.unflatten(-1, (self.config.horizons, count + _FIGURES))
        # Experts first: a softmax over the last, short axis takes twenty times as long.
        weights = torch.softmax(out[..., :count].movedim(-1, 0).contiguous(), dim=0)
        correction = out[..., count].clamp(-_CORRECTION_LIMIT, _CORRECTION_LIMIT)
        location = (weights * experts.movedim(-1, 0)).sum(dim=0) + correction
        log_scale = out[..., count + 1].clamp(*_LOG_SCALE_RANGE)
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
