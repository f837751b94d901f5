"""An asset model learns from rows that are free for learning, and from no other."""

from pathlib import Path

import numpy as np

from anomalyd.adapters.recording import Recording
from tests.benchmarks.detection import commissioning
from tests.benchmarks.detection.series import Series
from tests.benchmarks.detection.skab import FREE_ROWS, Rig, load


def test_the_recordings_end_where_the_scored_rows_begin(tmp_path: Path) -> None:
    values = np.arange(1200.0).reshape(600, 2)
    times = 1.5e9 + np.arange(600.0)
    free, faulty = (
        Series(name, (f"{name}/flow", f"{name}/pressure"), times, values) for name in ("a", "b")
    )
    whole, part = commissioning.write(Rig([faulty], free), tmp_path)
    assert 600 == sum(1 for _ in Recording(whole).rows())
    rows = list(Recording(part).rows())
    assert FREE_ROWS == len(rows)
    last = 2.0 * FREE_ROWS
    assert [("b/flow", last - 2.0), ("b/pressure", last - 1.0)] == list(rows[-1].readings)


def test_files_are_read_as_their_publisher_writes_them(tmp_path: Path) -> None:
    for name, label in (("anomaly-free", ""), ("valve1", ";anomaly;changepoint")):
        folder = tmp_path / "skab" / name
        folder.mkdir(parents=True)
        rows = (f"2020-03-09 10:00:0{second};{second};7.5" for second in range(4))
        marks = ("0.0", "1.0", "1.0", "0.0")
        lines = [
            row + (f";{mark};0.0" if label else "") for row, mark in zip(rows, marks, strict=True)
        ]
        file = folder / ("anomaly-free.csv" if not label else "0.csv")
        file.write_text("\n".join([f"datetime;Flow Rate;Pressure{label}", *lines]) + "\n")
    rig = load(tmp_path)
    (experiment,) = rig.experiments
    assert rig.free is not None
    assert ((1, 2),) == experiment.events
    assert ("valve1-0/Flow Rate", "valve1-0/Pressure") == experiment.channels
    assert [[0.0, 7.5], [1.0, 7.5]] == experiment.values[:2].tolist()
    assert 1583748000.0 == experiment.times[0]
