"""The physics of the simulated plant: machines of eight sensors that follow one load.

`plant.py` calls it, on the caller's thread. All machines advance together, one second a step, as
arrays over machines. It has no clock, and every random number comes from the seed it is given;
how a run is cut into chunks does not change the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SENSORS: Final = (
    "current",
    "bearing_temperature",
    "flow",
    "pressure",
    "vibration",
    "valve",
    "level",
    "voltage",
)
CURRENT, TEMPERATURE, FLOW, PRESSURE, VIBRATION, VALVE, LEVEL, VOLTAGE = range(len(SENSORS))

# In physical units: the reading at signal 0, how much a signal of 1 adds, and the resolution.
_ZERO: Final = np.array([2.0, 24.0, 0.0, 0.4, 0.3, 0.0, 0.0, 398.0])
_SPAN: Final = np.array([60.0, 70.0, 120.0, 6.0, 7.0, 100.0, 100.0, 16.0])
_RESOLUTION: Final = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.5, 0.1])

# Measurement noise as a share of the span. Vibration's noise grows with its level instead.
_NOISE: Final = np.array([0.015, 0.006, 0.012, 0.012, 0.0, 0.002, 0.003, 0.03])
_VIBRATION_NOISE: Final = 0.12
_STUDENT_DF: Final = 6.0

_MEAN_LOAD: Final = 0.6
_LOAD_SWING: Final = 0.28
_LOAD_MEMORY: Final = float(np.exp(-1 / 30))
_LOAD_WANDER: Final = 0.035
_VOLTAGE_MEMORY: Final = float(np.exp(-1 / 90))
_VOLTAGE_WANDER: Final = 0.1
_VALVE_FOLLOWS: Final = 0.12  # share of the way to its set point that a valve travels in a second
_FLOW_FOLLOWS: Final = 0.4
_JITTER: Final = 0.1  # of the phase's advance: no two cycles are quite of one length
_LOW, _HIGH = 0.2, 0.85  # marks between which a tank is filled and drained


@dataclass(frozen=True)
class Parameters:
    """What differs from machine to machine; every array is (machines,) or (machines, sensors)."""

    load_period: Array
    valve_period: Array
    thermal_memory: Array
    fill: Array
    zero: Array
    span: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, machines: int) -> Parameters:
        sensors = len(SENSORS)
        scatter = np.array([0.5, 0.3, 0.6, 0.4, 0.4, 0.0, 0.0, 0.2])
        return cls(
            load_period=rng.uniform(90, 240, machines),
            valve_period=rng.uniform(60, 160, machines),
            thermal_memory=np.exp(-1 / rng.uniform(30, 80, machines)),
            fill=rng.uniform(0.012, 0.025, machines),
            zero=_ZERO * (1 + 0.1 * scatter * rng.uniform(-1, 1, (machines, sensors))),
            span=_SPAN * (1 + scatter * rng.uniform(-1, 1, (machines, sensors))),
        )

    @property
    def noise(self) -> Array:
        """(machines, sensors): standard deviation of each sensor's own noise, physical units."""
        share = _NOISE.copy()
        share[VIBRATION] = _VIBRATION_NOISE * _vibration(_MEAN_LOAD)
        return np.sqrt((share * self.span) ** 2 + _RESOLUTION**2 / 12)


