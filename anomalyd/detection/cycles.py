"""Machine cycles: the period of each channel, found in its own recent past.

Every so many readings the autocorrelation of the last ones (Wiener-Khinchin: by the Fourier
transform of their power spectrum) is searched for its first high peak. Where there is one, "as one
cycle ago" is a forecast. Owned by the predictor that owns the bank: no locks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Flags, Floats, Rows

_KEPT = 128
_EVERY = 64
_SHORTEST, _LONGEST = 3, 60
_CLEAR = 0.4  # autocorrelation from which a cycle is believed
_AS_GOOD = 0.85  # of the highest peak: the first such peak is the period, later ones repeat it


class Cycles:
    """Recent values and periods of `capacity` channels; values are relative to an origin."""

    def __init__(self, capacity: int) -> None:
        self._ring = np.zeros((capacity, _KEPT), dtype=np.float32)
        self._count = np.zeros(capacity, dtype=np.int64)
        self._period = np.zeros(capacity, dtype=np.int64)

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self._count[rows] = self._period[rows] = 0

    def known(self, rows: Rows) -> Flags:
        """(B,) the channel has a period."""
        return np.asarray(self._period[rows] > 0)

    def ahead(self, rows: Rows, horizons: tuple[int, ...]) -> Floats:
        """(K, B) one cycle before the reading that is so many `horizons` (K,) ahead: the newest
        cycle that has been seen. Only where there is a period."""
        period = np.maximum(self._period[rows], 1)
        steps = np.array(horizons)[:, None]
        back = -(-steps // period) * period - steps  # readings before the newest
        at = (self._count[rows] - 1 - back) % _KEPT
        return np.asarray(self._ring[rows, at], dtype=np.float64)

    def learn(self, rows: Rows, values: Floats) -> None:
        """Take one value (B,) of each channel in `rows` (unique)."""
        count = self._count[rows]
        self._ring[rows, count % _KEPT] = values
        self._count[rows] = count + 1
        due = (count + 1 >= _KEPT) & ((count + 1) % _EVERY == 0)
        if np.count_nonzero(due):
            self._period[rows[due]] = self._periods(rows[due])

    def _periods(self, rows: Rows) -> NDArray[np.int64]:
        """(B,) the period in readings, 0 where there is none."""
        # A ring is as good as the series: only the seam differs, so it is turned to its beginning.
        turn = (self._count[rows] % _KEPT)[:, None]
        recent = self._ring[rows[:, None], (np.arange(_KEPT) + turn) % _KEPT].astype(np.float64)
        recent -= recent.mean(axis=1, keepdims=True)
        power = np.abs(np.fft.rfft(recent, 2 * _KEPT, axis=1)) ** 2
        lags = np.fft.irfft(power, axis=1)[:, : _LONGEST + 2]
        # Fewer pairs are that far apart: without this, the highest peak would be the first.
        lags *= _KEPT / (_KEPT - np.arange(_LONGEST + 2))
        level = np.divide(lags, lags[:, :1], out=np.zeros_like(lags), where=lags[:, :1] > 0.0)
        middle = level[:, 1:-1]
        peak = (middle >= level[:, :-2]) & (middle > level[:, 2:])
        peak[:, : _SHORTEST - 1] = False
        height = np.where(peak, middle, 0.0)
        best = height.max(axis=1, keepdims=True)
        first = (height >= np.maximum(_AS_GOOD * best, _CLEAR)).argmax(axis=1) + 1
        return np.where(best[:, 0] >= _CLEAR, first, 0)
