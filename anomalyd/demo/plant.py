"""The simulated plant: named channels, one reading of each a simulated second, and its faults.

`simulate.py`, the demo, the tests and the calibration call it, on the caller's thread. It has no
clock: a step is a second. The same seed gives the same numbers, however a run is cut into chunks.
Faults change what the sensors say, never the process behind them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Final

import numpy as np

from anomalyd.demo.faults import Fault, FaultKind, FaultySensor
from anomalyd.demo.machines import SENSORS, Array, Machines, Parameters

__all__ = ["Fault", "FaultKind", "Plant"]

_MACHINES_OF_A_LINE: Final = ("pump1", "pump2", "compressor1", "blower1")
_SPREAD_STEPS: Final = 4000  # enough for several of the longest cycles


class Plant:
    """`channels` sensors, eight to a machine, four machines to a line.

    Owns the state of the simulation; `run` alone changes it.
    """

    def __init__(self, seed: int, channels: int = 24, faults: Iterable[Fault] = ()) -> None:
        self.seed = seed
        self.channels = channels
        self.names = _names(channels)
        self._step = 0
        drawn, start, body, other, bursts = np.random.SeedSequence(seed).spawn(5)
        machines = -(-channels // len(SENSORS))
        self._parameters = Parameters.draw(np.random.default_rng(drawn), machines)
        self._machines = Machines(self._parameters, np.random.default_rng(start), body)
        self._elsewhere = Machines(self._parameters, np.random.default_rng(start), other)
        self._elsewhere.turn(np.pi)
        self._faulty = self._break(tuple(faults), bursts)

    @property
    def noise(self) -> Array:
        """(channels,): standard deviation of each channel's own measurement noise."""
        return self._parameters.noise.reshape(-1)[: self.channels]

    @cached_property
    def spread(self) -> Array:
        """(channels,): standard deviation of each channel's healthy readings, cycles and all."""
        spread: Array = Plant(self.seed, self.channels).run(_SPREAD_STEPS).std(axis=0)
        return spread

    def run(self, steps: int) -> Array:
        """The next `steps` readings of every channel, (steps, channels)."""
        readings = self._flat(self._machines.run(steps))
        if self._faulty:
            elsewhere = self._flat(self._elsewhere.run(steps))
        for column, sensor in self._faulty:
            readings[:, column] = sensor.say(self._step, readings[:, column], elsewhere[:, column])
        self._step += steps
        return readings

    def _break(
        self, faults: tuple[Fault, ...], seed: np.random.SeedSequence
    ) -> list[tuple[int, FaultySensor]]:
        broken = []
        for fault, child in zip(faults, seed.spawn(len(faults)), strict=True):
            column = self.names.index(fault.channel)
            noise, spread = float(self.noise[column]), float(self.spread[column])
            broken.append((column, FaultySensor(fault, noise, spread, child)))
        return broken

    def _flat(self, readings: Array) -> Array:
        steps = len(readings)
        return readings.reshape(steps, -1)[:, : self.channels]


def _names(channels: int) -> tuple[str, ...]:
    machines = len(_MACHINES_OF_A_LINE)
    names = []
    for channel in range(channels):
        machine, sensor = divmod(channel, len(SENSORS))
        line, place = divmod(machine, machines)
        names.append(f"line{line + 1}/{_MACHINES_OF_A_LINE[place]}/{SENSORS[sensor]}")
    return tuple(names)
