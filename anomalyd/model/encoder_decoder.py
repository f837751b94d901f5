"""The forecaster's network as it serves: a window in, quantiles of every coming step out; numpy.

One LSTM reads the window; another, started from its memory, writes one step after the other. It is
told what plain extrapolations say of each step, weighs them, and adds a correction and the spread.
For every step there are quantiles of the value and of the largest value until then: the chance that
the maximum until step h reaches a limit is the chance that the limit is crossed by step h, so the
quantiles of the running maximum are the distribution of the time to the limit. Served are those of
the maximum alone. It is trained as `encoder_decoder_module.EncoderDecoderModule`, which needs
torch.

Sequence to sequence: Sutskever, Vinyals and Le, 2014.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from anomalyd.model import lstm
from anomalyd.model.lstm import Floats32, Shapes, Weights

LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MEDIAN = LEVELS.index(0.5)
FEWEST_BLOCKS = 16
"""in a window that is forecast from"""


@dataclass(frozen=True, slots=True)
class EncoderDecoderConfig:
    """Sizes of the network; part of every checkpoint."""

    window: int = 64
    horizon: int = 32
    features: int = 4
    ahead: int = 6
    hidden: int = 40

    @property
    def outputs(self) -> int:
        """Of value or peak: weights of the extrapolations and of "stays", a correction, the
        gaps."""
        return self.ahead + 1 + len(LEVELS) - 1

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class EncoderDecoder:
    """A trained network. Raises ValueError where the weights don't fit."""

    config: EncoderDecoderConfig
    weights: Weights

    def __post_init__(self) -> None:
        lstm.check(self.weights, self._shapes())

    def _shapes(self) -> Shapes:
        config = self.config
        return {
            **lstm.shapes("encoder", config.features, config.hidden),
            **lstm.shapes("decoder", config.ahead, config.hidden),
            "head.weight": (2 * config.outputs, config.hidden + config.ahead),
            "head.bias": (2 * config.outputs,),
        }

    # Sound weights can be too large: what comes of them isn't finite, and is counted in service.
    @np.errstate(over="ignore", invalid="ignore")
    def peak(self, features: Floats32, ahead: Floats32) -> Floats32:
        """features (B, W, features), extrapolations (B, H, ahead) -> quantiles (B, H, levels) of
        the largest movement from the last value until each step, in units of `ahead`; they never
        cross, and never fall from one step to the next."""
        count, size = self.config.outputs, self.config.hidden
        seen = ahead.transpose(1, 2, 0)
        written = self._write(features.transpose(1, 2, 0), seen)
        head, bias = self.weights["head.weight"][count:], self.weights["head.bias"][count:]
        out = head[:, :size] @ written
        out += head[:, size:] @ seen
        out += bias[:, None]
        # The larger of two ordered sets of quantiles is ordered too.
        return np.maximum.accumulate(self._quantiles(out, seen), axis=0).transpose(2, 0, 1)

    def _write(self, features: Floats32, ahead: Floats32) -> Floats32:
        """(W, features, B), (H, ahead, B) -> what the decoder makes of each step (H, hidden, B)."""
        h = c = np.zeros((self.config.hidden, features.shape[-1]), dtype=np.float32)
        for heard in lstm.hear(self.weights, "encoder", features):
            h, c = lstm.remember(self.weights, "encoder", heard, h, c)
        written = np.empty((len(ahead), *h.shape), dtype=np.float32)
        for step, heard in enumerate(lstm.hear(self.weights, "decoder", ahead)):
            h, c = lstm.remember(self.weights, "decoder", heard, h, c)
            written[step] = h
        return written

    def _quantiles(self, out: Floats32, ahead: Floats32) -> Floats32:
        """(H, outputs, B) -> (H, levels, B). Non-crossing by construction: a median, and gaps above
        and below it."""
        count = self.config.ahead
        weights = lstm.softmax(out[:, :count], axis=1)
        # The last of `ahead` is how far, no extrapolation: its weight is that of "stays".
        median = (weights[:, :-1] * ahead[:, :-1]).sum(axis=1) + out[:, count]
        gaps = np.logaddexp(out[:, count + 1 :], np.float32(0.0))
        below = gaps[:, :MEDIAN][:, ::-1]
        median = median[:, None]
        return np.concatenate(
            (
                median - below.cumsum(axis=1)[:, ::-1],
                median,
                median + gaps[:, MEDIAN:].cumsum(axis=1),
            ),
            axis=1,
        )
