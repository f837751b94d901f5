"""When a channel's course reaches a limit: the encoder-decoder's answer for a batch of windows.

Called by the limit watch on the pipeline's thread. Keeps no state: everything is in the windows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Floats
from anomalyd.detection.trend import look
from anomalyd.model.encoder_decoder import LEVELS, EncoderDecoder

EARLIEST, LIKELY, LATEST = 0.9, 0.5, 0.05
"""Quantiles of the running maximum: the limit is reached by the step at which they reach it. The
stated interval is to hold in 80 % of the warnings. These come at the first sure moment of many that
were looked at, and so rather too soon: by development runs of simulated machines, the later end
must be the surer one."""
_FARTHEST = 8.0  # widths of the window; no course was ever forecast to go that far


class Passage(NamedTuple):
    """The way of B channels to their upper limits; times in blocks from now, infinite where the
    limit is not reached by then within the horizon."""

    chance: Floats
    """(B,) that the limit is reached within the horizon"""
    earliest: Floats
    """(B,) seldom it is reached by then"""
    likely: Floats
    """(B,) half of the times"""
    latest: Floats
    """(B,) nearly always"""


class Forecaster:
    """One network, for all channels."""

    def __init__(self, network: EncoderDecoder, name: str) -> None:
        self.name = name
        self._network = network
        self.window = network.config.window
        self.horizon = network.config.horizon

    def passages(self, windows: Floats, filled: NDArray[np.int64], limits: Floats) -> Passage:
        """When each of B windows (B, W), with `filled` (B,) readings in it, reaches its limit from
        below. Turn window and limit upside down for a lower limit."""
        never = np.full(limits.size, np.inf)
        answer = Passage(np.zeros(limits.size), never, never.copy(), never.copy())
        near = np.flatnonzero(_within_reach(windows, filled, limits))
        if near.size:
            found = self._ask(windows[near], filled[near], limits[near])
            for column, figures in zip(answer, found, strict=True):
                column[near] = figures
        return answer

    def _ask(self, windows: Floats, filled: NDArray[np.int64], limits: Floats) -> Passage:
        trend = look(windows, filled, self.horizon)
        peak = self._network.peak(trend.features, trend.ahead).astype(np.float64)
        goal = np.arcsinh((limits - trend.last) / trend.unit)
        times = (_reached(peak[..., LEVELS.index(p)], goal) for p in (EARLIEST, LIKELY, LATEST))
        return Passage(_chance(peak[:, -1], goal), *times)


def _within_reach(windows: Floats, filled: NDArray[np.int64], limits: Floats) -> NDArray[np.bool_]:
    """(B,) the channel moves, and its limit is not beyond all that the network may forecast."""
    there = np.arange(windows.shape[1]) >= windows.shape[1] - filled[:, None]
    last = windows[:, -1]
    moved = np.where(there, windows, last[:, None])
    width = np.ptp(moved, axis=1)
    return np.asarray((width > 0.0) & (limits - last < _FARTHEST * width))


def _reached(course: Floats, goal: Floats) -> Floats:
    """(B,) the time at which `course` (B, H), which never falls, reaches `goal` (B,)."""
    after = course >= goal[:, None]
    step = after.argmax(axis=1)
    row = np.arange(goal.size)
    before = np.where(step > 0, course[row, step - 1], np.minimum(0.0, course[:, 0]))
    rise = np.maximum(course[row, step] - before, 1e-9)
    part = np.clip((goal - before) / rise, 0.0, 1.0)
    return np.where(after.any(axis=1), step + part, np.inf)


def _chance(quantiles: Floats, goal: Floats) -> Floats:
    """(B,) that a variable with these quantiles (B, levels) is at least `goal` (B,)."""
    below = (quantiles <= goal[:, None]).sum(axis=1)
    row = np.arange(goal.size)
    left, right = np.maximum(below - 1, 0), np.minimum(below, len(LEVELS) - 1)
    start, end = quantiles[row, left], quantiles[row, right]
    part = np.clip((goal - start) / np.maximum(end - start, 1e-9), 0.0, 1.0)
    levels = np.asarray(LEVELS)
    share = levels[left] + part * (levels[right] - levels[left])
    share = np.where(below == 0, 0.0, np.where(below == len(LEVELS), 1.0, share))
    return 1.0 - share
