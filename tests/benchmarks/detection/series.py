"""A series: what one file of a data set says, as arrays, with its labelled events.

The loaders of the sets make them; the detectors see times and values, the scorers see the events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalyd.detection.reading import Flags, Floats


class NoData(Exception):
    """A data set is not where it should be; the message names the path."""


@dataclass(frozen=True, slots=True)
class Series:
    """K channels that speak at the same N times."""

    name: str
    channels: tuple[str, ...]
    """(K,) names as in a recording, unique over all series of a run"""
    times: Floats
    """(N,) seconds since 1970, in the order of the file"""
    values: Floats
    """(N, K)"""
    events: tuple[tuple[int, int], ...] = ()
    """first and last row of each labelled event"""

    def __len__(self) -> int:
        return self.times.size

    @property
    def interval_s(self) -> float:
        """Usual seconds between readings."""
        return float(np.median(np.diff(self.times)))

    @property
    def label(self) -> Flags:
        """(N,) the row belongs to an event."""
        label = np.zeros(len(self), dtype=np.bool_)
        for first, last in self.events:
            label[first : last + 1] = True
        return label

    def part(self, name: str, first: int, end: int) -> Series:
        """Rows [first, end) as a series of its own, without labels."""
        channels = tuple(f"{name}/{channel.rpartition('/')[2]}" for channel in self.channels)
        return Series(name, channels, self.times[first:end], self.values[first:end])


def univariate(
    name: str, times: Floats, values: Floats, events: Sequence[tuple[int, int]] = ()
) -> Series:
    """A series of one channel, which has the series' name. `values`: (N,)"""
    return Series(name, (name,), times, values[:, None], tuple(events))
