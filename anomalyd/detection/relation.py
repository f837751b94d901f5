"""Relations inside an asset: what each channel should be, given the others of its machine.

Every asset keeps the running covariance of its channels. The inverse of the correlation matrix
gives the linear regression of each channel on all others at once (leave-self-out): the residual
of channel i is (P z)_i / P_ii, with z the standardised values and P the precision matrix
(Lauritzen, "Graphical Models", 1996, section 5.1). If one channel i is off by some amount, the
likelihood of all values together rises most when that amount is taken from i itself: by
(P z)_i^2 / P_ii, the largest of all channels. So the one at fault is told from those that it only
misleads.

An asset's channels are compared when each of them has spoken since the last comparison, at about
the same time; their rates may differ. It goes on without one that is known to be silent, until that
speaks again; one whose silence means that its value holds is not waited for. It needs no
training and serves from the first minutes.
Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection import square
from anomalyd.detection.reading import Flags, Floats, Rows
from anomalyd.detection.square import FEW, Squares

MEMBERS = square.MEMBERS
"""channels of one asset that are compared; further ones are judged by their own past alone"""

_MEMORY_TICKS = 3000.0
_SMOOTHING_TICKS = 8.0
_REFIT_TICKS = 64
_KNOWN_AFTER_TICKS = 256.0
_RIDGE = 0.02  # of the unit variance: no channel is trusted to be noise-free
# In intervals of the slowest member: how long a comparison counts, and how far apart the values may
# be that are compared.
_LASTS, _SAME_TIME = 64.0, 0.95


class Compared(NamedTuple):
    """Assets that were compared in a round: every member has spoken."""

    assets: NDArray[np.intp]
    rows: NDArray[np.intp]
    """(assets, seats) the channels; -1 where there is none"""
    values: Floats
    """(assets, seats) what was compared, channel units"""
    residuals: Floats
    """(assets, seats) smoothed, in standard deviations of the channel; 0 where unknown"""
    evidence: Floats
    """(assets, seats) >= 0, how much better it all fits if this one channel is at fault"""


_NO_ASSET = np.empty(0, dtype=np.int64)
_NOTHING = Compared(_NO_ASSET, _NO_ASSET.reshape(0, MEMBERS), *np.empty((3, 0, MEMBERS)))


class _Seats(NamedTuple):
    """Which of B readings belong to assets, and where; R of them to A assets."""

    assets: NDArray[np.int64]
    """(A,)"""
    of: NDArray[np.intp]
    """(R,) index into `assets`"""
    slots: NDArray[np.int64]
    """(R,)"""
    readings: NDArray[np.intp]
    """(R,) index into the batch"""
    arrival: NDArray[np.intp]
    """(A, MEMBERS) the same, by seat"""
    taken: Flags
    """(A, MEMBERS) seats that have a reading in this batch"""


class Relations:
    """Covariances of the assets among `capacity` channels."""

    def __init__(self, capacity: int) -> None:
        shape = (capacity, MEMBERS)
        self._asset = np.full(capacity, -1, dtype=np.int64)
        self._slot = np.zeros(capacity, dtype=np.int64)
        self._rows = np.zeros(shape, dtype=np.int64)  # row + 1; 0 = none
        self._active, self._spoke = (np.zeros(shape, dtype=np.bool_) for _ in range(2))
        self._absent, self._holds = (np.zeros(shape, dtype=np.bool_) for _ in range(2))
        self._judged = np.ones(shape, dtype=np.bool_)
        self._value, self._mean, self._residual = (np.zeros(shape) for _ in range(3))
        self._time, self._interval = (np.zeros(shape) for _ in range(2))
        self._compared, self._lasts = np.zeros(capacity), np.zeros(capacity)
        self._ticks = np.zeros(capacity)
        self._covariance = Squares(capacity, np.float64)
        # Free of units, unlike the covariance: half as wide.
        self._precision = Squares(capacity, np.float32)

    def join(self, row: int, asset: int, judged: bool = True, holds: bool = False) -> None:
        """Make a channel a member of an asset, from its first reading on; one too many is not
        compared. One that is not `judged` is known beforehand: the others are held against it. Of
        one that `holds`, silence means that its value does."""
        free = np.flatnonzero(self._rows[asset] == 0)
        if not free.size:
            return
        slot = int(free[0])
        self._asset[row], self._slot[row] = asset, slot
        self._rows[asset, slot] = row + 1
        self._judged[asset, slot], self._holds[asset, slot] = judged, holds
        self._absent[asset, slot] = False

    def leave(self, rows: Rows) -> None:
        """Take channels out of their assets."""
        member = rows[self._asset[rows] >= 0]
        assets, slots = self._at(member)
        self._rows[assets, slots] = 0
        self._active[assets, slots] = False
        self._asset[member] = -1
        self._restart(assets)

    @property
    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(capacity,) asset and seat of each channel; all other columns are over assets."""
        return self._asset, self._slot

    def reseat(self, rows: Rows) -> None:
        """The places of the channels in `rows` were written: let their assets know them there."""
        member = rows[self._asset[rows] >= 0]
        assets, slots = self._at(member)
        self._rows[assets] = 0
        self._rows[assets, slots] = member + 1
        self._active[assets] &= self._rows[assets] > 0

    def rest(self, rows: Rows) -> None:
        """Let the assets of silent channels go on without them, until they speak again."""
        assets, slots = self._at(rows[self._asset[rows] >= 0])
        if assets.size:
            self._absent[assets, slots] = True
            self._refit(np.unique(assets))

    def empty(self, asset: int) -> bool:
        """No channel is a member of it."""
        return not self._rows[asset].any()

    def group(self, rows: Rows) -> NDArray[np.int64]:
        """(B,) the asset of each channel, or a number that is the channel's own."""
        asset = self._asset[rows]
        return np.where(asset >= 0, asset, -1 - rows)

    def residual(self, rows: Rows, times: Floats) -> Floats:
        """(B,) newest smoothed residual at `times`, in standard deviations; NaN where there is
        none, or where a silent member keeps the asset from being compared."""
        fresh = self.fresh(rows, times)
        if not np.count_nonzero(fresh):
            return np.full(rows.size, np.nan)
        return np.where(fresh, self._residual[self._at(rows)], np.nan)

    def fresh(self, rows: Rows, times: Floats) -> Flags:
        """(B,) there is such a residual."""
        asset, slot = self._at(rows)
        fresh = asset >= 0
        if np.count_nonzero(fresh):
            fresh &= times - self._compared[asset] <= self._lasts[asset]
            fresh &= self._residual[asset, slot] != 0.0
        return np.asarray(fresh)

    def spread(self, rows: Rows) -> Floats:
        """(B,) standard deviation of each channel in its asset, in its own units."""
        asset, slot = self._at(rows)
        return np.sqrt(self._covariance.diagonals(asset, MEMBERS)[np.arange(rows.size), slot])

    def shares(self, row: int) -> tuple[Rows, Floats]:
        """The channels of the asset of `row` and their shares of the evidence, largest first."""
        asset = int(self._asset[row])
        rows = self._rows[asset]
        own = self._precision.diagonals(np.array([asset]), MEMBERS)[0]
        size = np.where(rows > 0, np.abs(self._residual[asset]) * np.sqrt(own), 0.0)
        order = np.argsort(-size, kind="stable")[: int((rows > 0).sum())]
        return rows[order] - 1, size[order] / max(float(size.sum()), 1e-300)

    def fits(self, rows: Rows) -> Flags:
        """(B,) of readings in order of arrival, one a channel: which may be taken in one go.

        An asset's readings are taken up to the one with which it can be compared; a channel's very
        first reading changes its asset and is taken alone.
        """
        if not np.count_nonzero(self._asset[rows] >= 0):
            return np.ones(rows.size, dtype=np.bool_)
        seats = self._seat(rows)
        present, waits = self._present(seats.assets), self._waits(seats.assets)
        first = np.where(seats.taken, seats.arrival, rows.size).min(axis=1, initial=rows.size)
        new = seats.taken & ~present
        begins = np.where(new, seats.arrival, rows.size).min(axis=1, initial=rows.size)
        last = np.where(begins == first, first, begins - 1)
        missing = waits & ~self._spoke[seats.assets]
        complete = (present.sum(axis=1) > 1) & np.all(~missing | seats.taken, axis=1)
        moment = np.where(missing, seats.arrival, first[:, None]).max(axis=1, initial=-1)
        last = np.where(complete, np.minimum(last, moment), last)
        fits = np.ones(rows.size, dtype=np.bool_)
        fits[seats.readings] = seats.readings <= last[seats.of]
        return fits

    def observe(self, rows: Rows, times: Floats, values: Floats, interval_s: Floats) -> Compared:
        """Take readings that fit: one value of each channel in `rows`, in order of arrival.

        `interval_s`: (B,) the usual time between the channel's readings.
        """
        if not np.count_nonzero(self._asset[rows] >= 0):
            return _NOTHING
        seats = self._seat(rows)
        assets, at = seats.assets, (seats.assets[seats.of], seats.slots)
        new = ~self._active[at]
        self._active[at] = True
        back = self._absent[at]
        self._absent[at] = False
        for column, figures in (
            (self._value, values),
            (self._time, times),
            (self._interval, interval_s),
        ):
            column[at] = figures[seats.readings]
        self._spoke[at] = True
        if new.any():
            self._restart(at[0][new])
        if back.any():
            self._refit(np.unique(at[0][back]))
        spoke = self._spoke[assets] | ~self._waits(assets)
        complete = (self._present(assets).sum(axis=1) > 1) & spoke.all(axis=1)
        return self._compare(self._together(assets[complete]))

    def replace(self, compared: Compared, rows: Rows, missed: Floats, evidence: Floats) -> Compared:
        """Put the residuals of a better expectation in the place of the regression's: `missed`,
        smoothed and in channel units, and `evidence` of the compared channels in `rows` (R,)."""
        assets, slots = self._at(rows)
        at = np.searchsorted(compared.assets, assets), slots
        spread = self.spread(rows)
        residual = np.divide(missed, spread, where=spread > 0.0, out=np.zeros_like(missed))
        self._residual[assets, slots] = residual
        compared.residuals[at], compared.evidence[at] = residual, evidence
        return compared

    def learn(self, compared: Compared, learns: Flags) -> None:
        """Let the compared assets teach their covariances where `learns` (per asset)."""
        assets = compared.assets[learns]
        if not assets.size:
            return
        ticks = self._ticks[assets]
        rate = np.maximum(1.0 / _MEMORY_TICKS, 1.0 / (ticks + 1.0))[:, None]
        values = compared.values[learns]
        seats = values.shape[1]
        # Of a silent member nothing is learnt, and nothing forgotten.
        present = self._present(assets)[:, :seats]
        off = np.where(present, values - self._mean[assets, :seats], 0.0)
        self._mean[assets, :seats] += rate * off
        for some, width in self._widths(assets):
            self._spread_out(assets[some], off[some, :width], present[some, :width], rate[some])
        self._ticks[assets] = ticks + 1.0
        due = assets[(ticks + 1.0) % _REFIT_TICKS == 0.0]
        if due.size:
            self._refit(due)

    def _spread_out(
        self, assets: NDArray[np.int64], off: Floats, present: Flags, rate: Floats
    ) -> None:
        """Take how far (A, seats) each value of some assets is off its mean into the covariance."""
        outer = off[:, :, None] * off[:, None, :]
        rate = rate[:, :, None]
        outer *= rate * (1.0 - rate)
        if not present.all():
            rate = np.where(present[:, :, None] & present[:, None, :], rate, 0.0)
        kept = self._covariance.take(assets, off.shape[1])
        kept *= 1.0 - rate
        kept += outer
        self._covariance.put(assets, kept)

    def _widths(self, assets: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.intp] | slice, int]]:
        """Which of some assets need so many seats. They are counted apart: what comes of one may
        not depend on which others are in the round."""
        wide = np.logical_or.reduce(self._active[assets, FEW:], axis=1)
        wider = np.count_nonzero(wide)
        if not wider:
            yield slice(None), FEW
        elif wider == assets.size:
            yield slice(None), MEMBERS
        else:
            yield np.flatnonzero(~wide), FEW
            yield np.flatnonzero(wide), MEMBERS

    def _at(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self._asset[rows], self._slot[rows]

    def _present(self, assets: NDArray[np.int64]) -> Flags:
        """(A, MEMBERS) who is compared."""
        return self._active[assets] & ~self._absent[assets]

    def _waits(self, assets: NDArray[np.int64]) -> Flags:
        """(A, MEMBERS) who must speak before it is."""
        return self._present(assets) & ~self._holds[assets]

    def _seat(self, rows: Rows) -> _Seats:
        readings = np.flatnonzero(self._asset[rows] >= 0)
        member, slots = self._at(rows[readings])
        assets, of = np.unique(member, return_inverse=True)
        arrival = np.zeros((assets.size, MEMBERS), dtype=np.intp)
        taken = np.zeros((assets.size, MEMBERS), dtype=np.bool_)
        arrival[of, slots] = readings
        taken[of, slots] = True
        return _Seats(assets, of, slots, readings, arrival, taken)

    def _together(self, assets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those whose members all spoke at about the same time; where one lags, for instance
        because a reading was lost, it has to speak again first."""
        active, times = self._waits(assets), self._time[assets]
        slowest = np.where(active, self._interval[assets], 0.0).max(axis=1, initial=0.0)
        newest = np.where(active, times, -np.inf).max(axis=1, initial=-np.inf)
        lags = active & (times < (newest - _SAME_TIME * slowest)[:, None])
        together = ~lags.any(axis=1)
        self._compared[assets[together]] = newest[together]
        self._lasts[assets[together]] = _LASTS * slowest[together]
        self._spoke[assets] = ~lags & active & ~together[:, None]
        compared: NDArray[np.int64] = assets[together]
        return compared

    def _restart(self, assets: NDArray[np.int64]) -> None:
        for squares in (self._covariance, self._precision):
            squares.reset(assets)
        for column in (self._mean, self._residual, self._spoke):
            column[assets] = 0
        self._ticks[assets] = 0.0

    def _compare(self, assets: NDArray[np.int64]) -> Compared:
        widths = list(self._widths(assets))
        seats = max(width for _, width in widths)
        present = self._present(assets)[:, :seats]
        values = np.where(present, self._value[assets, :seats], 0.0)
        spread = np.sqrt(self._covariance.diagonals(assets, seats))
        off = values - self._mean[assets, :seats]
        z = np.divide(off, spread, where=spread > 0.0, out=np.zeros_like(values))
        z[~present] = 0.0
        z = np.minimum(np.maximum(z, -50.0), 50.0)
        joint, own = np.zeros_like(z), np.zeros(z.shape, dtype=np.float32)
        for some, width in widths:
            precision = self._precision.take(assets[some], width)
            own[some, :width] = np.diagonal(precision, axis1=1, axis2=2)
            joint[some, :width] = np.matmul(precision, z[some, :width, None])[:, :, 0]
        known = (self._ticks[assets] >= _KNOWN_AFTER_TICKS)[:, None] & (own > 0.0)
        known &= self._judged[assets, :seats] & present
        residual = np.divide(joint, own, where=known, out=np.zeros_like(joint))
        smoothed = self._residual[assets, :seats]
        smoothed += (residual - smoothed) / _SMOOTHING_TICKS
        smoothed[~known] = 0.0
        self._residual[assets, :seats] = smoothed
        evidence = np.abs(smoothed) * np.sqrt(own)
        rows = np.where(present, self._rows[assets, :seats], 0) - 1
        return Compared(assets, rows, values, smoothed, evidence)

    def _refit(self, assets: NDArray[np.int64]) -> None:
        for some, width in self._widths(assets):
            self._invert(assets[some], width)

    def _invert(self, assets: NDArray[np.int64], width: int) -> None:
        covariance = self._covariance.take(assets, width)
        spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        inverse = np.divide(1.0, spread, where=spread > 0.0, out=np.zeros_like(spread))
        correlation = covariance * inverse[:, :, None] * inverse[:, None, :]
        # A channel that never moved, is silent, or an empty slot is unrelated to all others.
        absent = self._absent[assets, :width]
        correlation[absent[:, :, None] | absent[:, None, :]] = 0.0
        alone = np.where((spread > 0.0) & ~absent, _RIDGE, 1.0)
        correlation += alone[:, :, None] * np.eye(width)
        self._precision.put(assets, np.linalg.inv(correlation))
