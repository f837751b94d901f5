"""Faults of the simulated plant's sensors: what they are, and what they make a sensor say.

`plant.py` applies them to healthy readings, on the caller's thread; the process itself never knows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FaultKind = Literal["spike", "shift", "drift", "noise", "stuck", "decoupled"]

_FADE_STEPS: Final = 15  # a decoupled sensor leaves its machine without a jump


@dataclass(frozen=True)
class Fault:
    """One sensor that says something wrong from step `start`, for `duration` steps.

    `size` is, by kind: spike, in units of the channel's own noise; shift and drift (what it
    reaches at its end), in units of the channel's spread; noise, how many times its usual noise.
    A stuck and a decoupled sensor have no size. A decoupled sensor goes on with a signal of the
    same mean, spread and pace, half a cycle off its machine's and with noise of its own.
    """

    kind: FaultKind
    channel: str
    start: int
    duration: int = 1
    size: float = 0.0

    @property
    def end(self) -> int:
        """The first step that is healthy again."""
        return self.start + self.duration


class FaultySensor:
    """One channel under one fault. Owns what the fault remembers: the held value, its noise."""

    def __init__(
        self, fault: Fault, noise: float, spread: float, seed: np.random.SeedSequence
    ) -> None:
        """`noise` and `spread` are the channel's, in physical units."""
        self.fault = fault
        self._noise = noise
        self._spread = spread
        self._rng = np.random.default_rng(seed)
        self._held = np.nan

    def say(self, step: int, healthy: Array, elsewhere: Array) -> Array:
        """What the sensor says from `step` on, (steps,), called with consecutive chunks.

        `elsewhere` is the same sensor on a machine half a cycle off.
        """
        steps = len(healthy)
        first, last = (min(max(at - step, 0), steps) for at in (self.fault.start, self.fault.end))
        said = healthy.copy()
        if first < last:
            self._held = healthy[first] if np.isnan(self._held) else self._held
            since = np.arange(first, last, dtype=np.float64) + (step - self.fault.start)
            said[first:last] = self._wrong(since, healthy[first:last], elsewhere[first:last])
        return said

    def _wrong(self, since: Array, healthy: Array, elsewhere: Array) -> Array:
        fault = self.fault
        match fault.kind:
            case "spike":
                return healthy + fault.size * self._noise
            case "shift":
                return healthy + fault.size * self._spread
            case "drift":
                share = (since + 1) / fault.duration
                return healthy + share * (fault.size * self._spread)
            case "noise":
                extra = math.sqrt(max(fault.size**2 - 1, 0.0)) * self._noise
                return healthy + extra * self._rng.standard_normal(len(healthy))
            case "stuck":
                return np.full(len(healthy), self._held)
            case "decoupled":
                to_end = fault.duration - since
                share = np.clip(np.minimum(since + 1, to_end) / _FADE_STEPS, 0, 1)
                return healthy + share * (elsewhere - healthy)
