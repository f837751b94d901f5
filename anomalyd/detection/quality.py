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
        run = self._run[rows] + 1.0
        long = (run >= _SHORTEST_SUSPECT) & (values == self._value[rows])
        score = np.zeros(rows.size)
        if np.count_nonzero(long):
            some = rows[long]
            longest = self._longest[some]
            limit = np.maximum(_LONGEST_TIMES * longest, _SHORTEST_SUSPECT)
            ratio = run[long] / limit
            known = (longest > 0.0) & (self._seen[some] >= _KNOWN_AFTER_TIMES * limit)
            score[long] = np.where(known & (ratio >= 1.0), ratio, 0.0)
        return score

    def learn(self, rows: Rows, values: Floats, learns: Flags) -> None:
        """Take one value of each channel in `rows` (unique); a run that ends teaches how long runs
        may be, unless it ends where not `learns`."""
        run = self._run[rows]
        same = values == self._value[rows]
        taught = run * (learns & ~same)  # 0 where nothing is taught: no run is that short
        longest = self._longest[rows]
        self._longest[rows] = np.where(taught, np.maximum(longest * _FORGET, run), longest)
        self._seen[rows] += taught
        self._run[rows] = run * same + 1.0
        self._value[rows] = values
