"""Skoltech Anomaly Benchmark: a pump rig with 8 sensors, one asset, a valve that is closed slowly.

The leaderboard's protocol: the first 400 rows of each file are free for learning, the others are
scored row by row, pooled over the files (`outliers.py`). A row is in alarm while an alert stands on
any channel of the asset. Each file is a rig of its own that the detector meets for the first time.

A sensor has *physically changed* if, told without any detector, within the labelled rows its median
lies more than 4 robust standard deviations (1.4826 times the median absolute deviation) from the
median of the normal rows before, or its robust spread is more than twice, or less than half, what
it was there. An experiment is *named* right where the first alert that was raised in the labelled
rows names such a sensor, and an experiment without an alert there is not.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from anomalyd.detection.reading import Flags, Floats
from anomalyd.settings import Stream
from tests.benchmarks.detection.events import runs
from tests.benchmarks.detection.judged import Detector, Judged, Promise
from tests.benchmarks.detection.outliers import outliers
from tests.benchmarks.detection.published import SKAB
from tests.benchmarks.detection.series import NoData, Series
from tests.benchmarks.detection.table import Cell, Table

FREE_ROWS = 400
_LABELS = ("anomaly", "changepoint")
_MOVED, _SPREAD = 4.0, 2.0
_TRIVIAL_FROM = 560
_PROMISES = {Promise.WEEK: ", 1 a week", Promise.READINGS: ", 1 in 10 000"}


@dataclass(frozen=True, slots=True)
class Rig:
    """The experiments, and the run without any fault."""

    experiments: Sequence[Series]
    free: Series | None


def load(folder: Path) -> Rig:
    """Raises NoData."""
    root = folder / "skab"
    root = root / "data" if (root / "data").is_dir() else root
    files = sorted(root.glob("*/*.csv"), key=lambda path: (path.parent.name, path.stem.zfill(4)))
    if not files:
        raise NoData(f"{root}: no */*.csv")
    series = [_read(path) for path in files]
    free = [each for each in series if each.name.startswith("anomaly-free")]
    return Rig([each for each in series if each not in free], free[0] if free else None)


def streams(model: Path | None = None) -> tuple[Stream, ...]:
    """Each file is an asset. `model`: one that `anomalyd train` made for this class of asset, of
    what `commissioning.py` writes."""
    return (Stream(topic="skab/{rig}/{sensor}", group_by=("rig",), model=model),)


def run(rig: Rig, detectors: Mapping[str, Detector], model: Path | None = None) -> list[Table]:
    """The leaderboard, and who was named."""
    series = rig.experiments
    board = Table(f"SKAB: {len(series)} files, rows from {FREE_ROWS} on")
    named = Table("SKAB, the sensor that an alert names")
    changed = [_changed(each) for each in series]
    for name, detector in detectors.items():
        for promise, told in _PROMISES.items():
            judged = detector(series, promise, streams(model))
            alarms = [_any(each.firing) for each in judged]
            if not any(each.alerts for each in judged):  # a rule without names and without promise
                board.add(_row(name, series, alarms))
                break
            scores = [_any(each.score >= 1.0) for each in judged]
            board.add(_row(f"{name}{told}, alert stands", series, alarms))
            board.add(_row(f"{name}{told}, score >= 1", series, scores))
            named.add(_named(f"{name}{told}", series, judged, changed))
    board.add(_row("all rows in alarm", series, [np.ones(len(each), np.bool_) for each in series]))
    late = [np.arange(len(each)) >= _TRIVIAL_FROM for each in series]
    board.add(_row(f"all rows from {_TRIVIAL_FROM}", series, late))
    for row in SKAB:
        board.add(row)
    share = float(np.mean([flags.mean() for flags in changed]))
    named.notes.append(f"of all sensors {share:.0%} changed: a name drawn by lot is right as often")
    return [board, named]


def _row(name: str, series: Sequence[Series], alarms: Sequence[Flags]) -> dict[str, Cell]:
    labels = [each.label[FREE_ROWS:] for each in series]
    found = outliers(labels, [alarm[FREE_ROWS:] for alarm in alarms])
    return {"detector": name, "F1": found.f1, "FAR %": found.far, "MAR %": found.mar}


def _any(flags: Flags) -> Flags:
    """(N,) any of the K channels."""
    return np.asarray(flags.any(axis=1))


def _named(
    name: str, series: Sequence[Series], judged: Sequence[Judged], changed: Sequence[Flags]
) -> dict[str, Cell]:
    first = some = alerted = 0
    for each, verdicts, flags in zip(series, judged, changed, strict=True):
        label = each.label & (np.arange(len(each)) >= FREE_ROWS)
        inside = [alert for alert in verdicts.alerts if label[alert.at]]
        right = [bool(flags[each.channels.index(alert.channel)]) for alert in inside]
        alerted += bool(inside)
        first += right[:1] == [True]
        some += any(right)
    return {
        "detector": name,
        "experiments": len(series),
        "with an alert": alerted,
        "first alert right": first,
        "share": first / len(series),
        "any alert right": some,
    }


def _changed(series: Series) -> Flags:
    """(K,) sensors that behave otherwise in the labelled rows than in the normal rows before."""
    spans = runs(series.label)
    if not len(spans):
        return np.zeros(len(series.channels), dtype=np.bool_)
    before = series.values[: spans[0, 0]]
    centre, spread = _robust(before)
    moved, wide = _robust(series.values[series.label])
    floor = 1e-9 + 1e-3 * np.abs(centre)
    spread = np.maximum(spread, floor)
    ratio = np.maximum(wide, floor) / spread
    far = np.abs(moved - centre) > _MOVED * spread
    return np.asarray(far | (ratio > _SPREAD) | (ratio < 1.0 / _SPREAD))


def _robust(values: Floats) -> tuple[Floats, Floats]:
    """(K,) median, and the standard deviation that the median absolute deviation stands for."""
    centre = np.median(values, axis=0)
    return centre, 1.4826 * np.median(np.abs(values - centre), axis=0)


def _read(path: Path) -> Series:
    with path.open(encoding="utf-8", newline="") as file:
        header, *cells = csv.reader(file, delimiter=";")
    sensors = [name for name in header[1:] if name not in _LABELS]
    name = f"{path.parent.name}-{path.stem}" if path.stem != path.parent.name else path.stem
    at = [header.index(sensor) for sensor in sensors]
    label = header.index("anomaly") if "anomaly" in header else None
    flags = np.array([label is not None and float(row[label]) > 0.0 for row in cells], np.bool_)
    times = [datetime.fromisoformat(row[0]).replace(tzinfo=UTC).timestamp() for row in cells]
    return Series(
        name,
        tuple(f"{name}/{sensor}" for sensor in sensors),
        np.array(times),
        np.array([[float(row[column]) for column in at] for row in cells]),
        tuple((int(first), int(last)) for first, last in runs(flags)),
    )
