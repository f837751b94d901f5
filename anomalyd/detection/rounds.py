"""A batch cut into rounds: in a round every channel occurs once, so columns can be used at once.

Within an asset the order of arrival is kept across rounds as well, because what its channels say
together depends on it. So a batch gives the same verdicts as its readings one by one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Rows


def rounds(rows: Rows, groups: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """Indices into `rows` (B,), a round at a time, each in order of arrival.

    `groups`: (B,) the asset of each reading; any number that no asset has for a channel alone.
    """
    if not _repeats(rows):
        yield np.arange(rows.size)
        return
    order = np.argsort(groups, kind="stable")
    before = _before(rows[order])
    # The next round of a group starts at the first reading whose channel was already in this one:
    # where the newest earlier occurrence lies at or after this round's start.
    newest = np.maximum.accumulate(before)
    first = np.flatnonzero(np.diff(groups[order], prepend=groups[order[0]] - 1))
    ends = np.append(first[1:], rows.size)
    while first.size:
        following = np.minimum(np.searchsorted(newest, first), ends)
        yield np.sort(order[_spans(first, following)])
        more = following < ends
        first, ends = following[more], ends[more]


def _repeats(rows: Rows) -> bool:
    return bool(np.unique(rows).size < rows.size)


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
