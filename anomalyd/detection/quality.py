"""Data quality: a sensor that stands still for far longer than it ever did.

A quantised or slow sensor stands still often; what is normal is learnt from each channel's own
runs of equal values. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

import numpy as np

from anomalyd.detection.reading import Flags, Floats, Rows

# A run is suspect when it is so many times the longest that this channel was seen to make.
_LONGEST_TIMES = 4.0
_SHORTEST_SUSPECT = 30.0
# What a young channel hasn't shown yet may still be normal: it must have been seen for so many
# times the suspect length before.
_KNOWN_AFTER_TIMES = 8.0
_FORGET = 0.999  # per run: one long standstill isn't remembered for ever


class Stillness:
    """Runs of equal values on `capacity` channels."""

    def __init__(self, capacity: int) -> None:
        self._value = np.zeros(capacity)
        self._run = np.zeros(capacity)
        self._longest = np.zeros(capacity)
        self._seen = np.zeros(capacity)

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._run[rows] = 0.0
        self._longest[rows] = 0.0
        self._seen[rows] = 0.0

    def score(self, rows: Rows, values: Floats) -> Floats:
        """(B,) length of the run that `values` continue, in units of the suspect length; below 1
        it says nothing and is 0. A channel that has never changed can't be judged."""
        run = np.where(values == self._value[rows], self._run[rows] + 1.0, 1.0)
        limit = np.maximum(_LONGEST_TIMES * self._longest[rows], _SHORTEST_SUSPECT)
        ratio = run / limit
        known = (self._longest[rows] > 0.0) & (self._seen[rows] >= _KNOWN_AFTER_TIMES * limit)
        return np.where(known & (ratio >= 1.0), ratio, 0.0)

    def learn(self, rows: Rows, values: Floats, learns: Flags) -> None:
        """Take one value of each channel in `rows` (unique); a run that ends teaches how long runs
        may be, unless it ends where not `learns`."""
        run = self._run[rows]
        same = (values == self._value[rows]) & (run > 0.0)
        ends = ~same & (run > 0.0)
        teaches = ends & learns
        longest = self._longest[rows]
        self._longest[rows] = np.where(teaches, np.maximum(longest * _FORGET, run), longest)
        self._seen[rows] += np.where(teaches, run, 0.0)
        self._run[rows] = np.where(same, run + 1.0, 1.0)
        self._value[rows] = values
