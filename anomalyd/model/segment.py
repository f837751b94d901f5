"""What training and its gate see of the history: unbroken stretches of readings of one channel.

`Segment` is a shape, not a class: whatever keeps the history hands out its own. Columns only; no
files, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from anomalyd.detection.reading import Flags, Floats


class Segment(Protocol):
    """T readings of one channel with no gap between them; arrays (T,)."""

    @property
    def channel(self) -> str: ...

    @property
    def times(self) -> Floats:
        """seconds since 1970, rising"""

    @property
    def values(self) -> Floats:
        """channel units, finite"""

    @property
    def learnt(self) -> Flags:
        """counted as normal when it was scored; the others must train nothing"""


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of a segment, or one of its own."""

    channel: str
    times: Floats
    values: Floats
    learnt: Flags


def split(segments: Sequence[Segment], at_s: float) -> tuple[list[Cut], list[Cut]]:
    """What lies before `at_s`, to learn from, and what comes after, to be held out."""
    before: list[Cut] = []
    after: list[Cut] = []
    for each in segments:
        place = int(each.times.searchsorted(at_s))
        for cuts, part in ((before, slice(0, place)), (after, slice(place, None))):
            if each.times[part].size:
                cuts.append(
                    Cut(each.channel, each.times[part], each.values[part], each.learnt[part])
                )
    return before, after
