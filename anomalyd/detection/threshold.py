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
can be averaged and compared. Histograms are kept cumulative, so that a surprise is a look-up of two
cells; what is learnt waits in a short queue and is folded in together. Owned by the pipeline
thread: no locks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Flags, Floats, Rows

BINS = 32
QUEUED = 16
"""readings that are folded in together; the very first ones are not kept waiting"""
_PER_OCTAVE = 4.0
_MIDDLE = 16  # where a channel's first value is put
_DECADES_A_BIN = np.log10(2.0) / _PER_OCTAVE

MEMORY = 5000.0
"""values, equally weighted until there are so many"""
_SHALLOWEST = 3.0  # slope of the heaviest tail
_BELIEF = 500.0  # values by which half of the slope that they show is believed
_LAST = 0.37  # a value this old (in weights) still counts as the largest
_DECADES = 0.1, 0.01, 0.001  # shares of values above, between which slopes are read
_CROWDED = 0.6  # share in the lowest bin from which the bins move down
_ROOM = 4
_NOTHING, _HIGHEST = -1, 127  # in the queue
# While a view that climbs is beyond all that was seen (by so many bins), nobody knows whether that
# is normal. Of an excursion that ends by itself the peak is learnt; another is normal in the end.
_SETTLED, _NEAR, _PATIENCE = 500.0, 0.5, 1000.0


def position(sizes: Floats) -> Floats:
    """Where sizes > 0 are on the axis of all bins; NaN is nowhere."""
    return np.asarray(_PER_OCTAVE * np.log2(sizes))


