"""Stateful, batched stepping of an asset network: a comparison of A assets costs one step.

The pipeline thread calls `observe` when all channels of some assets have spoken, and reads what
each should have been, given the others. h, c and what it takes to standardise a channel are columns
over channels, like everything else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Floats, Rows
from anomalyd.model.asset import AssetNetwork, Carried

_KNOWN_AFTER = 120.0
_COMMISSIONING = 400.0
"""comparisons from which a channel's mean and spread are taken; then they stand"""


class AssetPredictor:
    """The network of one class of assets, and its state for `capacity` channels."""

    def __init__(self, network: AssetNetwork, name: str, capacity: int) -> None:
        self.seats = (*network.config.members, *network.config.inputs)
        """which channel of an asset belongs where in the network, members first"""
        self.members = len(network.config.members)
        self._capacity = capacity
        self._count, self._mean, self._square = (np.zeros(capacity) for _ in range(3))
        self.renew(network, name)

    def renew(self, network: AssetNetwork, name: str) -> None:
        """Let another network of the same seats serve. Where each channel stands is known still;
        what the LSTM remembers is not: it begins anew."""
        self.name = name
        self._network = network
        self._scale = network.scale.astype(np.float64)
        self._scale.setflags(write=False)
        shape = (self._capacity, network.config.hidden)
        self._h, self._c = (np.zeros(shape, dtype=np.float32) for _ in range(2))

    def stand(self, other: AssetPredictor) -> None:
        """Take over where each channel stands, from the same seats."""
        for column, theirs in (
            (self._count, other._count), (self._mean, other._mean), (self._square, other._square)
        ):  # fmt: skip
            column[:] = theirs

    def exchange(self, other: AssetPredictor) -> None:
        """Change places with another network of the same seats."""
        self.__dict__, other.__dict__ = other.__dict__, self.__dict__

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        for column in (self._h, self._c, self._count, self._mean, self._square):
            column[rows] = 0.0

    def observe(
        self, rows: NDArray[np.intp], values: Floats, learns: NDArray[np.bool_]
    ) -> tuple[Floats, Floats]:
        """Take a value of each channel of A assets, `rows` and `values` (A, M + K) in the order of
        `seats`; returns what its M members should have been, and the usual error of that, both
        (A, M) in channel units and NaN while the asset is too young.

        `learns`: (A,) assets whose values are normal, as far as anyone knows: their first ones say
        where each channel stands.
        """
        mean, spread = self._standard(rows)
        z = np.divide(values - mean, spread, where=spread > 0.0, out=np.zeros_like(values))
        members = rows[:, : self.members]
        carried = Carried(self._h[members], self._c[members])
        expected, carried = self._network.step(z.astype(np.float32), carried)
        self._h[members], self._c[members] = carried
        location = expected.astype(np.float64)
        known = (self._count[members] >= _KNOWN_AFTER) & (spread[:, : self.members] > 0.0)
        self._commission(rows[learns], values[learns])
        mean, spread = (figure[:, : self.members] for figure in (mean, spread))
        return (
            np.where(known, mean + spread * location, np.nan),
            np.where(known, spread * self._scale, np.nan),
        )

    def _standard(self, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of each channel, (A, M + K)."""
        mean, count = self._mean[rows], np.maximum(self._count[rows], 1.0)
        spread = np.sqrt(self._square[rows] / count)
        return mean, np.where(spread > 1e-9 * (1.0 + np.abs(mean)), spread, 0.0)

    def _commission(self, rows: NDArray[np.intp], values: Floats) -> None:
        """Welford's moments of the first comparisons."""
        young = self._count[rows] < _COMMISSIONING
        rows, values = rows[young], values[young]
        self._count[rows] += 1.0
        off = values - self._mean[rows]
        self._mean[rows] += off / self._count[rows]
        self._square[rows] += off * (values - self._mean[rows])
