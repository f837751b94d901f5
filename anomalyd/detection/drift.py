"""Drift: the distribution of the network's residuals moves away from what it was.

Page's test on the logarithm of each residual (Page, "Continuous inspection schemes", Biometrika
1954), two-sided, one row a channel: cumulated deviations from the channel's own standard, less an
allowance, against a limit. The standard is the mean and spread of the first readings after a
`reset`, which a retraining does. O(1) a reading. Owned by the pipeline, on its thread, which passes
no quarantined readings; whoever retrains asks. It has no clock.

A mean of `_BLOCK` readings is one observation, so that neighbours that go astray together count
once, and the tails of single residuals average out.
"""

from __future__ import annotations

import numpy as np

from anomalyd.detection.reading import Flags, Floats, Rows

_BLOCK, _STANDARD = 64.0, 20.0  # readings of an observation, observations of the standard
_ALLOWANCE, _LIMIT, _CLIP = 0.75, 10.0, 4.0  # in standard deviations of an observation
_SMALLEST_SPREAD = 0.05  # of a log residual: 5 %
_TINY = 1e-12

(_SUM, _SEEN, _COUNT, _MEAN, _SQUARES, _UP, _DOWN) = range(7)

PLANT_SHARE = 0.1
"""share of channels that must have drifted for the plant to have"""


class Drift:
    """Running sums of `capacity` channels."""

    def __init__(self, capacity: int) -> None:
        self._state = np.zeros((capacity, 7))

    def reset(self, rows: Rows) -> None:
        """A new standard, from the next readings."""
        self._state[rows] = 0.0

    def learn(self, rows: Rows, residuals: Floats, scales: Floats) -> None:
        """Take a residual (B,) of each channel in `rows` (unique) and its forecast's scale."""
        known = np.isfinite(residuals) & (scales > 0.0)
        if np.count_nonzero(known) < rows.size:
            rows, residuals, scales = rows[known], residuals[known], scales[known]
        off = np.log(np.abs(residuals) / scales + _TINY)
        self._state[rows, _SUM] += np.minimum(np.maximum(off, -5.0), 5.0)
        seen = self._state[rows, _SEEN] + 1.0
        self._state[rows, _SEEN] = seen
        due = seen >= _BLOCK
        if np.count_nonzero(due):
            full = rows[due]
            self._observe(full, self._state[full, _SUM] / _BLOCK)
            self._state[full, : _SEEN + 1] = 0.0

    def _observe(self, rows: Rows, seen: Floats) -> None:
        state = self._state[rows].T
        learns = state[_COUNT] < _STANDARD
        spread = np.sqrt(state[_SQUARES] / (_STANDARD - 1.0))
        off = (seen - state[_MEAN]) / np.maximum(spread, _SMALLEST_SPREAD)
        off = np.where(learns, 0.0, off.clip(-_CLIP, _CLIP))
        for side, sign in ((_UP, 1.0), (_DOWN, -1.0)):
            state[side] = np.maximum(state[side] + sign * off - _ALLOWANCE * ~learns, 0.0)
        # Welford, "Note on a method for calculating corrected sums of squares", 1962
        state[_COUNT] += learns
        step = np.where(learns, seen - state[_MEAN], 0.0)
        state[_MEAN] += step / np.maximum(state[_COUNT], 1.0)
        state[_SQUARES] += step * np.where(learns, seen - state[_MEAN], 0.0)
        self._state[rows] = state.T

    def ready(self, rows: Rows) -> Flags:
        """(B,) the channel has a standard."""
        return np.asarray(self._state[rows, _COUNT] >= _STANDARD)

    def drifted(self, rows: Rows) -> Flags:
        """(B,) the residuals have become larger or smaller than the standard; it stays so until
        they come back or the channel is reset."""
        return np.asarray(self._state[rows, _UP : _DOWN + 1].max(axis=1) > _LIMIT)

    def plant_drifted(self, rows: Rows) -> bool:
        """`PLANT_SHARE` of the channels in `rows` that have a standard, and at least one, have
        drifted."""
        ready = self.ready(rows)
        drifted = int((self.drifted(rows) & ready).sum())
        return drifted >= max(1.0, PLANT_SHARE * float(ready.sum()))
