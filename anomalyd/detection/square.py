"""Square matrices over the seats of assets, of which most assets need a corner only.

Most machines have few channels: a matrix that is as wide as the largest asset would be three
quarters zeros, which weigh as much as figures and are multiplied as slowly. So the corner of the
first seats is kept apart from the rest, which is not touched until an asset needs it. Owned by
whoever holds the relations, on the pipeline's thread: no locks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Matrices = NDArray[Any]

MEMBERS = 16
"""seats of an asset"""
FEW = 8
"""seats of the corner"""
_BESIDE = FEW * (MEMBERS - FEW)


class Squares:
    """One matrix (MEMBERS, MEMBERS) for each of `capacity` assets; zeros at first."""

    def __init__(self, capacity: int, dtype: DTypeLike) -> None:
        # Zeros are not touched until used.
        self._corner = np.zeros((capacity, FEW, FEW), dtype=dtype)
        self._rest = np.zeros((capacity, MEMBERS * MEMBERS - FEW * FEW), dtype=dtype)

    @property
    def parts(self) -> tuple[Matrices, Matrices]:
        """(capacity, FEW, FEW) the corners, and (capacity, ...) what is beside them, flat."""
        return self._corner, self._rest

    def take(self, assets: NDArray[np.int64], width: int) -> Matrices:
        """(A, width, width) of the first seats; `width`: FEW or MEMBERS."""
        corner: Matrices = self._corner.take(assets, 0)
        if width == FEW:
            return corner
        rest = self._rest.take(assets, 0)
        whole = np.empty((assets.size, MEMBERS, MEMBERS), dtype=corner.dtype)
        whole[:, :FEW, :FEW] = corner
        whole[:, :FEW, FEW:] = rest[:, :_BESIDE].reshape(-1, FEW, MEMBERS - FEW)
        whole[:, FEW:] = rest[:, _BESIDE:].reshape(-1, MEMBERS - FEW, MEMBERS)
        return whole

    def diagonals(self, assets: NDArray[np.int64], width: int) -> Matrices:
        """(A, width) their diagonals."""
        few = np.arange(FEW)
        corner = self._corner[assets[:, None], few, few]
        if width == FEW:
            return corner
        more = np.arange(MEMBERS - FEW)
        rest = self._rest[assets[:, None], _BESIDE + more * MEMBERS + FEW + more]
        return np.concatenate((corner, rest), axis=1)

    def put(self, assets: NDArray[np.int64], figures: Matrices) -> None:
        """Write what is as wide as `take` gave it."""
        self._corner[assets] = figures[:, :FEW, :FEW]
        if figures.shape[1] > FEW:
            beside = figures[:, :FEW, FEW:].reshape(-1, _BESIDE)
            self._rest[assets, :_BESIDE] = beside
            self._rest[assets, _BESIDE:] = figures[:, FEW:].reshape(assets.size, -1)

    def reset(self, assets: NDArray[np.int64]) -> None:
        """Zeros again."""
        self._corner[assets] = 0
        used = assets[self._rest[assets].any(axis=1)]
        self._rest[used] = 0
