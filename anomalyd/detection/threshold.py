"""How rare a value of a view is on its channel, and which value is as rare as promised.

Each view of a channel (its residual, its noise, its level, ...) keeps a compact sketch of what was
normal: a histogram over the logarithm of its size, four bins an octave, with exponential
forgetting. The *surprise* of a value is -log10 of the share of normal values that were larger: the
conformal p-value of one reading (Laxhammar and Falkman, "Conformal prediction for distribution-
independent anomaly detection in streaming vessel data", 2010). Beyond all that was seen, the tail
is taken to go on as a power law with a slope like that of its last decades (Hill, "A simple general
approach to inference about the tail of a distribution", 1975), believed only as far as there are
values to tell it from.

A rank needs no assumption on the bulk and no unit, so surprises of different views and channels
can be averaged and compared. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Flags, Floats, Rows

BINS = 32
_PER_OCTAVE = 4.0
_MIDDLE = 16  # where a channel's first value is put
_DECADES_A_BIN = np.log10(2.0) / _PER_OCTAVE

MEMORY = 5000.0
"""values, equally weighted until there are so many"""
_HEAVIEST_WEIGHT = 1e6  # weights grow instead of all others shrinking, up to here
_SHALLOWEST = 3.0  # slope of the heaviest tail
_BELIEF = 500.0  # values by which half of the slope that they show is believed
_LAST = 0.37  # a value this old (in weights) still counts as the largest
_DECADES = 0.1, 0.01, 0.001  # shares of values above, between which slopes are read
_CROWDED = 0.6  # share in the lowest bin from which the bins move down
_ROOM = 4
# While a view that climbs is beyond all that was seen (by so many bins), nobody knows whether that
# is normal. Of an excursion that ends by itself the peak is learnt; another is normal in the end.
_SETTLED, _NEAR, _PATIENCE = 500.0, 0.5, 1000.0


class Tails:
    """Sketches of some views of `capacity` channels; 196 bytes each."""

    def __init__(self, capacity: int, steepest: Sequence[float], climbs: Sequence[bool]) -> None:
        """For each view: `steepest`, no steeper slope of its tail is believed. Neighbouring values
        of a slow view are alike: it has seen few excursions, and the next may go further.
        `climbs`: the view gets where it goes in many small steps; learnt one by one, none would
        surprise."""
        self._climbs = np.array(climbs)
        views = len(steepest)
        self._steepest = np.array(steepest)
        # zeros, not empty: the pages of rows that are never used are never touched.
        self._bins = np.zeros((capacity, views, BINS), dtype=np.float32)
        # Each begins around its first value, so that a unit changes nothing.
        self._origin, self._weight, self._count = np.zeros((3, capacity, views))
        # The end of the tail, in bins from the origin, and its slope: as of the last refresh.
        self._end, self._slope = np.zeros((2, capacity, views))
        # An excursion beyond all that was seen: its readings so far, and its peak's position.
        self._held, self._peak = np.zeros((2, capacity, views))

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        for column in (
            self._bins, self._origin, self._weight, self._count, self._end, self._slope, self._held
        ):  # fmt: skip
            column[rows] = 0.0

    def counts(self, rows: Rows) -> Floats:
        """(views, B) values that each view has learnt from."""
        return np.ascontiguousarray(self._count[rows].T)

    def surprises(self, rows: Rows, views: Floats, floor: Floats) -> Floats:
        """(views, B) >= 0, -log10 of the share of normal values above `views` (views, B).

        `floor`: (views, B) what the instrument can't resolve; smaller values count as it.
        """
        tail = _Tail(self._bins[rows], self._weight[rows])
        at = _position(np.maximum(views, floor)).T - self._origin[rows]
        beyond = np.maximum(at - self._end[rows], 0.0) * _DECADES_A_BIN
        surprise = np.log10((tail.values + 1.0) / (np.maximum(tail.above(at), _LAST) + 1.0))
        surprise += np.maximum(self._slope[rows], _SHALLOWEST) * beyond
        return np.ascontiguousarray(surprise.T)

    def values(self, rows: Rows, surprises: Floats) -> Floats:
        """(views, B) the values with these surprises (views, B); 0 while unknown."""
        tail = _Tail(self._bins[rows], self._weight[rows])
        wanted = surprises.T
        larger = np.maximum((tail.values + 1.0) * 10.0**-wanted - 1.0, _LAST)
        most = np.log10((tail.values + 1.0) / (_LAST + 1.0))
        slope = np.maximum(self._slope[rows], _SHALLOWEST)
        beyond = np.maximum(wanted - most, 0.0) / slope / _DECADES_A_BIN
        at = tail.position(larger) + beyond + self._origin[rows]
        values = np.where(self._count[rows] > 0.0, 2.0 ** (at / _PER_OCTAVE), 0.0)
        return np.ascontiguousarray(values.T)

    def learn(self, rows: Rows, views: Floats, floor: Floats, learns: Flags) -> None:
        """Take values that count as normal.

        `views`, `floor`: (views, B) as above; NaN where there is nothing to learn. `learns`: (B,)
        which of the channels learn at all.
        """
        chosen = np.nonzero((~np.isnan(views) & learns).T)
        if not chosen[0].size:
            return
        at = _position(np.maximum(views, floor).T[chosen])
        cells = rows[chosen[0]], chosen[1]
        held, peak = self._held[cells], self._peak[cells]
        beyond = self._climbs[chosen[1]] & (self._count[cells] >= _SETTLED) & (held < _PATIENCE)
        beyond &= at > self._origin[cells] + self._end[cells] + _NEAR
        over = (held > 0.0) & ~beyond
        self._held[cells] = np.where(beyond, held + 1.0, 0.0)
        self._peak[cells] = np.where(beyond & (held > 0.0), np.maximum(peak, at), at)
        for taken, sizes in ((over, peak), (~beyond, at)):
            if taken.any():
                self._take((cells[0][taken], cells[1][taken]), sizes[taken])

    def _take(self, cells: tuple[Rows, NDArray[np.intp]], at: Floats) -> None:
        """Put one value, at the position `at`, into the sketch of each of some views."""
        count = self._count[cells]
        fresh = at - (_MIDDLE + 0.5)
        self._origin[cells] = np.where(count == 0.0, fresh, self._origin[cells])
        self._make_room(cells, at)
        place = np.clip(np.floor(at - self._origin[cells]), 0, BINS - 1)
        weight = np.where(count < MEMORY, 1.0, self._weight[cells] * (1.0 + 1.0 / MEMORY))
        self._bins[(*cells, place.astype(np.intp))] += weight.astype(np.float32)
        self._end[cells] = np.maximum(self._end[cells], place + 1.0 - _LAST)
        self._count[cells] = count + 1.0
        heavy = weight > _HEAVIEST_WEIGHT
        if heavy.any():
            self._bins[tuple(each[heavy] for each in cells)] /= weight[heavy, None]
            weight[heavy] = 1.0
        self._weight[cells] = weight

    def refresh(self, rows: Rows) -> None:
        """Find the ends and slopes of the tails anew; now and then is enough. Where most values are
        too small for the bins, the bins move down."""
        bins, weight = self._bins[rows], self._weight[rows]
        crowded = bins[..., 0] > _CROWDED * bins.sum(axis=-1)
        crowded &= bins[..., -_ROOM:].sum(axis=-1) < _LAST * weight
        if crowded.any():
            lower = np.zeros_like(bins)
            lower[..., _ROOM:] = bins[..., :-_ROOM]
            bins = np.where(crowded[..., None], lower, bins)
            self._bins[rows] = bins
            self._origin[rows] -= _ROOM * crowded
        tail = _Tail(bins, weight)
        self._end[rows] = tail.position(_LAST)
        self._slope[rows] = tail.slope(self._steepest)

    def _make_room(self, cells: tuple[Rows, NDArray[np.intp]], at: Floats) -> None:
        """Move the bins up where `at` is beyond them; what falls out at the foot stays there."""
        above = np.floor(at - self._origin[cells]).astype(np.int64) - (BINS - 1)
        for move in np.flatnonzero(above > 0).tolist():
            cell = cells[0][move], cells[1][move]
            steps = int(min(above[move], BINS))
            bins = np.zeros(BINS, dtype=np.float32)
            bins[: BINS - steps] = self._bins[cell][steps:]
            bins[0] += self._bins[cell][:steps].sum()
            self._bins[cell] = bins
            self._origin[cell] += above[move]
            self._end[cell] -= above[move]


class _Tail:
    """What sketches say; (B, views) unless said otherwise."""

    def __init__(self, bins: NDArray[np.float32], weight: Floats) -> None:
        """`bins`: (B, views, BINS)."""
        above = np.zeros((*bins.shape[:2], BINS + 1), dtype=np.float32)
        np.cumsum(bins[..., ::-1], axis=-1, out=above[..., 1:])
        above /= np.maximum(weight, 1.0)[..., None].astype(np.float32)
        self._above = above  # (B, views, BINS + 1): values in the top 0, 1, ... bins
        self.values = above[..., -1].astype(np.float64)

    def above(self, at: Floats) -> Floats:
        """Values above the position `at`, in bins from the origin."""
        depth = np.clip(BINS - at, 0.0, BINS)
        full = np.minimum(depth.astype(np.intp), BINS - 1)
        low = np.take_along_axis(self._above, full[..., None], -1)[..., 0]
        high = np.take_along_axis(self._above, full[..., None] + 1, -1)[..., 0]
        return np.asarray(low + (depth - full) * (high - low))

    def position(self, values: Floats | float) -> Floats:
        """Position, in bins from the origin, above which there are so many `values`."""
        wanted = np.broadcast_to(values, self.values.shape)
        full = (self._above < wanted[..., None]).sum(axis=-1)  # bins that don't suffice
        full = np.clip(full, 1, BINS)
        low = np.take_along_axis(self._above, full[..., None] - 1, -1)[..., 0]
        high = np.take_along_axis(self._above, full[..., None], -1)[..., 0]
        part = np.clip((wanted - low) / np.maximum(high - low, 1e-9), 0.0, 1.0)
        return np.asarray(BINS - (full - 1 + part), dtype=np.float64)

    def slope(self, steepest: Floats) -> Floats:
        """-d log10(share above) / d log10(value) at the end of the tail: that of the last decade,
        and as much steeper again as half its growth from the decade before (a power law's doesn't
        grow, a bell curve's does)."""
        tenth, hundredth, thousandth = (self.position(each * self.values) for each in _DECADES)
        before = 1.0 / (np.maximum(hundredth - tenth, 1.0) * _DECADES_A_BIN)
        last = 1.0 / (np.maximum(thousandth - hundredth, 0.5) * _DECADES_A_BIN)
        shown = np.clip(last * np.sqrt(np.maximum(last / before, 1.0)), _SHALLOWEST, steepest)
        belief = self.values / (self.values + _BELIEF)
        return np.asarray(_SHALLOWEST + belief * (shown - _SHALLOWEST))


def _position(sizes: Floats) -> Floats:
    """Where sizes > 0 are on the axis of all bins."""
    return np.asarray(_PER_OCTAVE * np.log2(sizes))
