"""A batch cut into rounds: in a round every channel occurs once, so columns can be used at once.

Within an asset the order of arrival is kept across rounds, and a round ends where its channels are
compared, because what they say together depends on it. So a batch gives the same verdicts as its
readings one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Flags, Rows


def rounds(
    rows: Rows, groups: NDArray[np.int64], fits: Callable[[Rows], Flags]
) -> Iterator[NDArray[np.intp]]:
    """Indices into `rows` (B,), a round at a time, each in order of arrival.

    `groups`: (B,) the asset of each reading; any number that no asset has for a channel alone.
    `fits`: of rows in order of arrival, which belong to the coming round: of each group some of the
    first, at least one. It is asked before each round is yielded.
    """
    if not _repeats(rows) and np.count_nonzero(fits(rows)) == rows.size:
        yield np.arange(rows.size)
        return
    order = np.argsort(groups, kind="stable")
    # The next round of a group starts at the first reading whose channel was already in this one:
    # where the newest earlier occurrence lies at or after this round's start.
    newest = np.maximum.accumulate(_before(rows[order]))
    first = np.flatnonzero(np.diff(groups[order], prepend=groups[order[0]] - 1))
    ends = np.append(first[1:], rows.size)
    while first.size:
        following = np.minimum(np.searchsorted(newest, first), ends)
        spans = _spans(first, following)
        arrived = np.sort(order[spans])
        kept = fits(rows[arrived])
        fitting = np.zeros(rows.size, dtype=np.bool_)
        fitting[arrived[kept]] = True
        yield arrived[kept]
        group = np.repeat(np.arange(first.size), following - first)
        first = first + np.bincount(group[fitting[order[spans]]], minlength=first.size)
        more = first < ends
        first, ends = first[more], ends[more]


def _repeats(rows: Rows) -> bool:
    ordered = np.sort(rows)
    return bool(np.count_nonzero(ordered[1:] == ordered[:-1]))


def _before(rows: Rows) -> NDArray[np.intp]:
    """(B,) the position of the last earlier occurrence of the same row, or -1."""
    order = np.argsort(rows, kind="stable")
    before = np.full(rows.size, -1, dtype=np.intp)
    again = rows[order[1:]] == rows[order[:-1]]
    before[order[1:][again]] = order[:-1][again]
    return before


def _spans(first: NDArray[np.intp], end: NDArray[np.intp]) -> NDArray[np.intp]:
    """The concatenation of the ranges [first, end)."""
    lengths = end - first
    starts = np.repeat(first - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
    return starts + np.arange(lengths.sum())
