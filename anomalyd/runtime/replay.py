"""`anomalyd replay`: the live pipeline over a file of readings, one row of verdict a reading.

The same `Pipeline.step` as in the daemon, fed in batches of a fixed size; the same file, settings
and version write the same bytes. Runs on the caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from anomalyd.adapters.recording import Recording
from anomalyd.detection.reading import KIND_NAMES, NOTHING, STATE_NAMES, Readings, Verdicts
from anomalyd.detection.silence import SHORTEST_SUSPECT_S
from anomalyd.errors import DataError
from anomalyd.runtime import registry
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.file_order import FileOrder, joined
from anomalyd.runtime.intake import Intake
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.streams import reorder_for
from anomalyd.settings import Settings

HEADER = "timestamp,channel,value,expected,lower,upper,score,state,kind"

_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Block:
    """A batch of readings with what was said of them."""

    stamps: list[str]
    """the times as the file has them"""
    channels: list[str]
    """names as the file has them"""
    verdicts: Verdicts
    alerts: list[Alert]
    done: int
    """of the recording's size"""


class Replay:
    """One run over one file."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        """`folder`: where relative model paths start. Raises ConfigError, ModelError."""
        served = registry.load(settings.streams, folder, settings.channels.max)
        self._pipeline = Pipeline(
            settings.instance,
            settings.channels,
            settings.alerts,
            settings.streams,
            served.predictors,
            served.assets,
            served.forecasters,
        )
        self._intake = Intake(settings.streams, self._pipeline, settings.channels.max_skew_s)
        self._reorder = reorder_for(settings.streams, self._pipeline.table, together=True)
        self._lines = FileOrder()
        self._rows: dict[str, int] = {}
        self._clock_s = -np.inf
        self._newest_s, self._longest_s = np.inf, 0.0

    def blocks(self, recording: Recording) -> Iterator[Block]:
        """Score the whole recording. Raises DataError."""
        stamps: list[str] = []
        channels: list[str] = []
        times: list[float] = []
        values: list[float] = []
        done = 0
        for row in recording.rows():
            for channel, value in row.readings:
                stamps.append(row.stamp)
                channels.append(channel)
                times.append(row.time)
                values.append(value)
            done = row.done
            if len(values) >= _BATCH:
                yield self._score(stamps, channels, times, values, done)
                stamps, channels, times, values = [], [], [], []
        if values:
            yield self._score(stamps, channels, times, values, done)
        if self._reorder is not None and len(self._reorder):
            ready, numbers = self._reorder.flush()
            verdicts, alerts = self._pass(ready)
            yield Block(*self._lines.known(numbers, verdicts), alerts, done)

    def _score(
        self,
        stamps: list[str],
        channels: list[str],
        times: list[float],
        values: list[float],
        done: int,
    ) -> Block:
        rows = np.array([self._row(channel) for channel in channels], dtype=np.intp)
        readings = Readings(rows, np.array(times), np.array(values))
        if self._reorder is None:
            verdicts, alerts = self._pass(readings)
            return Block(stamps, channels, verdicts, alerts, done)
        clock_s = np.maximum.accumulate(np.append(self._clock_s, readings.times))[1:]
        self._clock_s = float(clock_s[-1])
        ready, numbers = self._reorder.order(readings, clock_s)
        verdicts, alerts = self._pass(ready)
        self._lines.await_verdicts(stamps, channels)
        return Block(*self._lines.known(numbers, verdicts), alerts, done)

    def _pass(self, readings: Readings) -> tuple[Verdicts, list[Alert]]:
        """Score the readings, and let time pass with them: somebody may fall silent between."""
        verdicts = [Verdicts.blank(NOTHING)]
        alerts: list[Alert] = []
        begin = 0
        while begin < len(readings):
            away = np.abs(readings.times[begin:] - readings.times[begin]) >= SHORTEST_SUSPECT_S
            end = begin + int(away.argmax()) if away.any() else len(readings)
            alerts += self._let_pass(float(readings.times[begin]))
            outcome = self._pipeline.step(readings.take(np.arange(begin, end)))
            verdicts.append(outcome.verdicts)
            alerts += outcome.alerts
            self._newest_s = float(readings.times[end - 1])
            begin = end
        return joined(verdicts), alerts

    def _let_pass(self, now_s: float) -> Sequence[Alert]:
        """Until the next reading. Where the whole file is silent for longer than ever, nobody has
        listened, as while the daemon has no connection."""
        silent_s = now_s - self._newest_s
        if silent_s >= max(SHORTEST_SUSPECT_S, 4.0 * self._longest_s):
            self._pipeline.resume(now_s)
        self._longest_s = max(self._longest_s, silent_s)
        return self._pipeline.tick(now_s).alerts

    def _row(self, name: str) -> int:
        row = self._rows.get(name)
        if row is None:
            channel = self._intake.channel(name)
            row = self._pipeline.table.find(channel.name)
            if row is None:
                row = self._pipeline.add(channel)
            if row is None:
                capacity = self._pipeline.table.capacity
                raise DataError(f"{name} is one channel too many: channels.max is {capacity}")
            self._rows[name] = row
        return row


def write(block: Block, out: TextIO) -> None:
    """Append a block to a verdict file; the caller has written `HEADER`."""
    verdicts = block.verdicts
    figures = (
        verdicts.values,
        verdicts.expected,
        verdicts.lower,
        verdicts.upper,
        verdicts.score,
    )
    columns: list[Iterable[str]] = [map(_quoted, block.stamps), map(_quoted, block.channels)]
    columns += [map(_text, figure.tolist()) for figure in figures]
    columns += [
        (STATE_NAMES[code] for code in verdicts.state.tolist()),
        (KIND_NAMES[code] for code in verdicts.kind.tolist()),
    ]
    out.writelines(",".join(cells) + "\n" for cells in zip(*columns, strict=True))


def replay(
    settings: Settings,
    folder: Path,
    source: Path,
    out: Path,
    each: Callable[[Block], None],
) -> None:
    """Write the verdicts on `source` to `out`; `each` is shown every block (progress, report)."""
    run, recording = Replay(settings, folder), Recording(source)
    if out.exists() and source.exists() and out.samefile(source):
        raise DataError(f"{out}: is the input too, and would be overwritten")
    try:
        with out.open("w", encoding="utf-8", newline="") as file:
            file.write(HEADER + "\n")
            for block in run.blocks(recording):
                write(block, file)
                each(block)
    except OSError as error:
        raise DataError(f"{out}: {error.strerror}") from error


def _text(figure: float) -> str:
    return f"{figure:.10g}" if figure == figure else ""


def _quoted(name: str) -> str:
    """A text with a comma or a quote in it, as RFC 4180 wants it."""
    return '"' + name.replace('"', '""') + '"' if any(each in name for each in ',"\n') else name
