"""Stateful, batched stepping of the network: one reading costs one step, however long the past.

The pipeline thread calls `observe` with the newest value of some channels and then reads what to
expect next. h and c are columns over channels, like everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.experts import HORIZONS, Beats, ExpertBank, Outlook
from anomalyd.detection.reading import Floats, Rows
from anomalyd.model.next_step import NextStep

_FURTHEST = HORIZONS[-1]


class Prediction(NamedTuple):
    """What is expected of the next value of each of B channels, in channel units."""

    expected: Floats
    """(expected, B) as in `detection.views.Expected`; NaN where nothing was said of it"""
    scale: Floats
    """(B,) of the newest forecast's distribution"""
    ahead: Floats
    """(horizons, B) what is expected of the values so many readings ahead"""
    outlook: Outlook
    """what the experts said"""


class Predictor(Protocol):
    """What every predictor of one channel's next value can do."""

    name: str
    bank: ExpertBank
    """the experts' running state, which outlives a change of network"""

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""

    def observe(self, rows: Rows, values: Floats, beats: Beats) -> Prediction:
        """Take one value (B,) of each channel in `rows` (unique), look ahead to the next."""

    def quantum(self, rows: Rows) -> Floats:
        """(B,) the channel's resolution; 0 while it has never changed."""

    def rebuild(
        self, rows: Rows, values: Floats, filled: NDArray[np.int64], beats: Sequence[Beats]
    ) -> None:
        """Make what the network remembers of the channels in `rows` anew, from their windows
        (B, W), oldest first, of which the newest `filled` (B,) count. `beats`: W of B channels."""

    def skill(self, rows: Rows) -> Floats:
        """(B,) 1 - its running error / the best simple expert's; NaN while unknown."""


class NextStepPredictor:
    """The global next-step network and its state for `capacity` channels."""

    def __init__(
        self, network: NextStep, name: str, capacity: int, bank: ExpertBank | None = None
    ) -> None:
        """`bank`: another predictor's, which takes the values for both."""
        self.name = name
        self._network = network
        self.bank = bank or ExpertBank(capacity)
        shape = (capacity, network.config.hidden)
        # Zeros are not touched until used: 50 000 rows cost nothing at first.
        self._h = np.zeros(shape, dtype=np.float32)
        self._c = np.zeros(shape, dtype=np.float32)
        self._steps = np.zeros(capacity, dtype=np.int64)  # since the channel began, or a gap
        self._waiting = np.zeros((capacity, _FURTHEST))

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self.bank.reset(rows)
        self._h[rows] = 0.0
        self._c[rows] = 0.0
        self._steps[rows] = 0

    def quantum(self, rows: Rows) -> Floats:
        """(B,) the channel's resolution; 0 while it has never changed."""
        return self.bank.quantum(rows)

    def skill(self, rows: Rows) -> Floats:
        """(B,) 1 - its running error / the best simple expert's; NaN while unknown."""
        return self.bank.skill(rows)

    def observe(self, rows: Rows, values: Floats, beats: Beats) -> Prediction:
        """Take one value (B,) of each channel in `rows` (unique), look ahead to the next."""
        said = self.foresee(rows, self.bank.observe(rows, values, beats), beats)
        # Not in `foresee`: a bank that is shared hears of the network that serves alone.
        self.bank.tell(rows, said.ahead[0])
        return said

    def foresee(self, rows: Rows, outlook: Outlook, beats: Beats) -> Prediction:
        """Look ahead from what a bank has said, its own or one that it shares."""
        h, c = self._h.take(rows, 0), self._c.take(rows, 0)
        forecasts = outlook.forecasts.astype(np.float32)
        foreseen, self._h[rows], self._c[rows] = self._network.step(
            outlook.features, forecasts, h, c
        )
        location = foreseen.location.astype(np.float64)
        scale = np.exp(foreseen.log_scale[:, 0]).astype(np.float64)
        ahead = outlook.last[:, None] + outlook.scale[:, None] * location
        self._steps[rows] = np.where(beats.after_gap, 1, self._steps[rows] + 1)
        before = self._said_before(rows, ahead[:, -1])
        # `ahead` stays the network's, so that it is compared with the experts wherever they serve.
        network = np.isnan(outlook.simple)
        served = np.where(network, ahead[:, 0], outlook.simple)
        expected = np.array((served, before, outlook.usual))
        return Prediction(expected, outlook.scale * scale, ahead.T, outlook)

    def rebuild(
        self, rows: Rows, values: Floats, filled: NDArray[np.int64], beats: Sequence[Beats]
    ) -> None:
        """Make what the network remembers of the channels in `rows` anew, from their windows
        (B, W), oldest first, of which the newest `filled` (B,) count. `beats`: W of B channels.

        The bank stays as it is: it has seen more than the windows hold.
        """
        anew = NextStepPredictor(self._network, self.name, rows.size)
        for step, beat in enumerate(beats):
            there = np.flatnonzero(step >= len(beats) - filled)
            at = Beats(beat.times[there], beat.interval_s[there], beat.after_gap[there])
            anew.observe(there, values[there, step], at)
        for column, figures in (
            (self._h, anew._h),
            (self._c, anew._c),
            (self._steps, anew._steps),
            (self._waiting, anew._waiting),
        ):
            column[rows] = figures

    def _said_before(self, rows: Rows, ahead: Floats) -> Floats:
        """Remember the furthest forecasts (B,); what they said of the next value."""
        steps = self._steps[rows]
        self._waiting[rows, (steps - 1) % _FURTHEST] = ahead
        due = self._waiting[rows, steps % _FURTHEST]
        return np.where(steps >= _FURTHEST, due, np.nan)
