"""The history as training wants it: the stretches of each channel, read back from their files.

Called by whoever trains, on its own thread; reads only files, which never change once they are
there. A file that is damaged, foreign or gone meanwhile is left out, with one line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from anomalyd.adapters import chunk as files
from anomalyd.adapters.chunk import Chunk
from anomalyd.detection.reading import Codes, Flags, Floats
from anomalyd.errors import ChunkError
from anomalyd.runtime.thinning import intervals_s

log = logging.getLogger(__name__)

GAP_INTERVALS = 10.0
_COLUMNS = ("sequence", "times", "values", "learnt", "score", "state", "kind")

_DTYPES = (np.int32, np.int64, np.float64, np.float64, np.bool_, np.float16, np.int8, np.int8)
_NOTHING = tuple(np.empty(0, dtype) for dtype in _DTYPES)

T = TypeVar("T")
_Part = tuple[NDArray[Any], ...]
"""channel of each reading, then `_COLUMNS`"""


@dataclass(frozen=True, slots=True)
class Stretch:
    """T readings of one channel, none left out between them; views into `Past`."""

    channel: str
    times: Floats
    values: Floats
    learnt: Flags
    """the reading counted as normal; the others must train nothing"""
    score: NDArray[np.float16]
    state: Codes
    kind: Codes


@dataclass(frozen=True, slots=True)
class Past:
    """R readings in S stretches, by channel and then by time."""

    channels: Sequence[str]
    """(S,) of each stretch"""
    starts: NDArray[np.int64]
    """(S + 1,) where each stretch begins; the last is R"""
    times: Floats
    values: Floats
    learnt: Flags
    score: NDArray[np.float16]
    state: Codes
    kind: Codes

    def __len__(self) -> int:
        return self.times.size

    def stretches(self, least_readings: int = 1) -> Iterator[Stretch]:
        """Those of at least so many readings."""
        for name, begin, end in zip(self.channels, self.starts, self.starts[1:], strict=False):
            if end - begin >= least_readings:
                yield self._stretch(name, slice(begin, end))

    def _stretch(self, name: str, part: slice) -> Stretch:
        return Stretch(
            name,
            self.times[part],
            self.values[part],
            self.learnt[part],
            self.score[part],
            self.state[part],
            self.kind[part],
        )


def read_past(
    folder: Path,
    since_s: float,
    until_s: float,
    most_readings: int,
    channels: Collection[str] | None = None,
    gap_intervals: float = GAP_INTERVALS,
) -> Past:
    """Readings of `since_s` <= time < `until_s`, of all channels or of those given.

    Where there are more than `most_readings`, each channel gives its newest, all of them equally
    many (those with fewer leave the rest to the others): memory is bounded, sequences stay whole,
    and the channels of an asset stay together. A stretch ends where a reading was left out, and
    where the silence is longer than `gap_intervals` usual intervals.
    """
    chosen = None if channels is None else frozenset(channels)
    paths = [path for path in files.listing(folder) if _touches(path, since_s, until_s)]
    shares = _shares(paths, chosen, most_readings)
    names = {name: place for place, name in enumerate(shares)}
    left = np.fromiter(shares.values(), dtype=np.int64, count=len(shares))
    parts: list[_Part] = []
    for path in reversed(paths):
        if not left.any():
            break
        chunk = _tried(files.read, path)
        if chunk is not None:
            parts.append(_part(chunk, names, left, since_s, until_s))
    columns = [list(each) for each in zip(*parts, _NOTHING, strict=True)]
    parts.clear()
    return _join(columns, list(names), gap_intervals)


def _touches(path: Path, since_s: float, until_s: float) -> bool:
    found = _tried(files.seconds_of, path)
    return found is not None and found[0] < until_s and since_s <= found[1]


def _tried(look: Callable[[Path], T], path: Path) -> T | None:
    try:
        return look(path)
    except ChunkError as error:
        log.warning("history: left out %s", error)
        return None


def _shares(paths: Sequence[Path], chosen: frozenset[str] | None, most: int) -> dict[str, int]:
    """Readings that each channel may give; by the headers, so edges of the range count too."""
    counts: dict[str, int] = {}
    for path in paths:
        summary = _tried(files.summary, path)
        for name, count in summary.counts.items() if summary else ():
            if chosen is None or name in chosen:
                counts[name] = counts.get(name, 0) + count
    share, left = 0, most
    for place, count in enumerate(sorted(counts.values())):
        share = left // (len(counts) - place)
        if count > share:
            break
        left -= count
        share = count
    return {name: min(count, share) for name, count in sorted(counts.items())}


def _part(
    chunk: Chunk, names: Mapping[str, int], left: NDArray[np.int64], since_s: float, until_s: float
) -> _Part:
    """What a chunk gives; that is taken off what is `left` of each channel's share."""
    of = np.array([names.get(name, -1) for name in chunk.channels], dtype=np.int64)
    channel = of[chunk.channel_index()]
    wanted = (channel >= 0) & (chunk.times >= since_s) & (chunk.times < until_s)
    at = np.flatnonzero(wanted)
    # A channel's readings are together, the newest last.
    runs = np.diff(np.flatnonzero(np.diff(channel[at], prepend=-1, append=-2)))
    rank_from_end = np.repeat(np.cumsum(runs), runs) - np.arange(at.size)
    at = at[rank_from_end <= left[channel[at]]]
    left -= np.bincount(channel[at], minlength=left.size)
    return (channel[at].astype(np.int32), *(getattr(chunk, name)[at] for name in _COLUMNS))


def _join(columns: list[list[NDArray[Any]]], names: Sequence[str], gap_intervals: float) -> Past:
    """Empties `columns` as it goes: the readings are never there three times."""
    channel, sequence, times = (np.concatenate(columns.pop(0)) for _ in range(3))
    order = np.lexsort((sequence, times, channel)).astype(np.int32)
    channel, sequence, times = channel[order], sequence[order], times[order]
    starts = np.flatnonzero(_begins(channel, sequence, times, gap_intervals))
    found, readings = [names[each] for each in channel[starts]], channel.size
    del channel, sequence
    others = []
    while columns:
        others.append(np.concatenate(columns.pop(0))[order])
    return Past(found, np.append(starts, readings), times, *others)


def _begins(
    channel: NDArray[np.int32], sequence: NDArray[np.int64], times: Floats, gap_intervals: float
) -> Flags:
    """(R,) the reading is the first of a stretch."""
    if not channel.size:
        return np.zeros(0, dtype=np.bool_)
    counts = np.bincount(channel)
    usual = np.ones(counts.size)
    usual[counts > 0] = intervals_s(times, counts[counts > 0])
    with np.errstate(invalid="ignore"):
        silent = np.diff(times) > gap_intervals * usual[channel[1:]]
    begins = np.ones(channel.size, dtype=np.bool_)
    begins[1:] = (np.diff(channel) != 0) | (np.diff(sequence) != 1) | silent
    return begins
