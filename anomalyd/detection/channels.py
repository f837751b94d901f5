"""The channel table: name <-> row. A row is a channel's place in every column.

Channels are found as they first speak, up to a fixed number; rows of retired channels are used
again. Changed by the pipeline thread alone; other threads may read a `listing`, which is a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from anomalyd.detection.reading import Rows


@dataclass(frozen=True, slots=True)
class Channel:
    """What a channel is called and where it belongs."""

    name: str
    labels: Mapping[str, str]
    stream: int
    """index of its stream in the settings; -1 = none, the defaults hold"""
    unit: str = ""
    asset: str | None = None
    member: str = ""
    """which of the asset's channels it is: the labels that the asset's name leaves over"""


class ChannelTable:
    """Up to `capacity` channels."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.retired = 0
        """channels that were removed: only then may a row have become another channel's"""
        self._channels: list[Channel | None] = []
        self._row_of: dict[str, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._row_of)

    def find(self, name: str) -> int | None:
        """The channel's row, or None where it is unknown."""
        return self._row_of.get(name)

    def add(self, channel: Channel) -> int | None:
        """Give a new channel a row; None where the table is full."""
        if len(self._row_of) >= self.capacity:
            return None
        if self._free:
            row = self._free.pop()
            self._channels[row] = channel
        else:
            row = len(self._channels)
            self._channels.append(channel)
        self._row_of[channel.name] = row
        return row

    def remove(self, row: int) -> None:
        """Forget a channel; its row is free."""
        channel = self[row]
        self._channels[row] = None
        del self._row_of[channel.name]
        self._free.append(row)
        self.retired += 1

    def __getitem__(self, row: int) -> Channel:
        channel = self._channels[row]
        if channel is None:
            raise KeyError(row)
        return channel

    def rows(self) -> Rows:
        """(channels,) all rows in use, in the order in which the channels were found."""
        return np.fromiter(self._row_of.values(), dtype=np.intp, count=len(self._row_of))

    def listing(self) -> list[tuple[int, Channel]]:
        """(row, channel) of all channels, as a copy."""
        rows = list(self._row_of.values())
        # Another thread may ask while one of them retires.
        named = ((row, self._channels[row]) for row in rows)
        return [(row, channel) for row, channel in named if channel is not None]