class Tails:
    """Sketches of some views of `capacity` channels; 166 bytes each."""

    def __init__(self, capacity: int, steepest: Sequence[float], climbs: Sequence[bool]) -> None:
        """For each view: `steepest`, no steeper slope of its tail is believed. Neighbouring values
        of a slow view are alike: it has seen few excursions, and the next may go further.
        `climbs`: the view gets where it goes in many small steps; learnt one by one, none would
        surprise."""
        self._climbing = np.flatnonzero(climbs)
        views = len(steepest)
        self._steepest = np.array(steepest)
        self._cells = np.arange(views) * BINS  # of a channel's first bin, for each view
        for constant in (self._climbing, self._steepest, self._cells):
            constant.setflags(write=False)
        # zeros, not empty: the pages of rows that are never used are never touched.
        # How many values were in the top 1, 2, ... bins.
        self._above = np.zeros((capacity, views, BINS), dtype=np.float32)
        # Each begins around its first value, so that a unit changes nothing.
        self._origin = np.zeros((capacity, views))
        self._count = np.zeros((capacity, views), dtype=np.float32)
        # The end of the tail, in bins from the origin, and its slope.
        self._end = np.zeros((capacity, views), dtype=np.float32)
        self._slope = np.zeros((capacity, views), dtype=np.float32)
        # The bins of the last readings, which are not yet folded in, and how many there were.
        self._queue = np.zeros((capacity, views, QUEUED), dtype=np.int8)
        self._readings = np.zeros(capacity, dtype=np.int64)
        # An excursion beyond all that was seen: its readings so far, and its peak's position.
        self._held, self._peak = np.zeros((2, capacity, self._climbing.size))

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        for column in (
            self._above, self._origin, self._count, self._end, self._slope, self._held,
            self._readings,
        ):  # fmt: skip
            column[rows] = 0

    def forget(self, rows: Rows, view: int) -> None:
        """Forget one view, which does not climb, of the channels in `rows`."""
        for column in (self._above, self._origin, self._count, self._end, self._slope):
            column[rows, view] = 0
        self._queue[rows, view] = _NOTHING

    def counts(self, rows: Rows) -> Floats:
        """(views, B) values that each view has learnt from."""
        return self._count.take(rows, 0).T.astype(np.float64)

    def ends(self, rows: Rows) -> Floats:
        """(views, B) positions beyond which nothing was normal yet."""
        return (self._origin.take(rows, 0) + self._end.take(rows, 0)).T.copy()

    def surprises(self, rows: Rows, at: Floats) -> Floats:
        """(views, B) >= 0, -log10 of the share of normal values above the positions `at`
        (views, B); NaN where there is none."""
        off = at.T - self._origin.take(rows, 0)
        depth = np.minimum(np.maximum(BINS - off, 0.0), BINS)
        full = np.where(depth == depth, depth, 0.0).astype(np.intp)
        first = rows[:, None] * self._above[0].size + self._cells
        flat = self._above.reshape(-1)
        low = np.where(full > 0, flat.take(first + np.maximum(full - 1, 0)), 0.0)
        high = flat.take(first + np.minimum(full, BINS - 1))
        above = np.maximum(low + (depth - full) * (high - low), _LAST)
        surprise = np.log10((flat.take(first + (BINS - 1)) + 1.0) / (above + 1.0))
        beyond = np.maximum(off - self._end.take(rows, 0), 0.0) * _DECADES_A_BIN
        surprise += np.maximum(self._slope.take(rows, 0), _SHALLOWEST) * beyond
        return np.asarray(np.maximum(surprise, 0.0).T.copy())

    def values(self, rows: Rows, surprises: Floats) -> Floats:
        """(views, B) the values with these surprises (views, B); 0 while unknown."""
        tail = _Tail(self._above[rows])
        wanted = surprises.T
        larger = np.maximum((tail.values + 1.0) * 10.0**-wanted - 1.0, _LAST)
        most = np.log10((tail.values + 1.0) / (_LAST + 1.0))
        slope = np.maximum(self._slope[rows], _SHALLOWEST)
        beyond = np.maximum(wanted - most, 0.0) / slope / _DECADES_A_BIN
        at = tail.position(larger) + beyond + self._origin[rows]
        values = np.where(tail.values > 0.0, 2.0 ** (at / _PER_OCTAVE), 0.0)
        return np.ascontiguousarray(values.T)

    def learn(self, rows: Rows, at: Floats, learns: Flags) -> Flags:
        """Take values that count as normal; (B,) of which channels the sketches are new now.

        `at`: (views, B) positions, NaN where there is nothing to learn. `learns`: (B,) which of the
        channels learn at all.
        """
        at = np.where(learns, at, np.nan).T
        count, origin = self._count.take(rows, 0).astype(np.float64), self._origin.take(rows, 0)
        end = self._end.take(rows, 0)
        first = (count == 0.0) & (at == at)
        if np.count_nonzero(first):
            origin = np.where(first, at - (_MIDDLE + 0.5), origin)
            self._origin[rows] = origin
        off = at - origin
        if self._climbing.size:
            self._hold_back(rows, off, origin, end, count, learns)
        known = off == off
        place = np.minimum(np.maximum(np.floor(np.where(known, off, 0.0)), 0.0), _HIGHEST)
        self._end[rows] = np.where(known, np.maximum(end, place + (1.0 - _LAST)), end)
        self._count[rows] = count + known
        readings = self._readings[rows]
        self._readings[rows] = readings + 1
        slot = readings % QUEUED
        self._queue[rows, :, slot] = np.where(known, place, _NOTHING)
        due = (slot == QUEUED - 1) | (readings < QUEUED)
        if np.count_nonzero(due):
            self._fold(rows[due], slot[due])
        return np.asarray(due)

    def _hold_back(
        self,
        rows: Rows,
        off: Floats,
        origin: Floats,
        end: NDArray[np.float32],
        count: Floats,
        learns: Flags,
    ) -> None:
        """Change `off` (B, views), in bins from the `origin`, to what the climbing views learn."""
        climbing = self._climbing
        at, at_origin = off[:, climbing], origin[:, climbing]
        held = self._held.take(rows, 0)
        beyond = (at > end[:, climbing] + _NEAR) & (count[:, climbing] >= _SETTLED)
        beyond &= held < _PATIENCE
        holds = held > 0.0
        if not (np.count_nonzero(beyond) or np.count_nonzero(holds)):
            return
        peak = self._peak.take(rows, 0)
        takes = learns[:, None] & (at == at)
        self._held[rows] = np.where(takes, np.where(beyond, held + 1.0, 0.0), held)
        highest = np.where(holds, np.fmax(peak, at + at_origin), at + at_origin)
        self._peak[rows] = np.where(takes & beyond, highest, peak)
        over = np.where(holds, np.fmax(at, peak - at_origin), at)
        off[:, climbing] = np.where(beyond, np.nan, over)

    def _fold(self, rows: Rows, slots: Rows) -> None:
        """Take the queues of `rows`, filled up to their `slots`, into the sketches."""
        young = self._readings[rows] <= QUEUED
        if np.count_nonzero(young):  # each reading is folded in alone
            first = rows[young]
            self._settle(first, *self._with_one(first, slots[young]))
            rows = rows[~young]
        if rows.size:
            self._settle(rows, *self._with_queue(rows))

    def _with_one(self, rows: Rows, slots: Rows) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """The sketches (R, views, BINS) of young channels with what is in these slots of their
        queues, and by how many bins each moved up for it."""
        above, place = self._above.take(rows, 0), self._queue[rows, :, slots].astype(np.intp)
        moved = np.maximum(place - (BINS - 1), 0)
        _move(above, moved)
        depth = BINS - 1 - np.maximum(place - moved, 0)
        depth[place == _NOTHING] = BINS
        above += np.arange(BINS) >= depth[..., None]
        return above, moved

    def _with_queue(self, rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """The same, with all of their queues."""
        above, queue = self._above.take(rows, 0), self._queue.take(rows, 0)
        moved = np.maximum(queue.max(axis=-1).astype(np.intp) - (BINS - 1), 0)
        _move(above, moved)
        taken = queue != _NOTHING
        fresh = np.count_nonzero(taken, axis=-1)
        forgets = np.where(self._count.take(rows, 0) > MEMORY, fresh, 0)
        above *= ((1.0 - 1.0 / MEMORY) ** forgets)[..., None]
        place = np.maximum(queue - moved.astype(np.int8)[..., None], np.int8(0))
        # What is no value is counted in a cell behind the others: cheaper than to leave it out.
        depth = np.where(taken, np.int8(BINS - 1) - place, np.int8(BINS))
        cell = np.arange(fresh.size).reshape(fresh.shape)[..., None] * (BINS + 1) + depth
        added = np.bincount(cell.ravel(), minlength=fresh.size * (BINS + 1))
        above += added.reshape(*fresh.shape, BINS + 1)[..., :BINS].cumsum(axis=-1)
        return above, moved

    def _settle(self, rows: Rows, above: NDArray[np.float32], moved: NDArray[np.intp]) -> None:
        """Keep these sketches, and what they say of their tails."""
        total = above[..., -1]
        crowded = total - above[..., -2] > _CROWDED * total
        crowded &= above[..., _ROOM - 1] < _LAST
        _move(above, -_ROOM * crowded)
        tail = _Tail(above)
        self._above[rows] = above
        self._origin[rows] += moved - _ROOM * crowded
        self._end[rows] = tail.position(_LAST)
        self._slope[rows] = tail.slope(self._steepest)


def _move(above: NDArray[np.float32], steps: NDArray[np.intp]) -> None:
    """Move the bins of sketches `above` (R, views, BINS) up by `steps` (R, views). What falls out
    at the foot stays there."""
    moves = np.nonzero(steps)
    if moves[0].size:
        moved = above[moves]
        source = np.arange(BINS) - steps[moves][:, None]
        inside = np.take_along_axis(moved, np.clip(source, 0, BINS - 1), -1)
        inside[source < 0] = 0.0
        inside[:, -1] = moved[:, -1]
        above[moves] = inside


class _Tail:
    """What sketches say; (R, views) unless said otherwise."""

    def __init__(self, above: NDArray[np.float32]) -> None:
        """`above`: (R, views, BINS) values in the top 1, 2, ... bins."""
        self._above = above
        self._first = np.arange(0, above.size, BINS).reshape(above.shape[:-1])
        self.values = above[..., -1].astype(np.float64)

    def position(self, values: Floats | float) -> Floats:
        """Position, in bins from the origin, above which there are so many `values`."""
        wanted = np.broadcast_to(values, self.values.shape)
        # The bins that don't suffice. They are cumulative: the first that does comes after them.
        full = (self._above >= wanted[..., None]).argmax(axis=-1)
        full[self.values < wanted] = BINS - 1
        flat = self._above.reshape(-1)
        low = np.where(full > 0, flat.take(self._first + np.maximum(full - 1, 0)), np.float32(0.0))
        high = flat.take(self._first + full)
        part = (wanted - low) / np.maximum(high - low, 1e-9)
        part = np.minimum(np.maximum(part, 0.0), 1.0)
        return np.asarray(BINS - (full + part), dtype=np.float64)

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
