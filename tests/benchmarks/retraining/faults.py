"""Faults of the simulated plant: where they are, what they do, and which alerts find them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalyd.detection.reading import Flags, Floats
from tests.benchmarks.retraining.signals import DAY_S, INTERVAL_S, MEMBERS, WEEK_S
from tests.benchmarks.retraining.site import Raised

KINDS = ("shift", "noise", "swing")
LASTS_S, LATE_S = 2700.0, 3600.0
SWING_READINGS = 6.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Of one channel; seconds since the beginning; `size` in units of the noise when new."""

    machine: int
    channel: int
    kind: str
    size: float
    start_s: float
    end_s: float

    def finds(self, alert: Raised) -> bool:
        """On its own channel, up to an hour after its end."""
        return (alert.machine, alert.channel) == (
            self.machine,
            self.channel,
        ) and self.start_s <= alert.at_s <= self.end_s + LATE_S

    def touches(self, alert: Raised) -> bool:
        """The alert may come of it, on any channel of the machine."""
        return alert.machine == self.machine and self.start_s <= alert.at_s <= self.end_s + DAY_S

    def delay_s(self, alerts: Sequence[Raised]) -> float | None:
        """From its beginning to the first alert that finds it."""
        return min((a.at_s - self.start_s for a in alerts if self.finds(a)), default=None)


def weekly(
    rng: np.random.Generator, machine: int, weeks: int, size: float, side: int
) -> list[Fault]:
    """One fault of a machine, once a week from the second on, at any time of half a week; `side`:
    which half, and which channel and kind."""
    kind = KINDS[(machine + side) % len(KINDS)]
    channel = (machine + 4 * side) % MEMBERS
    found = []
    for week in range(1, weeks):
        day = rng.uniform(0.0, 2.0) + 3.5 * side
        start_s = week * WEEK_S + round(float(day) * DAY_S / INTERVAL_S) * INTERVAL_S
        found.append(Fault(machine, channel, kind, size, start_s, start_s + LASTS_S))
    return found


def disturb(values: Floats, faults: Sequence[Fault], seed: int) -> Floats:
    """(R, channels) the same with the faults."""
    values = values.copy()
    for number, fault in enumerate(faults):
        rng = np.random.default_rng((seed, 7, number))
        span = slice(round(fault.start_s / INTERVAL_S), round(fault.end_s / INTERVAL_S))
        column = values[span, fault.machine * MEMBERS + fault.channel]
        column += (
            fault.size
            * {
                "shift": np.ones(column.size),
                "noise": rng.standard_normal(column.size),
                "swing": np.sin(2.0 * np.pi * np.arange(column.size) / SWING_READINGS),
            }[fault.kind]
        )
    return values


def quiet(faults: Sequence[Fault], machine: int, rows: int) -> Flags:
    """(R,) readings of a machine for which no fault is an excuse."""
    free = np.ones(rows, dtype=np.bool_)
    for fault in faults:
        if fault.machine == machine:
            first, last = fault.start_s / INTERVAL_S, (fault.end_s + DAY_S) / INTERVAL_S
            free[round(first) : round(last) + 1] = False
    return free
