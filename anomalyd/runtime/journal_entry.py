"""What a record of the journal says: one thing that the pipeline was asked, and when.

Pure functions between bytes and columns. `journal.py` writes entries on the pipeline's thread and
reads them at a start; `recovery.py` does again what they say.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import msgspec
import numpy as np

from anomalyd.detection.reading import Readings, Rows
from anomalyd.runtime.receipts import Digests, Ids

Channels = Sequence[tuple[int, str, str]]
"""(row, topic, name) of channels that the segment has hardly named yet"""

_HEAD = struct.Struct("<BIIId")


class Asked(IntEnum):
    """What the pipeline was asked."""

    SCORE = 0
    """readings that arrived; of none: what was held back may have become due"""
    SILENT = 1
    """these channels count as silent from then on"""
    DEAD = 2
    """the devices of these channels announced their end"""
    RETIRE = 3
    """these channels are forgotten"""
    RESUME = 4
    """nobody listened until then"""
    SHIFT = 5
    """the listener's clock was set, by `now_s`"""
    MAINTAIN = 6
    """these channels are in maintenance until `readings.times`"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record."""

    asked: Asked
    now_s: float
    """the listener's clock, seconds since 1970"""
    channels: Channels
    readings: Readings
    """N; of what is asked of channels, their rows count alone"""
    ids: Ids
    digests: Digests
    """(Q,) packet ids of messages of QoS 1, and what they said"""


def encode(entry: Entry) -> tuple[bytes, ...]:
    """A body, in pieces."""
    readings = entry.readings
    named = msgspec.json.encode(entry.channels) if entry.channels else b""
    return (
        _HEAD.pack(entry.asked, len(named), len(readings), entry.ids.size, entry.now_s),
        named,
        readings.rows.astype("<u4").tobytes(),
        readings.times.astype("<f8").tobytes(),
        readings.values.astype("<f8").tobytes(),
        entry.ids.astype("<u2").tobytes(),
        entry.digests.astype("<u4").tobytes(),
    )


def decode(body: bytes) -> Entry:
    """Raises ValueError where the body is foreign."""
    try:
        asked, named, count, ids, now_s = _HEAD.unpack_from(body)
        text, rest = body[_HEAD.size : _HEAD.size + named], body[_HEAD.size + named :]
        channels = msgspec.json.decode(text, type=list[tuple[int, str, str]]) if named else []
    except (struct.error, msgspec.MsgspecError) as error:
        raise ValueError(f"a record is foreign ({error})") from error
    floats = np.frombuffer(rest, "<f8", 2 * count, 4 * count).astype(np.float64)
    rows = np.frombuffer(rest, "<u4", count).astype(np.intp)
    return Entry(
        Asked(asked),
        now_s,
        channels,
        Readings(rows, floats[:count], floats[count:]),
        np.frombuffer(rest, "<u2", ids, 20 * count),
        np.frombuffer(rest, "<u4", ids, 20 * count + 2 * ids),
    )


def of_rows(rows: Rows, now_s: float) -> Readings:
    """Channels, of which something is asked."""
    return Readings(rows, np.full(rows.size, now_s), np.zeros(rows.size))
