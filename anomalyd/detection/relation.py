"""Relations inside an asset: what each channel should be, given the others of its machine.

Every asset keeps the running covariance of its channels. The inverse of the correlation matrix
gives the linear regression of each channel on all others at once (leave-self-out): the residual
of channel i is (P z)_i / P_ii, with z the standardised values and P the precision matrix
(Lauritzen, "Graphical Models", 1996, section 5.1). An asset's channels are compared when each of
them has spoken since the last comparison, so their rates may differ.

If one channel i is off by some amount, the likelihood of all values together rises most when that
amount is taken from i itself: by (P z)_i^2 / P_ii, the largest of all channels. So the one at fault
is told from those that it only misleads.

It needs no training and serves from the first minutes. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Flags, Floats, Rows

MEMBERS = 16
"""channels of one asset that are compared; further ones are judged by their own past alone"""

_MEMORY_TICKS = 3000.0
_SMOOTHING_TICKS = 8.0
_REFIT_TICKS = 64
_KNOWN_AFTER_TICKS = 256.0
_RIDGE = 0.02  # of the unit variance: no channel is trusted to be noise-free
_WAIT_READINGS = 64  # for a silent member, before its asset is left alone


class Compared(NamedTuple):
    """Assets that were compared in a round: every member has spoken."""

    assets: NDArray[np.intp]
    rows: NDArray[np.intp]
    """(assets, MEMBERS) the channels; -1 where there is none"""
    values: Floats
    """(assets, MEMBERS) what was compared, channel units"""
    residuals: Floats
    """(assets, MEMBERS) smoothed, in standard deviations of the channel; 0 where unknown"""
    evidence: Floats
    """(assets, MEMBERS) >= 0, how much better it all fits if this one channel is at fault"""


class Relations:
    """Covariances of the assets among `capacity` channels."""

    def __init__(self, capacity: int) -> None:
        shape = (capacity, MEMBERS)
        self._asset = np.full(capacity, -1, dtype=np.int64)
        self._slot = np.zeros(capacity, dtype=np.int64)
        self._rows = np.zeros(shape, dtype=np.int64)  # row + 1; 0 = none
        self._value, self._mean, self._residual = (np.zeros(shape) for _ in range(3))
        self._spoke = np.zeros(shape, dtype=np.bool_)
        self._waited = np.zeros(capacity, dtype=np.int64)
        self._ticks = np.zeros(capacity)
        self._covariance = np.zeros((capacity, MEMBERS, MEMBERS))
        self._precision = np.zeros((capacity, MEMBERS, MEMBERS))

    def join(self, row: int, asset: int) -> None:
        """Make a channel a member of an asset; one too many is not compared."""
        free = np.flatnonzero(self._rows[asset] == 0)
        if not free.size:
            return
        slot = int(free[0])
        self._asset[row], self._slot[row] = asset, slot
        self._rows[asset, slot] = row + 1
        self._restart(asset)

    def leave(self, rows: Rows) -> None:
        """Take channels out of their assets."""
        for row in rows[self._asset[rows] >= 0].tolist():
            asset = int(self._asset[row])
            self._rows[asset, self._slot[row]] = 0
            self._asset[row] = -1
            self._restart(asset)

    def group(self, rows: Rows) -> NDArray[np.int64]:
        """(B,) the asset of each channel, or a number that is the channel's own."""
        asset = self._asset[rows]
        return np.where(asset >= 0, asset, -1 - rows)

    def residual(self, rows: Rows) -> Floats:
        """(B,) newest smoothed residual, in standard deviations; NaN while there is none."""
        residual = np.where(self._asset[rows] >= 0, self._residual[self._at(rows)], 0.0)
        return np.where(residual == 0.0, np.nan, residual)

    def spread(self, rows: Rows) -> Floats:
        """(B,) standard deviation of each channel in its asset, in its own units."""
        asset, slot = self._at(rows)
        return np.sqrt(self._covariance[asset, slot, slot])

    def shares(self, row: int) -> tuple[Rows, Floats]:
        """The channels of the asset of `row` and their shares of the joint residual."""
        asset = int(self._asset[row])
        rows = self._rows[asset]
        size = np.where(rows > 0, np.abs(self._residual[asset]), 0.0)
        order = np.argsort(-size, kind="stable")[: int((rows > 0).sum())]
        return rows[order] - 1, size[order] / max(float(size.sum()), 1e-300)

    def observe(self, rows: Rows, values: Floats) -> Compared:
        """Take one value of each channel in `rows` (unique, in order of arrival)."""
        grouped = np.flatnonzero(self._asset[rows] >= 0)
        member = self._at(rows[grouped])
        assets, inverse = np.unique(member[0], return_inverse=True)
        at = (inverse, member[1])
        arrival = np.full((assets.size, MEMBERS), -1)
        arrival[at] = grouped
        known = self._rows[assets] > 0
        missing = known & ~self._spoke[assets]
        complete = (known.sum(axis=1) > 1) & np.all(~missing | (arrival >= 0), axis=1)
        # The comparison happens when the last missing member speaks; later readings of the round
        # belong to the next one.
        moment = np.where(missing, arrival, -1).max(axis=1, initial=-1)
        spoken = (arrival >= 0) & (arrival <= moment[:, None])
        new = self._value[assets]
        new[at] = values[grouped]
        compared = np.where(spoken, new, self._value[assets])[complete]
        self._value[assets] = new
        self._spoke[assets] = np.where(
            complete[:, None], (arrival >= 0) & ~spoken, self._spoke[assets] | (arrival >= 0)
        )
        self._wait(assets, complete, (arrival >= 0).sum(axis=1))
        return self._compare(assets[complete], compared)

    def learn(self, compared: Compared, learns: Flags) -> None:
        """Let the compared assets teach their covariances where `learns` (per asset)."""
        assets = compared.assets[learns]
        if not assets.size:
            return
        ticks = self._ticks[assets]
        rate = np.maximum(1.0 / _MEMORY_TICKS, 1.0 / (ticks + 1.0))[:, None]
        off = compared.values[learns] - self._mean[assets]
        self._mean[assets] += rate * off
        outer = off[:, :, None] * off[:, None, :]
        rate = rate[:, :, None]
        self._covariance[assets] += rate * ((1.0 - rate) * outer - self._covariance[assets])
        self._ticks[assets] = ticks + 1.0
        due = assets[(ticks + 1.0) % _REFIT_TICKS == 0.0]
        if due.size:
            self._refit(due)

    def _at(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self._asset[rows], self._slot[rows]

    def _restart(self, asset: int) -> None:
        for column in (self._covariance, self._precision, self._mean, self._residual, self._spoke):
            column[asset] = 0
        self._ticks[asset] = 0.0

    def _wait(self, assets: NDArray[np.int64], complete: Flags, spoke: NDArray[np.int64]) -> None:
        """A member that has gone silent must not freeze the residuals of the others."""
        waited = np.where(complete, 0, self._waited[assets] + spoke)
        self._waited[assets] = waited
        members = (self._rows[assets] > 0).sum(axis=1)
        self._residual[assets[waited > _WAIT_READINGS * members]] = 0.0

    def _compare(self, assets: NDArray[np.int64], values: Floats) -> Compared:
        variance = np.diagonal(self._covariance[assets], axis1=1, axis2=2)
        spread = np.sqrt(variance)
        z = np.divide(values - self._mean[assets], spread, where=spread > 0.0, out=values * 0.0)
        precision = self._precision[assets]
        own = np.diagonal(precision, axis1=1, axis2=2)
        joint = np.einsum("aij,aj->ai", precision, np.clip(z, -50.0, 50.0))
        known = (self._ticks[assets] >= _KNOWN_AFTER_TICKS)[:, None] & (own > 0.0)
        residual = np.divide(joint, own, where=known, out=np.zeros_like(joint))
        smoothed = self._residual[assets]
        smoothed += (residual - smoothed) / _SMOOTHING_TICKS
        smoothed[~known] = 0.0
        self._residual[assets] = smoothed
        evidence = np.abs(smoothed) * np.sqrt(own)
        return Compared(assets, self._rows[assets] - 1, values, smoothed, evidence)

    def _refit(self, assets: NDArray[np.int64]) -> None:
        covariance = self._covariance[assets]
        spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        inverse = np.divide(1.0, spread, where=spread > 0.0, out=np.zeros_like(spread))
        correlation = covariance * inverse[:, :, None] * inverse[:, None, :]
        # A channel that never moved, or an empty slot, is unrelated to all others.
        alone = np.where(spread > 0.0, _RIDGE, 1.0)
        correlation += alone[:, :, None] * np.eye(MEMBERS)
        self._precision[assets] = np.linalg.inv(correlation)
