"""Data quality: a sensor that says nothing usable for far longer than it ever did.

What is normal is learnt from each channel's own silences. The longest of n silences, times four,
is exceeded by chance once in n^4 of them where a sensor speaks at random (exponential times), and
never where it speaks by a clock; a channel that came back by itself was judged too soon, and its
bound doubles. A reading that is refused is no word. Who announced its end is silent at once, and
teaches nothing by it. Owned by the pipeline thread: no locks.
"""

from __future__ import annotations

import numpy as np

from anomalyd.detection.reading import Flags, Floats, Rows

_LONGEST_TIMES = 4.0
SHORTEST_SUSPECT_S = 30.0  # a network that hiccups is no fault of a sensor
_KNOWN_AFTER = 30  # silences
_FORGET = 0.999  # per silence
_MOST_CAUTION, _CAUTION_FORGET = 64.0, 0.9999


class Silence:
    """What is known of the silences of `capacity` channels."""

    def __init__(self, capacity: int) -> None:
        self._heard = np.full(capacity, np.inf)
        self._longest = np.zeros(capacity)
        self._caution = np.ones(capacity)
        self._seen = np.zeros(capacity, dtype=np.int64)
        self._told = np.zeros(capacity, dtype=np.bool_)
        self._died = np.full(capacity, np.inf)
        self._skips = np.ones(capacity, dtype=np.bool_)
        self._watched = np.zeros(capacity, dtype=np.bool_)

    def reset(self, rows: Rows, watched: Flags | bool) -> None:
        """Begin the channels in `rows` anew; those not `watched` may be silent as they like."""
        self._heard[rows] = np.inf
        self._longest[rows] = 0.0
        self._caution[rows] = 1.0
        self._seen[rows] = 0
        self._told[rows] = False
        self._died[rows] = np.inf
        self._skips[rows] = True
        self._watched[rows] = watched

    def resume(self, now_s: float) -> None:
        """Nobody listened until now: what was silent meanwhile is not known, and not learnt."""
        self._heard[np.isfinite(self._heard)] = now_s
        self._skips[:] = True

    def shift(self, jump_s: float) -> None:
        """The listener's clock was set."""
        self._heard += jump_s

    def learn(self, rows: Rows, silent_s: Floats, now_s: Floats | float) -> Flags:
        """Take a word of each channel in `rows` (unique), said at `now_s` on the listener's clock
        and `silent_s` after its last one on its own. (B,) who was told to be silent."""
        told = self._told[rows]
        silent = np.maximum(silent_s, now_s - self._heard[rows])
        learns = ~(told | self._skips[rows])
        longest = self._longest[rows]
        usual = np.maximum(_FORGET * longest, silent)
        self._longest[rows] = np.where(learns, usual, longest)
        self._seen[rows] += learns
        self._heard[rows] = now_s
        self._skips[rows] = False
        if np.count_nonzero(told):
            early = rows[told]
            self._told[early] = False
            self._caution[early] = np.minimum(2.0 * self._caution[early], _MOST_CAUTION)
        return told

    def bound_s(self, rows: Rows) -> Floats:
        """(B,) a longer silence is none of the channel's own."""
        usual = _LONGEST_TIMES * self._longest[rows] * self._caution[rows]
        return np.maximum(usual, SHORTEST_SUSPECT_S)

    def due_s(self) -> float:
        """When the next channel will have been silent for too long; inf: none will."""
        rows = self._waited_for()
        return float((self._heard[rows] + self.bound_s(rows)).min(initial=np.inf))

    def overdue(self, now_s: float) -> Rows:
        """Channels that are silent for too long and not told yet."""
        rows = self._waited_for()
        self._caution[rows] = np.maximum(_CAUTION_FORGET * self._caution[rows], 1.0)
        return rows[self._heard[rows] + self.bound_s(rows) <= now_s]

    def tell(self, rows: Rows) -> None:
        """Those in `rows` are known to be silent."""
        self._told[rows] = True

    def die(self, rows: Rows, now_s: float) -> Rows:
        """Their end was announced at `now_s`, on the listener's clock. Those that are silent from
        now on; the others were told before."""
        alive = rows[~self._told[rows]]
        self._told[alive] = True
        self._died[alive] = now_s
        return alive

    def revive(self, rows: Rows, now_s: Floats) -> Rows:
        """Those of `rows` (B,) whose end had been announced, and of whom something was heard at
        `now_s` (B,): their silence is counted from there, and this one isn't their own."""
        alive = self.died_s(rows) < np.inf
        back = np.unique(rows[alive])
        self._heard[rows[alive]] = now_s[alive]
        self._told[back] = False
        self._died[back] = np.inf
        self._skips[back] = True
        return back

    def died_s(self, rows: Rows) -> Floats:
        """(B,) when the end was announced; inf: it wasn't."""
        return self._died[rows]

    def told(self, rows: Rows) -> Flags:
        """(B,) it is known to be silent."""
        return self._told[rows]

    def _waited_for(self) -> Rows:
        known = self._watched & ~self._told & (self._seen >= _KNOWN_AFTER)
        return np.flatnonzero(known & np.isfinite(self._heard))
