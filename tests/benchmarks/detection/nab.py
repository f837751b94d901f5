"""Numenta Anomaly Benchmark: its own score in three profiles, and events at a false-alarm rate.

Each file is one channel that nobody has seen before, judged with the shipped budget of one false
alarm a week; the first 15 % of a file, 750 rows at most, don't count. The benchmark's score takes
s / (1 + s) of the score s, 0 while it can't be scored, and is told at the fixed threshold that the
package ships (s = 1) and at the one that is best for the whole corpus, the benchmark's own rule.
The score is read twice: as it is, row by row, and only where an alert is raised. An operator gets
the latter, and a product's figure is that one at its fixed threshold.

Event-wise: runs of rows in alarm are merged over gaps of 20 rows (`events.py`); once with the
threshold swept over the score, and once fixed, with the budget set to one false alarm in 10 000
readings.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from anomalyd.detection.reading import Floats
from tests.benchmarks.detection import windows
from tests.benchmarks.detection.events import best_at, tally, total
from tests.benchmarks.detection.judged import Detector, Judged, Promise
from tests.benchmarks.detection.published import EVENTS_NAB, NAB
from tests.benchmarks.detection.series import NoData, Series, univariate
from tests.benchmarks.detection.table import Cell, Table
from tests.benchmarks.detection.windows import PROFILES, probation

GAP = 20


def load(folder: Path) -> list[Series]:
    """The files of `folder` that have labels. Raises NoData."""
    root = folder / "nab"
    labels = root / "labels" / "combined_windows.json"
    if not labels.is_file():
        raise NoData(f"{labels}: no such file")
    files = root / "data" if (root / "data").is_dir() else root
    windows_of = json.loads(labels.read_text(encoding="utf-8"))
    series = [
        _read(files / name, name, spans)
        for name, spans in sorted(windows_of.items())
        if (files / name).is_file()
    ]
    if not series:
        raise NoData(f"{files}: none of the labelled files")
    return series


def run(series: Sequence[Series], detectors: Mapping[str, Detector]) -> list[Table]:
    """The score table and the event table."""
    size = f"{len(series)} files, {sum(map(len, series))} rows"
    profiles = Table(f"NAB score: {size}, {sum(len(each.events) for each in series)} windows")
    found = Table(f"NAB events: {size}; an alarm is a row with a score of 1 or more")
    for name, detector in detectors.items():
        judged = detector(series, Promise.WEEK)
        scores = [each.score[:, 0] for each in judged]
        onsets = [each.onset[:, 0] for each in judged]
        profiles.add(_profiles(f"{name}, alerts raised", series, onsets))
        profiles.add(_profiles(f"{name}, every row", series, scores))
        found.add(_events(name, series, judged, detector(series, Promise.READINGS)))
    for row in NAB:
        profiles.add(row)
    for row in EVENTS_NAB:
        found.add(row)
    profiles.notes.append("fixed: score 1; best: one threshold for the corpus, found on its labels")
    found.notes.append("recall <= 1: best threshold with at most 1 false alarm in 10 000 rows")
    found.notes.append("the others: fixed, with a promise of 1 in 10 000 readings")
    return [profiles, found]


def _profiles(name: str, series: Sequence[Series], scores: Sequence[Floats]) -> dict[str, Cell]:
    rows = windows.gather(series, [score / (1.0 + score) for score in scores])
    row: dict[str, Cell] = {"detector": name}
    for profile, weights in PROFILES.items():
        row[f"fixed {profile}"] = windows.fixed(rows, weights, 0.5)
    for profile, weights in PROFILES.items():
        row[f"best {profile}"], threshold = windows.best(rows, weights)
        if profile == "standard":
            at = threshold / (1.0 - threshold) if threshold < 1.0 else None
    return row | {"at score": at}


def _events(
    name: str, series: Sequence[Series], weekly: Sequence[Judged], promised: Sequence[Judged]
) -> dict[str, Cell]:
    skips = [probation(len(each)) for each in series]
    labels = [each.label[skip:] for each, skip in zip(series, skips, strict=True)]

    def after(columns: Sequence[Floats]) -> list[Floats]:
        return [column[skip:, 0] for column, skip in zip(columns, skips, strict=True)]

    swept = best_at(labels, after([each.score for each in weekly]), GAP, 1.0)
    raised = best_at(labels, after([each.onset for each in weekly]), GAP, 1.0)
    scores = after([each.score for each in promised])
    fixed = total(
        tally(label, score >= 1.0, GAP) for label, score in zip(labels, scores, strict=True)
    )
    return {
        "detector": name,
        "recall <= 1": swept.recall,
        "at raise <= 1": raised.recall,
        "fixed recall": fixed.recall,
        "precision": fixed.precision,
        "FA/10k": fixed.per_10k,
        "time in alarm": fixed.time_in_alarm,
    }


def _read(path: Path, name: str, spans: Sequence[tuple[str, str]]) -> Series:
    with path.open(encoding="utf-8", newline="") as file:
        cells = list(csv.reader(file))[1:]
    times = np.array([_time_s(stamp) for stamp, _ in cells])
    values = np.array([float(value) for _, value in cells])
    # A clock that was put back says some times twice: a window begins at the first.
    first_at = {time_s: index for index, time_s in reversed(list(enumerate(times.tolist())))}
    events = [(first_at[_time_s(first)], first_at[_time_s(last)]) for first, last in spans]
    return univariate(name, times, values, events)


def _time_s(stamp: str) -> float:
    return datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp()
