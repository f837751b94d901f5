"""Mars Science Laboratory: events on the rover's telemetry, each channel unknown beforehand.

Of each channel only the telemetry value is used, not the commands. The detector runs over the
training part and then the test part in one go, at a reading a minute; only the test part counts.
Alarms are merged over gaps of 50 rows (`events.py`), and the threshold is the fixed one, with a
promise of one false alarm in 10 000 readings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalyd.detection.reading import Floats
from tests.benchmarks.detection.events import best_at, tally, total
from tests.benchmarks.detection.judged import Detector, Promise
from tests.benchmarks.detection.published import MSL
from tests.benchmarks.detection.series import NoData, Series, univariate
from tests.benchmarks.detection.table import Cell, Table

GAP = 50
INTERVAL_S = 60.0
_START_S = 1_700_000_000.0


@dataclass(frozen=True, slots=True)
class Mission:
    """The channels, and where the test part of each begins."""

    series: Sequence[Series]
    test_at: Sequence[int]


def load(folder: Path) -> Mission:
    """Raises NoData."""
    labels = folder / "msl" / "labels.json"
    if not labels.is_file():
        raise NoData(f"{labels}: no such file")
    series, test_at = [], []
    for name, label in sorted(json.loads(labels.read_text(encoding="utf-8")).items()):
        path = labels.parent / f"{name}.npz"
        if not path.is_file():
            continue
        with np.load(path) as arrays:
            parts = [arrays[part][:, 0].astype(np.float64) for part in ("train", "test")]
        first = parts[0].size
        values = np.concatenate(parts)
        spans = sorted((first + start, first + end) for start, end in label["anomalies"])
        events = [(start, min(end, values.size - 1)) for start, end in spans]
        series.append(univariate(f"msl/{name}", times(values.size), values, events))
        test_at.append(first)
    if not series:
        raise NoData(f"{labels.parent}: none of the labelled channels")
    return Mission(series, test_at)


def times(rows: int) -> Floats:
    """(rows,) a reading a minute."""
    return _START_S + INTERVAL_S * np.arange(rows, dtype=np.float64)


def run(mission: Mission, detectors: Mapping[str, Detector]) -> list[Table]:
    """One row for each way to read a detector's verdicts."""
    series = mission.series
    rows = sum(len(each) - at for each, at in zip(series, mission.test_at, strict=True))
    events = sum(len(each.events) for each in series)
    table = Table(f"MSL events: {len(series)} channels, {rows} test rows, {events} events")
    for name, detector in detectors.items():
        judged = detector(series, Promise.READINGS)
        table.add(_row(f"{name}, score >= 1", mission, [each.score for each in judged]))
        table.add(_row(f"{name}, alert raised", mission, [each.onset for each in judged]))
    for row in MSL:
        table.add(row)
    table.notes.append("recall <= 1: best threshold with at most 1 false alarm in 10 000 rows")
    return [table]


def _row(name: str, mission: Mission, judged: Sequence[Floats]) -> dict[str, Cell]:
    cuts = [slice(at, None) for at in mission.test_at]
    labels = [each.label[cut] for each, cut in zip(mission.series, cuts, strict=True)]
    scores = [score[cut, 0] for score, cut in zip(judged, cuts, strict=True)]
    fixed = total(
        tally(label, score >= 1.0, GAP) for label, score in zip(labels, scores, strict=True)
    )
    return {
        "detector": name,
        "recall": fixed.recall,
        "precision": fixed.precision,
        "FA/10k": fixed.per_10k,
        "time in alarm": fixed.time_in_alarm,
        "found": fixed.found,
        "false": fixed.false_alarms,
        "recall <= 1": best_at(labels, scores, GAP, 1.0).recall,
    }
