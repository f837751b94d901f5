"""Stateful, batched stepping of the network: one reading costs one step, however long the past.

The pipeline thread calls `observe` with the newest value of some channels and then reads what to
expect next. h and c are columns over channels, like everything else.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from anomalyd.detection.experts import ExpertBank
from anomalyd.detection.reading import Flags, Floats, Rows
from anomalyd.model.next_step import NextStep


class Predictor(Protocol):
    """What every predictor of one channel's next value can do."""

    name: str

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""

    def observe(self, rows: Rows, values: Floats, after_gap: Flags) -> tuple[Floats, Floats]:
        """Take one value (B,) of each channel in `rows` (unique); returns the location and the
        scale (B,) of its next value, in channel units."""

    def quantum(self, rows: Rows) -> Floats:
        """(B,) the channel's resolution; 0 while it has never changed."""


class NextStepPredictor:
    """The global next-step network and its state for `capacity` channels."""

    def __init__(self, network: NextStep, name: str, capacity: int) -> None:
        self.name = name
        self._network = network.eval()
        self._bank = ExpertBank(capacity)
        shape = (capacity, network.config.hidden)
        # numpy's zeros are not touched until used, torch's are: 50 000 rows cost nothing at first.
        self._h = np.zeros(shape, dtype=np.float32)
        self._c = np.zeros(shape, dtype=np.float32)

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._bank.reset(rows)
        self._h[rows] = 0.0
        self._c[rows] = 0.0

    def quantum(self, rows: Rows) -> Floats:
        """(B,) the channel's resolution; 0 while it has never changed."""
        return self._bank.quantum(rows)

    def observe(self, rows: Rows, values: Floats, after_gap: Flags) -> tuple[Floats, Floats]:
        """Take one value (B,) of each channel in `rows` (unique), look ahead to the next."""
        outlook = self._bank.observe(rows, values, after_gap)
        with torch.inference_mode():
            forecast, h, c = self._network.step(
                torch.from_numpy(outlook.features),
                torch.from_numpy(outlook.forecasts.astype(np.float32)),
                torch.from_numpy(self._h[rows]),
                torch.from_numpy(self._c[rows]),
            )
            location = forecast.location.numpy().astype(np.float64)
            scale = torch.exp(forecast.log_scale).numpy().astype(np.float64)
            self._h[rows] = h.numpy()
            self._c[rows] = c.numpy()
        return outlook.last + outlook.scale * location, outlook.scale * scale
