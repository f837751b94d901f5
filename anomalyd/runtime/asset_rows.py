"""The history as an asset network learns from it: rows that have a value of every seat.

Called by whoever retrains, on its thread; pure. Values belong together that were read at about the
same time: the slowest channel of the asset is the clock, and each other gives its reading nearest
to a tick, at most half an interval away; a tick that lacks one is left out. So is one with a member
that wasn't learnt (an alert, a gap, maintenance); a known input need not be.

The history's thinning keeps the channels of an asset together where their intervals are alike
(`thinning.py`: blocks follow from the interval). Of channels whose intervals differ twofold or
more it keeps other stretches, and what it keeps around one channel's alert it keeps of that channel
alone: there is no row then. Nor is there one for channels that report by exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from anomalyd.detection.reading import Flags, Floats
from anomalyd.model.asset_training import SHORTEST
from anomalyd.model.segment import Segment
from anomalyd.runtime.past import GAP_INTERVALS

LONGEST = 1024
"""rows: what a network sees in one go, between two questions whether to stop"""

_Channel = tuple[Floats, Floats, Flags]
"""times, values, learnt; each (R,)"""


@dataclass(frozen=True, slots=True)
class AssetRows:
    """T ticks of an asset with no gap between them."""

    asset: str
    times: Floats
    """(T,) of the slowest channel"""
    values: Floats
    """(T, seats) channel units"""


def rows_of(
    segments: Iterable[Segment],
    seats: Mapping[str, Sequence[str]],
    members: int,
    all_learnt: bool = False,
) -> list[AssetRows]:
    """Parts of `SHORTEST` to `LONGEST` rows of each asset, in order of time.

    `seats`: asset -> its channels in the order of the network, the `members` first. `all_learnt`:
    take every tick, as of an incident.
    """
    channels = _whole(segments)
    found: list[AssetRows] = []
    for asset, names in seats.items():
        if all(name in channels for name in names):
            found += _parts(asset, [channels[name] for name in names], members, all_learnt)
    return found


def split_rows(rows: Sequence[AssetRows], at_s: float) -> tuple[list[AssetRows], list[AssetRows]]:
    """What lies before `at_s`, to learn from, and what comes after, to be held out."""
    before: list[AssetRows] = []
    after: list[AssetRows] = []
    for each in rows:
        place = int(each.times.searchsorted(at_s))
        for parts, part in ((before, slice(0, place)), (after, slice(place, None))):
            if each.times[part].size >= SHORTEST:
                parts.append(AssetRows(each.asset, each.times[part], each.values[part]))
    return before, after


def drawn(rows: Sequence[AssetRows], most: int, seed: int) -> list[AssetRows]:
    """So many of the parts that they have at most `most` rows, drawn at random, in their order."""
    order = np.random.default_rng(seed).permutation(len(rows))
    sizes = np.array([each.times.size for each in rows], dtype=np.int64)[order]
    return [rows[at] for at in sorted(order[np.cumsum(sizes) <= most].tolist())]


def _whole(segments: Iterable[Segment]) -> dict[str, _Channel]:
    """All readings of each channel, by time."""
    parts: dict[str, list[Segment]] = {}
    for each in segments:
        parts.setdefault(each.channel, []).append(each)
    whole = {}
    for name, own in parts.items():
        times = np.concatenate([each.times for each in own])
        order = np.argsort(times, kind="stable")
        values = np.concatenate([each.values for each in own])[order]
        whole[name] = times[order], values, np.concatenate([each.learnt for each in own])[order]
    return whole


def _parts(
    asset: str, channels: Sequence[_Channel], members: int, all_learnt: bool
) -> list[AssetRows]:
    clock = min((times for times, _, _ in channels), key=lambda times: times.size)
    if clock.size < SHORTEST:
        return []
    interval_s = float(np.median(np.diff(clock)))
    nearest = [_nearest(times, clock) for times, _, _ in channels]
    kept = np.ones(clock.size, dtype=np.bool_)
    for place, (at, (times, _, learnt)) in enumerate(zip(nearest, channels, strict=True)):
        kept &= np.abs(times[at] - clock) <= 0.5 * interval_s
        if place < members and not all_learnt:
            kept &= learnt[at]
    columns = [own[at] for at, (_, own, _) in zip(nearest, channels, strict=True)]
    ticks, values = clock[kept], np.column_stack(columns)[kept]
    found: list[AssetRows] = []
    for begin, end in _unbroken(ticks, GAP_INTERVALS * interval_s):
        pieces = -(-(end - begin) // LONGEST)
        cuts = np.array_split(np.arange(begin, end), max(pieces, 1))
        found += [AssetRows(asset, ticks[at], values[at]) for at in cuts if at.size >= SHORTEST]
    return found


def _nearest(times: Floats, clock: Floats) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """(T,) which of `times` is nearest to each tick."""
    after = np.clip(np.searchsorted(times, clock), 1, max(times.size - 1, 1))
    before = after - 1
    after = np.minimum(after, times.size - 1)
    return np.where(clock - times[before] <= times[after] - clock, before, after)


def _unbroken(ticks: Floats, longest_s: float) -> Iterable[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(ticks) > longest_s) + 1
    return zip([0, *edges.tolist()], [*edges.tolist(), ticks.size], strict=True)
