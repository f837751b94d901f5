"""Sparkplug data whose bytes lie as those of the message before it: read by numpy, not one by one.

A node mostly sends the same metrics in the same order, and only numbers change: doubles and floats,
which are of a fixed width, and times and sequence numbers, which keep theirs for long. Where all
other bytes are those of a message that was read field by field, so is what they mean. Anything else
(a metric more, a null, a varint of another length) is no match, and is read field by field again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyd.adapters.codec import sparkplug_wire as wire

Places = NDArray[np.intp]
_LONGEST_TIME = 7  # bytes of a varint: 49 bits, which a float holds


class Layout(NamedTuple):
    """Where the numbers of M metrics are in a message of one length."""

    names: Sequence[str]
    units: Mapping[str, str]
    fixed: NDArray[np.uint8]
    """(bytes,) what the message has beside its numbers"""
    mask: NDArray[np.uint8]
    """(bytes,) which bits of it; of a varint the one that says whether it goes on"""
    values: Places
    """(M, 8) or (M, 4) the bytes of each value"""
    times: Places
    """(M, n) or, one for all, (1, n) the bytes of each time"""

    def read(self, data: bytes) -> tuple[list[float], list[float]] | None:
        """Values, and times in milliseconds; None where the message is another one."""
        if len(data) != self.fixed.size:
            return None
        found = np.frombuffer(data, dtype=np.uint8)
        if not np.array_equal(found & self.mask, self.fixed):
            return None
        kind = "<f8" if self.values.shape[1] == 8 else "<f4"
        values = found[self.values].view(kind).ravel().astype(np.float64)
        digits = (found[self.times] & 0x7F).astype(np.float64)
        times = digits @ np.power(128.0, np.arange(self.times.shape[1]))
        return values.tolist(), np.broadcast_to(times, values.size).tolist()


def learn(data: bytes, names: Sequence[str], units: Mapping[str, str]) -> Layout | None:
    """The layout of a sound message that has led to a reading of each of `names`, in this order;
    None where it has numbers of other kinds, or more metrics than that."""
    marks = _marks(data)
    if marks is None or len(marks.values) != len(names) or not names:
        return None
    widths = {end - begin for begin, end in marks.values}
    times = marks.times or ([marks.sent] if marks.sent else [])
    lengths = {end - begin for begin, end in times}
    if len(widths) != 1 or len(lengths) != 1 or max(lengths) > _LONGEST_TIME:
        return None
    if len(times) not in (1, len(names)) or (marks.times and len(times) != len(names)):
        return None
    mask = np.full(len(data), 0xFF, dtype=np.uint8)
    for begin, end in marks.values:
        mask[begin:end] = 0
    for begin, end in [*times, *marks.counters, *([marks.sent] if marks.sent else [])]:
        mask[begin:end] = 0x80
    fixed = np.frombuffer(data, dtype=np.uint8) & mask
    return Layout(names, units, fixed, mask, _places(marks.values), _places(times))


Span = tuple[int, int]


class _Marks(NamedTuple):
    """(begin, end) of what changes from message to message."""

    values: list[Span]
    times: list[Span]
    sent: Span | None
    """the message's own time"""
    counters: list[Span]
    """its sequence number"""


def _marks(data: bytes) -> _Marks | None:
    """None where a metric has anything but an alias or a name, a time, a type and a number."""
    marks, at = _Marks([], [], None, []), 0
    while at < len(data):
        key, begin = wire.u32(data, at)
        if key == 0x12:
            length, begin = wire.u32(data, begin)
            at = begin + length
            if not _metric(data, begin, at, marks):
                return None
            continue
        at = wire.skip(data, begin, key)
        if key == 0x08:
            if marks.sent:
                return None
            marks = marks._replace(sent=(begin, at))
        elif key == 0x18:
            marks.counters.append((begin, at))
    return marks


def _metric(data: bytes, at: int, end: int, marks: _Marks) -> bool:
    values, times = len(marks.values), len(marks.times)
    while at < end:
        key, begin = wire.u32(data, at)
        at = wire.skip(data, begin, key)
        if key in (0x69, 0x65):
            marks.values.append((begin, at))
        elif key == 0x18:
            marks.times.append((begin, at))
        elif key not in (0x0A, 0x10, 0x20):
            return False
    return len(marks.values) == values + 1 and len(marks.times) <= times + 1


def _places(spans: Sequence[Span]) -> Places:
    return np.array([range(begin, end) for begin, end in spans], dtype=np.intp)
