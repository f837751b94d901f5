"""A recording's rules: wide or long, any usual time, and an error that names the line."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from anomalyd.adapters.recording import Recording, parse_time
from anomalyd.errors import DataError

T = 1_700_000_000


def write(directory: Path, text: str) -> Recording:
    path = directory / "recorded.csv"
    path.write_text(text, encoding="utf-8")
    return Recording(path)


def test_wide(tmp_path: Path) -> None:
    recording = write(tmp_path, f"timestamp,l/a/x,l/a/y\n{T},1.5,2\n{T + 1},,3\n")
    rows = list(recording.rows())
    assert [row.time for row in rows] == [T, T + 1]
    assert [list(row.readings) for row in rows] == [
        [("l/a/x", 1.5), ("l/a/y", 2.0)],
        [("l/a/y", 3.0)],
    ]
    assert rows[-1].done == recording.size


def test_long(tmp_path: Path) -> None:
    recording = write(tmp_path, f"timestamp,channel,value\n{T},l/a/x,1.5\n{T},l/a/y,2\n")
    rows = [list(row.readings) for row in recording.rows()]
    assert rows == [[("l/a/x", 1.5)], [("l/a/y", 2.0)]]


@pytest.mark.parametrize(
    "text",
    [
        "1700000000.25",
        "1700000000250",
        "1700000000250000",
        "1700000000250000000",
        "2023-11-14T22:13:20.250Z",
        "2023-11-14 22:13:20.250",
        "2023-11-14T23:13:20.250+01:00",
    ],
)
def test_times(text: str) -> None:
    assert parse_time(text) == pytest.approx(1_700_000_000.25, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: must be column names"),
        ("time,a\n1,2\n", "line 1: must be column names"),
        (f"timestamp,a\n{T},2\nyesterday,3\n", "line 3: 'yesterday' is not a time"),
        ("timestamp,a\nnan,3\n", "line 2: 'nan' is not a time"),
        (f"timestamp,a\n{T},high\n", "line 2: could not convert string to float: 'high'"),
        (f"timestamp,a\n{T},2,3\n", "line 2: 3 cells under 2 column names"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(write(tmp_path, text).rows())


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    recording = write(tmp_path, f"timestamp,a\n{T},2\n")
    recording.path.write_bytes(recording.path.read_bytes() + b"2,\xff\n")
    with pytest.raises(DataError, match=r"line 2: 'utf-8' codec"):
        list(recording.rows())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"none\.csv: No such file"):
        list(recording.rows())
    with pytest.raises(DataError, match=r"none\.csv: No such file"):
        _ = recording.size


def parquet(directory: Path, columns: dict[str, Any]) -> Recording:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = directory / "recorded.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    return Recording(path)


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    """Wide and long; a missing value is no reading."""
    times = [str(T), str(T + 1)]
    wide = parquet(tmp_path, {"timestamp": times, "l/a/x": [1.5, None], "l/a/y": [2.0, 3.0]})
    assert 2 == wide.size
    found = [(row.stamp, row.time, list(row.readings), row.done) for row in wide.rows()]
    text = f"timestamp,l/a/x,l/a/y\n{T},1.5,2\n{T + 1},,3\n"
    same = write(tmp_path, text).rows()
    assert found == [
        (row.stamp, row.time, list(row.readings), done) for done, row in enumerate(same, 1)
    ]
    long = parquet(tmp_path, {"timestamp": times, "channel": ["x", "y"], "value": [1.5, 2.0]})
    assert [[("x", 1.5)], [("y", 2.0)]] == [list(row.readings) for row in long.rows()]


@pytest.mark.parametrize(
    "time", [datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC), 1_700_000_000.25, 1_700_000_000_250]
)
def test_parquet_times(tmp_path: Path, time: Any) -> None:
    """Timestamps of Parquet's own, seconds and milliseconds."""
    rows = list(parquet(tmp_path, {"timestamp": [time], "x": [1.0]}).rows())
    assert [1_700_000_000.25] == [row.time for row in rows]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_parquet_nanoseconds(tmp_path: Path, zone: str | None) -> None:
    """What pandas and the historians write; finer than a microsecond is finer than can be told."""
    pyarrow = pytest.importorskip("pyarrow")
    times = pyarrow.array([1_700_000_000_250_000_001], pyarrow.timestamp("ns", zone))
    (row,) = parquet(tmp_path, {"timestamp": times, "x": [1.0]}).rows()
    assert 1_700_000_000.25 == row.time == parse_time(row.stamp)


def test_a_parquet_row_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    recording = parquet(tmp_path, {"timestamp": [str(T), "yesterday"], "x": [1.0, 2.0]})
    with pytest.raises(DataError, match="row 2: 'yesterday' is not a time"):
        list(recording.rows())


def test_parquet_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recorded.parquet"
    path.write_text("timestamp,x\n")
    with pytest.raises(DataError, match=r"recorded\.parquet: not a readable Parquet file"):
        list(Recording(path).rows())


def test_parquet_with_a_damaged_page_is_named(tmp_path: Path) -> None:
    """What begins well and breaks in the middle is still this file's error, on one line."""
    recording = parquet(tmp_path, {"timestamp": list(range(T, T + 500)), "x": list(range(500))})
    damaged = bytearray(recording.path.read_bytes())
    damaged[100:2000] = bytes(1900)
    recording.path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"recorded\.parquet") as error:
        list(recording.rows())
    assert "\n" not in str(error.value)
