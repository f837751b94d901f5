"""Weeks of a plant that changes, with retraining and without, on the same readings.

One machine for each kind of change, each with two faults of its own: a large one, whose first alert
is confirmed as an operator would do it, and a small one. Both come once a week from the second week
on. False alarms are those raised on a machine that has had no fault for a day; the promise is for
that time. Beside them: the excursions beyond a fixed limit, each channel's largest residual of the
first week without retraining, which would have been alarms had nothing been calibrated since.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from anomalyd.detection.reading import Floats
from anomalyd.settings import Retrain
from tests.benchmarks.detection.table import Cell, Table
from tests.benchmarks.retraining.faults import Fault, disturb, quiet, weekly
from tests.benchmarks.retraining.signals import CHANGES, INTERVAL_S, MEMBERS, WEEK, WEEK_S, signals
from tests.benchmarks.retraining.site import Raised, site

SIZES = {"large": 16.0, "small": 6.0}
_APART = 60  # readings: excursions nearer than that are one


@dataclass(frozen=True, slots=True)
class Lived:
    """What came of a plant's weeks."""

    raised: Sequence[Raised]
    confirmed: frozenset[int]
    """machines whose first large fault was found, and confirmed"""
    errors: Floats
    """(R, channels)"""
    budget_per_week: float
    """of one channel"""
    steps: dict[str, int]
    took_s: float


def script(seed: int, weeks: int) -> dict[str, list[Fault]]:
    """The faults of each size."""
    rng = np.random.default_rng(seed)
    return {
        name: [
            fault
            for machine in range(len(CHANGES))
            for fault in weekly(rng, machine, weeks, size, side)
        ]
        for side, (name, size) in enumerate(SIZES.items())
    }


def live(seed: int, weeks: int, rules: Retrain | None) -> Lived:
    """`rules`: None = it never retrains."""
    begun, faults = time.monotonic(), script(seed, weeks)
    values = signals(seed, list(CHANGES), weeks)
    values = disturb(values, [*faults["large"], *faults["small"]], seed)
    first = {fault.machine: fault for fault in reversed(faults["large"])}

    def confirms(raised: Raised) -> bool:
        found = raised.machine in first and first[raised.machine].finds(raised)
        if found:
            del first[raised.machine]
        return found

    with site(len(CHANGES), rules) as made:
        made.live(INTERVAL_S * np.arange(float(len(values))), values, confirms)
        steps = ("started", "promoted", "rejected", "rolled-back", "failed")
        return Lived(
            made.raised,
            frozenset(range(len(CHANGES))) - frozenset(first),
            np.stack(made.errors),
            made.pipeline.budget_per_week,
            {step: made.count(step) for step in steps},
            time.monotonic() - begun,
        )


def tables(seed: int, weeks: int, without: Lived, learning: Lived) -> list[Table]:
    """Acceptance 1."""
    faults = script(seed, weeks)
    title = f"{len(CHANGES) * MEMBERS} channels, {weeks} weeks, seed {seed}"
    plants = {"without": without, "with": learning}
    alarms, found = Table(f"False alarms: {title}"), Table(f"Faults found: {title}")
    again = Table(f"Recurrences of a confirmed incident that were found: {title}")
    errors = Table(f"Mean absolute error one reading ahead, second half: {title}")
    sums: dict[str, float] = {}
    for machine, change in enumerate(CHANGES):
        figures = _alarms(machine, [*faults["large"], *faults["small"]], plants)
        sums = {name: sums.get(name, 0.0) + figure for name, figure in figures.items()}
        alarms.add({"change": change, **figures})
        found.add({"change": change, **_found([machine], faults, plants)})
        again.add({"change": change, **_again(machine, faults["large"], plants)})
        errors.add({"change": change, **_errors(machine, faults, plants)})
    alarms.add({"change": "all", **sums})
    found.add({"change": "all", **_found(range(len(CHANGES)), faults, plants)})
    rounds = Table("What retraining did")
    for name, plant in plants.items():
        rounds.add({"plant": name, **plant.steps, "s": round(plant.took_s)})
    return [alarms, _by_week(weeks, faults, plants), found, again, errors, rounds]


def _alarms(machine: int, faults: Sequence[Fault], plants: dict[str, Lived]) -> dict[str, float]:
    without = plants["without"]
    free = quiet(faults, machine, len(without.errors))
    mine = slice(machine * MEMBERS, (machine + 1) * MEMBERS)
    figures = {
        "promised": float(free.sum()) / WEEK * MEMBERS * without.budget_per_week,
        "fixed limit": _beyond(without.errors[:, mine], free),
    }
    for name, plant in plants.items():
        own = [each for each in plant.raised if each.machine == machine]
        figures[name] = sum(not any(f.touches(each) for f in faults) for each in own)
    return figures


def _beyond(errors: Floats, free: np.ndarray) -> int:
    """Excursions beyond the largest error of the first week."""
    limit = np.nanmax(errors[:WEEK], axis=0)
    count = 0
    for column, most in zip(errors.T, limit, strict=True):
        at = np.flatnonzero((column > most) & free)
        count += int(at.size > 0) + int((np.diff(at) > _APART).sum())
    return count


def _by_week(weeks: int, faults: dict[str, list[Fault]], plants: dict[str, Lived]) -> Table:
    table = Table("False alarms of the whole plant, by week")
    everything = [fault for each in faults.values() for fault in each]
    rows = len(plants["without"].errors)
    free = np.stack([quiet(everything, machine, rows) for machine in range(len(CHANGES))])
    for week in range(weeks):
        share = free[:, week * WEEK : (week + 1) * WEEK].mean()
        budget = plants["without"].budget_per_week * MEMBERS * len(CHANGES)
        row: dict[str, Cell] = {"week": str(week + 1), "promised": float(share * budget)}
        for name, plant in plants.items():
            row[name] = sum(
                int(each.at_s // WEEK_S) == week and not any(f.touches(each) for f in everything)
                for each in plant.raised
            )
        table.add(row)
    return table


def _found(
    machines: Sequence[int], faults: dict[str, list[Fault]], plants: dict[str, Lived]
) -> dict[str, Cell]:
    row: dict[str, Cell] = {}
    for size, every in faults.items():
        mine = [fault for fault in every if fault.machine in machines]
        for name, plant in plants.items():
            delays = [fault.delay_s(plant.raised) for fault in mine]
            seen = [each / 60.0 for each in delays if each is not None]
            row[f"{size}, {name}"] = f"{len(seen)} of {len(mine)}"
            row[f"min, {name}" if size == "large" else f"min , {name}"] = (
                median(seen) if seen else None
            )
    return row


def _again(machine: int, large: Sequence[Fault], plants: dict[str, Lived]) -> dict[str, Cell]:
    """ "-" where nobody has confirmed anything, as the first was not found."""
    later = [fault for fault in large if fault.machine == machine][1:]
    row: dict[str, Cell] = {}
    for name, plant in plants.items():
        seen = sum(fault.delay_s(plant.raised) is not None for fault in later)
        row[name] = f"{seen} of {len(later)}" if machine in plant.confirmed else "-"
    return row


def _errors(
    machine: int, faults: dict[str, list[Fault]], plants: dict[str, Lived]
) -> dict[str, Cell]:
    everything = [fault for each in faults.values() for fault in each]
    mine = slice(machine * MEMBERS, (machine + 1) * MEMBERS)
    half = len(plants["without"].errors) // 2
    free = quiet(everything, machine, 2 * half)[half:]
    row: dict[str, Cell] = {
        name: float(np.nanmean(plant.errors[half : 2 * half, mine][free]))
        for name, plant in plants.items()
    }
    return row