class Machines:
    """The healthy plant. Owns the state of all machines; `run` alone changes it."""

    def __init__(
        self, parameters: Parameters, start: np.random.Generator, noise: np.random.SeedSequence
    ) -> None:
        """`start` draws where in its cycles each machine begins, `noise` all that follows."""
        streams = (np.random.default_rng(child) for child in noise.spawn(3))
        self._process, self._measurement, self._heavy = streams
        self._parameters = parameters
        count = len(parameters.load_period)
        self._load_phase = start.uniform(0, 2 * np.pi, count)
        self._valve_phase = start.uniform(0, 2 * np.pi, count)
        self._load_wander = np.zeros(count)
        self._voltage = _VOLTAGE_WANDER * start.standard_normal(count)
        self._temperature = np.full(count, _MEAN_LOAD)
        self._valve = np.full(count, 0.5)
        self._flow = np.full(count, 0.4)
        self._level = start.uniform(_LOW, _HIGH, count)
        self._draining = start.random(count) < 0.5

    def turn(self, radians: float) -> None:
        """Advance every cycle: the same machines, elsewhere in their day."""
        self._load_phase += radians
        self._valve_phase += radians

    def run(self, steps: int) -> Array:
        """The next readings, (steps, machines, sensors), in physical units."""
        count, sensors = self._parameters.zero.shape
        drive = self._process.standard_normal((steps, 4, count))
        signal = np.empty((steps, count, sensors))
        for step in range(steps):
            self._advance(drive[step], signal[step].T)
        return self._measure(signal)

    def _advance(self, drive: Array, signal: Array) -> None:
        """One second of process: `drive` (4, machines) in, `signal` (sensors, machines) out."""
        load = self._advance_load(drive[0], drive[1])
        valve = self._advance_valve(drive[2])
        self._temperature += (1 - self._parameters.thermal_memory) * (load - self._temperature)
        self._flow += _FLOW_FOLLOWS * (load * (0.4 + 0.6 * valve) - self._flow)
        self._voltage *= _VOLTAGE_MEMORY
        self._voltage += _VOLTAGE_WANDER * np.sqrt(1 - _VOLTAGE_MEMORY**2) * drive[3]
        self._advance_level()
        signal[CURRENT] = load
        signal[TEMPERATURE] = self._temperature
        signal[FLOW] = self._flow
        signal[PRESSURE] = 0.4 + 0.8 * self._flow - 0.4 * valve
        signal[VIBRATION] = _vibration(load)
        signal[VALVE] = valve
        signal[LEVEL] = self._level
        signal[VOLTAGE] = self._voltage - 0.1 * (load - _MEAN_LOAD)

    def _advance_load(self, wander: Array, jitter: Array) -> Array:
        self._load_phase += 2 * np.pi / self._parameters.load_period * (1 + _JITTER * jitter)
        self._load_wander *= _LOAD_MEMORY
        self._load_wander += _LOAD_WANDER * np.sqrt(1 - _LOAD_MEMORY**2) * wander
        swing: Array = _LOAD_SWING * np.tanh(2 * np.sin(self._load_phase))
        return _MEAN_LOAD + swing + self._load_wander

    def _advance_valve(self, jitter: Array) -> Array:
        self._valve_phase += 2 * np.pi / self._parameters.valve_period * (1 + _JITTER * jitter)
        target = np.where(np.sin(self._valve_phase) > 0, 0.8, 0.3)
        self._valve += _VALVE_FOLLOWS * (target - self._valve)
        return self._valve

    def _advance_level(self) -> None:
        fill = self._parameters.fill * self._flow
        self._level += np.where(self._draining, -self._parameters.fill, fill)
        self._draining &= self._level > _LOW
        self._draining |= self._level > _HIGH

    def _measure(self, signal: Array) -> Array:
        steps, count, sensors = signal.shape
        noise: Array = _NOISE * self._measurement.standard_normal((steps, count, sensors))
        heavy = self._heavy.standard_t(_STUDENT_DF, (steps, count))
        heavy *= _VIBRATION_NOISE / np.sqrt(_STUDENT_DF / (_STUDENT_DF - 2))
        noise[:, :, VIBRATION] = signal[:, :, VIBRATION] * heavy
        readings = self._parameters.zero + self._parameters.span * (signal + noise)
        quantised = _RESOLUTION > 0
        grain = _RESOLUTION[quantised]
        readings[:, :, quantised] = np.round(readings[:, :, quantised] / grain) * grain
        return readings


def _vibration(load: Array | float) -> Array:
    return np.asarray(0.15 + 0.5 * load)
