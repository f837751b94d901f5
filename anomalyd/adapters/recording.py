"""A file of recorded readings, row by row: CSV or Parquet, wide (`timestamp` and one column a
channel) or long (`timestamp,channel,value`).

`replay`, `train` and `simulate` read it on their own thread. A CSV file is never held in memory;
a row that can't be read is an error that names its line, not a guess. An empty cell is no reading.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from anomalyd.detection.timestamp import seconds
from anomalyd.errors import DataError

_LONG: Final = ["timestamp", "channel", "value"]


@dataclass(frozen=True, slots=True)
class Row:
    """What one line says: readings of one time."""

    stamp: str
    """The time as the file has it."""
    time: float
    """Seconds since 1970."""
    readings: Sequence[tuple[str, float]]
    """(channel, value); a value may be NaN or infinite where the file says so."""
    done: int
    """Of `Recording.size`, up to and with this line."""


class Recording:
    """A file of readings. Owns nothing but its path: each `rows()` reads it anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parquet = path.suffix == ".parquet"

    @property
    def size(self) -> int:
        """What `Row.done` counts up to: bytes of CSV, rows of Parquet."""
        if self._parquet:
            return int(self._open_parquet().metadata.num_rows)
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror}") from error

    def rows(self) -> Iterator[Row]:
        """Raises DataError naming the file and the line."""
        if self._parquet:
            yield from self._parquet_rows()
            return
        try:
            with self.path.open("rb") as file:
                yield from self._csv_rows(_Lines(file))
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror}") from error

    def _csv_rows(self, lines: _Lines) -> Iterator[Row]:
        table = csv.reader(lines)
        try:
            header = _header([cell.strip() for cell in next(table, [])])
            for cells in table:
                if cells:
                    readings = _readings(header, cells)
                    yield Row(cells[0], parse_time(cells[0]), readings, lines.bytes_read)
        except (ValueError, csv.Error) as error:
            raise DataError(f"{self.path}, line {max(table.line_num, 1)}: {error}") from error

    def _open_parquet(self) -> Any:
        try:
            from pyarrow import ArrowInvalid, parquet
        except ImportError as error:
            raise DataError(
                f"{self.path}: reading Parquet needs pyarrow; install it with "
                "pip install 'anomalyd[parquet]'"
            ) from error
        try:
            return parquet.ParquetFile(self.path)
        except (OSError, ArrowInvalid) as error:
            raise DataError(f"{self.path}: not a readable Parquet file ({error})") from error

    def _parquet_rows(self) -> Iterator[Row]:
        done, file = 0, self._open_parquet()
        try:
            for batch in file.iter_batches():
                header = _header(batch.schema.names)
                times, *others = batch.columns
                columns = (_microseconds(times), *others)
                for cells in zip(*(column.to_pylist() for column in columns), strict=True):
                    done += 1
                    stamp = _stamp(cells[0])
                    texts = [stamp, *("" if cell is None else str(cell) for cell in cells[1:])]
                    yield Row(stamp, parse_time(stamp), _readings(header, texts), done)
        except ValueError as error:
            raise DataError(f"{self.path}, row {done}: {error}") from error
        except OSError as error:
            raise DataError(f"{self.path}: damaged behind row {done} ({error})") from error


class _Lines:
    """The lines of a file as text, counting the bytes: a text file can't tell while iterated."""

    def __init__(self, file: BinaryIO) -> None:
        self.bytes_read = 0
        self._file = file

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self.bytes_read += len(line)
            yield line.decode("utf-8-sig" if self.bytes_read == len(line) else "utf-8")


def parse_time(text: str) -> float:
    """Seconds since 1970 of ISO 8601 (UTC where no zone is given) or of epoch s, ms, us or ns."""
    time_s = float(seconds([text], np.zeros(1))[0])
    if math.isnan(time_s):
        raise ValueError(f"{text!r} is not a time")
    return time_s


def _microseconds(times: Any) -> Any:
    """An Arrow column of times without its nanoseconds: neither Python's times nor seconds since
    1970 in 64 bits can tell them."""
    from pyarrow import timestamp, types

    if types.is_timestamp(times.type) and times.type.unit == "ns":
        return times.cast(timestamp("us", times.type.tz), safe=False)
    return times


def _stamp(cell: Any) -> str:
    return cell.isoformat() if isinstance(cell, datetime) else str(cell)


def _header(header: list[str]) -> list[str]:
    if header[:1] != ["timestamp"] or len(header) < 2:
        raise ValueError("must be column names: timestamp, then channels")
    return header


def _readings(header: list[str], cells: list[str]) -> list[tuple[str, float]]:
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} cells under {len(header)} column names")
    named = [(cells[1], cells[2])] if header == _LONG else zip(header[1:], cells[1:], strict=True)
    return [(name, float(cell)) for name, cell in named if cell.strip()]
