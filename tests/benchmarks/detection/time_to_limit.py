"""How good early warnings are: `python -m tests.benchmarks.detection.time_to_limit [--seed N]`.

Simulated heating, wear and filling go through the pipeline, as in the daemon. Of runs that reach
their limit: how many are warned of, how long before, and how often the process itself (without the
instrument's noise) reaches it within the interval that the warning states: nominally 80 %. Of runs
that never do: early warnings a channel and week, against the budget.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from anomalyd.detection.approach import WEEK_S
from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Floats, Readings
from anomalyd.runtime import registry
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Alerts, Channels, Stream
from tests.benchmarks.detection.approaches import LIMIT, PROCESSES, Process, Runs, simulate

_START_S = 1_700_000_000.0
_NOMINAL = 0.8
_BATCH = 50  # readings of every channel in a step


@dataclass(frozen=True)
class EarlyWarning:
    """An early warning, raised or updated; times in seconds since the run began."""

    run: int
    told_s: float
    earliest_s: float
    likely_s: float
    latest_s: float
    raised: bool


@dataclass(frozen=True)
class Approached:
    """Runs of one process that reached their limit."""

    runs: int
    warned: int
    premature: int
    """warnings from before the onset, most of them of something else"""
    lead_s: Floats
    """(warned,) from the first warning after the onset to the truth"""
    within: Floats
    """(warned,) whether the truth lay within that warning's interval"""
    early: float
    """share in which it came before the interval"""
    width: float
    """median of the interval's length, as a share of the lead"""
    all_lead_s: Floats
    """(warnings,) of all warnings after the onset, updates too"""
    all_within: Floats


@dataclass(frozen=True)
class Rested:
    """Runs of one process that never reach it."""

    weeks: float
    warnings: int
    warned_channels: int
    runs: int


def warnings(process: Process, runs: Runs) -> list[EarlyWarning]:
    """What the pipeline says of these runs, each fed until it reaches its limit."""
    count, length = runs.measured.shape
    streams = (Stream(topic="{run}", high=LIMIT),)
    channels = Channels(max=count)
    served = registry.load(streams, Path(), count)
    pipeline = Pipeline("bench", channels, Alerts(), streams, served.predictors, served.forecasters)
    for run in range(count):
        pipeline.add(Channel(str(run), {}, 0))
    told = []
    for first in range(0, length, _BATCH):
        at = np.arange(first, min(first + _BATCH, length))
        moments, rows = (each.ravel() for each in np.meshgrid(at, np.arange(count), indexing="ij"))
        going = moments < runs.crossing[rows]
        moments, rows = moments[going], rows[going]
        times = np.asarray(_START_S + moments * process.interval_s, dtype=np.float64)
        outcome = pipeline.step(Readings(rows, times, runs.measured[rows, moments]))
        told += [_warning(each) for each in outcome.alerts if _warns(each)]
    return told


def _warns(alert: Alert) -> bool:
    return alert.kind == "forecast" and alert.transition != "cleared"


def _warning(alert: Alert) -> EarlyWarning:
    assert alert.crosses_at is not None
    when = alert.crosses_at
    moments = (alert.updated_at, when.earliest, when.likely, when.latest)
    told, *interval = (datetime.fromisoformat(each).timestamp() - _START_S for each in moments)
    earliest, likely, latest = interval
    raised = alert.transition == "raised"
    return EarlyWarning(int(alert.channel), told, earliest, likely, latest, raised)


def approached(process: Process, runs: Runs) -> Approached:
    """Judge the warnings of runs that reach their limit."""
    told = warnings(process, runs)
    onset_s, truth_s = runs.onset * process.interval_s, runs.crossing * process.interval_s
    late = [each for each in told if each.told_s >= onset_s[each.run]]
    first: dict[int, EarlyWarning] = {}
    for each in late:
        if each.raised:
            first.setdefault(each.run, each)
    chosen = list(first.values())
    return Approached(
        runs=len(runs.measured),
        warned=len(chosen),
        premature=sum(each.raised for each in told) - sum(each.raised for each in late),
        lead_s=_lead(chosen, truth_s),
        within=_within(chosen, truth_s),
        early=float(np.mean([truth_s[each.run] < each.earliest_s for each in chosen])),
        width=float(
            np.median(
                [
                    (each.latest_s - each.earliest_s) / (truth_s[each.run] - each.told_s)
                    for each in chosen
                ]
            )
        ),
        all_lead_s=_lead(late, truth_s),
        all_within=_within(late, truth_s),
    )


def _lead(told: Sequence[EarlyWarning], truth_s: Floats) -> Floats:
    return np.array([truth_s[each.run] - each.told_s for each in told])


def _within(told: Sequence[EarlyWarning], truth_s: Floats) -> Floats:
    return np.array(
        [each.earliest_s <= truth_s[each.run] <= each.latest_s for each in told], dtype=float
    )


def rested(process: Process, runs: Runs) -> Rested:
    """Count the warnings of runs that never reach their limit."""
    raised = [each for each in warnings(process, runs) if each.raised]
    count, length = runs.measured.shape
    weeks = count * length * process.interval_s / WEEK_S
    return Rested(weeks, len(raised), len({each.run for each in raised}), count)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--runs", type=int, default=100, help="of each process; default 100")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(f"seed {options.seed}, {options.runs} runs of each; nominal coverage {_NOMINAL:.0%}\n")
    print(
        "process  warned  before onset  in interval  too early  width/lead  lead (median, 10-90 %)"
    )
    judged = {}
    for name, process in PROCESSES.items():
        found = approached(process, simulate(process, options.seed, options.runs, fails=True))
        judged[name] = found
        low, middle, high = np.quantile(found.lead_s, (0.1, 0.5, 0.9)) / 60.0
        print(
            f"{name:8} {found.warned:3d}/{found.runs:<3d} {found.premature:11d} "
            f"{found.within.mean():11.1%} {found.early:11.1%} {found.width:10.2f} "
            f"{middle:8.0f} min, {low:.0f}-{high:.0f}"
        )
    print("\nin interval, by lead time (shorter to longer third): first warnings | all")
    for name, found in judged.items():
        print(f"{name:8} {_thirds(found.lead_s, found.within)} | ", end="")
        print(f"{_thirds(found.all_lead_s, found.all_within)} of {found.all_within.size}")
    print("\nchannels that never get there: warnings a channel and week (budget 1)")
    for name, process in PROCESSES.items():
        calm = rested(process, simulate(process, options.seed, options.runs, fails=False))
        print(
            f"{name:8} {calm.warnings / calm.weeks:.3f}  ({calm.warnings} in {calm.weeks:.1f} "
            f"channel weeks, on {calm.warned_channels} of {calm.runs} channels)"
        )
    return 0


def _thirds(lead_s: Floats, within: Floats) -> str:
    order = np.argsort(lead_s)
    return "  ".join(f"{within[third].mean():6.1%}" for third in np.array_split(order, 3))


if __name__ == "__main__":
    sys.exit(main())
