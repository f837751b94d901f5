"""What an asset model may learn of SKAB: `python -m tests.benchmarks.detection.commissioning DATA
FOLDER` writes recordings for `anomalyd train`, the run without faults and the first 400 rows of
each file. The trained model goes into the benchmark with `--asset-model`.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from tests.benchmarks.detection import skab
from tests.benchmarks.detection.series import Series


def write(rig: skab.Rig, folder: Path) -> list[Path]:
    """A recording for each rig; its columns match the streams of `skab.streams`."""
    parts = [each.part(each.name, 0, skab.FREE_ROWS) for each in rig.experiments]
    return [_write(each, folder) for each in [*([rig.free] if rig.free else []), *parts]]


def _write(series: Series, folder: Path) -> Path:
    path = folder / f"{series.name}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["timestamp", *series.channels])
        rows = zip(series.times.tolist(), series.values.tolist(), strict=True)
        table.writerows([time_s, *values] for time_s, values in rows)
    return path


if __name__ == "__main__":
    data, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for path in write(skab.load(data), folder):
        print(path)
