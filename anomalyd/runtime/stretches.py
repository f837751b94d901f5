"""What was seen and is not in a file yet: readings get their numbers, and are kept or left out.

Owned by the history, used on its thread `history` alone: no locks. Readings come in as they were
scored; those to keep go out as chunks, once there are enough of them. The last `thinning.BEFORE`
readings of each channel are held back, because an alert may still come that they lead up to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomalyd.adapters.chunk import Chunk
from anomalyd.detection.reading import Kind
from anomalyd.runtime import thinning

SEEN = np.dtype(
    [
        ("time", np.float64),
        ("value", np.float64),
        ("sequence", np.int64),
        ("channel", np.int32),
        ("score", np.float16),
        ("state", np.int8),
        ("kind", np.int8),
        ("learnt", np.bool_),
        ("kept", np.bool_),
    ]
)
"""A reading, its verdict, and what becomes of it."""
Seen = NDArray[np.void]
"""(R,) of dtype SEEN"""

_HELD_READINGS = 1 << 19  # 18 MB; beyond 2 048 channels, fewer are held back of each


class Stretches:
    """Readings of all channels since the last chunk, and the last ones of each channel."""

    def __init__(self, readings_per_channel_per_day: int, seed: int) -> None:
        self._budget = readings_per_channel_per_day
        self._seed = seed
        self._names: list[str] = []
        self._id_of: dict[str, int] = {}
        self._next = np.zeros(0, dtype=np.int64)
        self._held: Seen = np.empty(0, SEEN)
        self._ready: list[Seen] = [np.empty(0, SEEN)]

    def __len__(self) -> int:
        """Readings that wait for the next chunk."""
        return sum(each.size for each in self._ready)

    @property
    def names(self) -> int:
        """Channels that were ever seen; those that came and went are among them."""
        return len(self._names)

    def add(self, seen: Seen, channels: Sequence[str]) -> None:
        """Take readings in the order in which they were scored; their `channel` counts in
        `channels`. What never reached the model (late, no number) is left out."""
        seen = seen[(seen["kind"] != Kind.LATE) & (seen["kind"] != Kind.VALUE)]
        if not seen.size:
            return
        own = np.array([self._identify(name) for name in channels], dtype=np.int32)
        seen["channel"] = own[seen["channel"]]
        seen = seen[np.argsort(seen["channel"], kind="stable")]
        self._number(seen)
        both = np.concatenate((self._held, seen))
        # Numbers, not times: where a channel is forgotten and comes back, its clock may be new.
        both = both[np.lexsort((both["sequence"], both["channel"]))]
        counts = _counts(both["channel"])
        times = np.ascontiguousarray(both["time"])
        keep = thinning.kept(
            times,
            both["learnt"],
            counts,
            thinning.intervals_s(times, counts),
            self._budget,
            self._seed,
        )
        new = keep & ~both["kept"]
        both["kept"] |= keep
        self._ready.append(both[new])
        self._hold(both, counts)

    def take(self) -> Chunk | None:
        """All that waits; None where nothing does."""
        ready = np.concatenate(self._ready)
        self._ready = [np.empty(0, SEEN)]
        if not ready.size:
            return None
        ready = ready[np.lexsort((ready["sequence"], ready["channel"]))]
        which = np.unique(ready["channel"])
        columns = (np.ascontiguousarray(ready[name]) for name in _COLUMNS)
        return Chunk([self._names[each] for each in which], _counts(ready["channel"]), *columns)

    def _number(self, seen: Seen) -> None:
        """Readings of a channel are numbered in the order in which they were scored."""
        counts = _counts(seen["channel"])
        first = np.cumsum(counts) - counts
        which = seen["channel"][first]
        missing = len(self._names) - self._next.size
        self._next = np.concatenate((self._next, np.zeros(missing, dtype=np.int64)))
        place = np.arange(seen.size) - np.repeat(first, counts)
        seen["sequence"] = np.repeat(self._next[which], counts) + place
        self._next[which] += counts

    def _hold(self, both: Seen, counts: NDArray[np.int64]) -> None:
        most = min(thinning.BEFORE, _HELD_READINGS // counts.size)
        ends = np.repeat(np.cumsum(counts), counts)
        self._held = both[ends - np.arange(both.size) <= most]

    def _identify(self, name: str) -> int:
        found = self._id_of.get(name)
        if found is None:
            found = self._id_of[name] = len(self._names)
            self._names.append(name)
        return found


_COLUMNS = ("sequence", "time", "value", "score", "state", "kind", "learnt")


def _counts(channel: NDArray[np.int32]) -> NDArray[np.int64]:
    """Readings of each channel, in their order; `channel` is sorted."""
    edges = np.flatnonzero(np.diff(channel, prepend=-1, append=-2))
    return np.diff(edges).astype(np.int64)
