"""The next-step network as it serves: a small LSTM that gates a bank of simple experts; numpy.

One network serves every channel. It sees only scale-free features (`detection/experts.py`) and
answers in units of the channel's scale, so a pressure in pascal and a temperature in kelvin are
the same to it. The output is a distribution of the value 1, 6 and 24 readings ahead, each with a
convex combination of the experts plus a correction, and a scale. It is trained as
`next_step_module.NextStepModule`, which says the same and needs torch.

Mixture of experts: Jacobs et al., "Adaptive mixtures of local experts", 1991.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from anomalyd.detection.experts import EXPERTS, FEATURES, HORIZONS
from anomalyd.model import lstm
from anomalyd.model.lstm import Floats32, Shapes, Weights

LOG_SCALE_RANGE = (-4.0, 8.0)
CORRECTION_LIMIT = 20.0
FIGURES = 3
"""of a horizon, after the experts' weights: correction, log scale, freedom"""


@dataclass(frozen=True, slots=True)
class NextStepConfig:
    """Sizes of the network; part of every checkpoint."""

    features: int = FEATURES
    experts: int = len(EXPERTS)
    horizons: int = len(HORIZONS)
    hidden: int = 48

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class Foreseen(NamedTuple):
    """What comes, minus the last value, in units of scale; each (B, horizons)."""

    location: Floats32
    log_scale: Floats32


@dataclass(frozen=True, slots=True, eq=False)
class NextStep:
    """A trained network. Raises ValueError where the weights don't fit."""

    config: NextStepConfig
    weights: Weights

    def __post_init__(self) -> None:
        lstm.check(self.weights, self._shapes())

    def _shapes(self) -> Shapes:
        config = self.config
        outputs = config.horizons * (config.experts + FIGURES)
        return {
            **lstm.shapes("lstm", config.features, config.hidden),
            "head.weight": (outputs, config.hidden + config.features),
            "head.bias": (outputs,),
        }

    # Sound weights can be too large: what comes of them isn't finite, and is counted in service.
    @np.errstate(over="ignore", invalid="ignore")
    def step(
        self, features: Floats32, experts: Floats32, h: Floats32, c: Floats32
    ) -> tuple[Foreseen, Floats32, Floats32]:
        """One reading of each of B channels: (B, features), (B, horizons, experts), h and c
        (B, hidden)."""
        seen = features.T
        heard = lstm.hear(self.weights, "lstm", seen)
        h, c = lstm.remember(self.weights, "lstm", heard, h.T, c.T)
        return self._gate(h, seen, experts), h.T, c.T

    def _gate(self, h: Floats32, seen: Floats32, experts: Floats32) -> Foreseen:
        """Weigh the experts by what the LSTM remembers."""
        head, size, count = self.weights["head.weight"], h.shape[0], self.config.experts
        out = head[:, :size] @ h
        out += head[:, size:] @ seen
        out += self.weights["head.bias"][:, None]
        out = out.reshape(self.config.horizons, count + FIGURES, -1)
        weights = lstm.softmax(out[:, :count], axis=1)
        weights *= experts.transpose(1, 2, 0)
        correction = out[:, count].clip(-CORRECTION_LIMIT, CORRECTION_LIMIT)
        location = weights.sum(axis=1) + correction
        return Foreseen(location.T, out[:, count + 1].clip(*LOG_SCALE_RANGE).T)
