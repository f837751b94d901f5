"""Verdicts in the order of the file's lines, where readings are scored in another.

Called by replay, where a stream has a tolerance for readings that come out of order. What waits is
bounded by what is held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import NOTHING, Rows, Verdicts
from anomalyd.detection.reorder import Numbers


class FileOrder:
    """Verdicts that wait for those of the lines before them: readings are scored in another order
    than they are written."""

    def __init__(self) -> None:
        self._stamps: list[str] = []
        self._channels: list[str] = []
        self._first = 0
        """number of the first line that has no verdict yet"""
        self._numbers: Numbers = np.empty(0, dtype=np.int64)
        self._verdicts = Verdicts.blank(NOTHING)

    def await_verdicts(self, stamps: list[str], channels: list[str]) -> None:
        """The next lines."""
        self._stamps += stamps
        self._channels += channels

    def known(self, numbers: Numbers, verdicts: Verdicts) -> tuple[list[str], list[str], Verdicts]:
        """Take verdicts on the lines `numbers`; stamps, channels and verdicts of the next lines of
        which all are known."""
        numbers = np.concatenate((self._numbers, numbers))
        order = np.argsort(numbers)
        numbers, verdicts = numbers[order], taken(joined([self._verdicts, verdicts]), order)
        count = int(np.count_nonzero(numbers == self._first + np.arange(numbers.size)))
        lines = self._stamps[:count], self._channels[:count]
        del self._stamps[:count], self._channels[:count]
        self._first += count
        places = np.arange(numbers.size)
        self._numbers, self._verdicts = numbers[count:], taken(verdicts, places[count:])
        return *lines, taken(verdicts, places[:count])


def joined(verdicts: Sequence[Verdicts]) -> Verdicts:
    """One behind the other."""
    return Verdicts(*(np.concatenate(each) for each in zip(*map(_columns, verdicts), strict=True)))


def taken(verdicts: Verdicts, chosen: Rows) -> Verdicts:
    """Some of them, in this order."""
    return Verdicts(*(column[chosen] for column in _columns(verdicts)))


def _columns(verdicts: Verdicts) -> tuple[NDArray[Any], ...]:
    return tuple(getattr(verdicts, each.name) for each in fields(verdicts))
