"""Which readings the history keeps: whole stretches, as many as the budget allows, and all around
what was not normal.

Called on the thread `history` alone. Training needs sequences, not every reading: 1 000 channels at
1 Hz send 86 million readings a day. So time is cut into blocks of 256 to 512 usual intervals of a
channel, and of every k blocks one is kept whole, the rest not at all; k follows from the budget.
Which one of the k is drawn anew each time (stratified sampling: Cochran, Sampling Techniques, 1977,
ch. 5), from the block's number and a seed: the same for every channel with about the same interval,
so that the channels of an asset keep the same stretches, and the same after a restart.

A reading that was not learnt (under alert, behind a gap) is always kept, and so are those around
it: `BEFORE` before it and `AFTER` behind, as incidents are what a new model is tried on. That is
beyond the budget; how much is seen in `history.max_mb`, which always holds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Flags, Floats

BEFORE = 256
AFTER = 64
_BLOCK = 512
# Blocks are as long as powers of two of this, so that an interval that is measured a little
# differently each time does not move them; usual ones (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60 s) are
# not near a border.
_UNIT_S = 0.75
_DAY_S = 86400.0
_NEARLY = 0.95  # a budget of as many readings as there are is enough for all of them

Counts = NDArray[np.int64]


def kept(
    times: Floats, learnt: Flags, counts: Counts, interval_s: Floats, budget: int, seed: int
) -> Flags:
    """(R,) what to keep of R readings of C channels, sorted by channel and time.

    `counts` (C,) readings of each channel, none of them 0; `interval_s` (C,) their usual intervals;
    `budget`: readings of a channel a day, to 5 %.
    """
    unit = np.exp2(np.floor(np.log2(interval_s / _UNIT_S))) * _UNIT_S
    # From the unit, not from the interval: that is measured a little differently each time.
    one_of = np.ceil(_DAY_S / unit / budget)
    one_of = np.where(_NEARLY * _DAY_S / interval_s <= budget, 1.0, one_of).astype(np.int64)
    block = np.floor(times / np.repeat(_BLOCK * unit, counts)).astype(np.int64)
    every = np.repeat(one_of, counts)
    chosen = _draw(block // every, seed) % every.astype(np.uint64)
    within: Flags = chosen == (block % every).astype(np.uint64)
    return within | _around(~learnt, counts)


def intervals_s(times: Floats, counts: Counts) -> Floats:
    """(C,) median time between the readings of each channel; 1 where there is only one."""
    channel = np.repeat(np.arange(counts.size), counts)
    step, of = np.diff(times), channel[1:]
    within = of == channel[:-1]
    step, of = step[within], of[within]
    order = np.lexsort((step, of))
    each = np.bincount(of, minlength=counts.size)
    middle = np.cumsum(each) - each + each // 2
    usual = np.ones(counts.size)
    usual[each > 0] = step[order][middle[each > 0]]
    return np.maximum(usual, 1e-6)


def _around(marked: Flags, counts: Counts) -> Flags:
    """(R,) within BEFORE readings before a marked one of the same channel, or AFTER behind it."""
    at = np.flatnonzero(marked)
    ends = np.cumsum(counts)
    channel = np.searchsorted(ends, at, side="right")
    first = np.maximum(at - BEFORE, ends[channel] - counts[channel])
    last = np.minimum(at + AFTER + 1, ends[channel])
    edges = np.bincount(first, minlength=marked.size + 1).astype(np.int64)
    edges -= np.bincount(last, minlength=marked.size + 1)
    return np.cumsum(edges)[: marked.size] > 0


def _draw(number: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """A number that looks random for each number: splitmix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        mixed = number.astype(np.uint64) + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
