"""`anomalyd simulate`: publishes the simulated plant, or a recording, to a broker.

`cli.py` calls `simulate` on the main thread; paho's thread does the network. It makes up nothing
but the plant and starts no daemon. The clock, the pause and the current time are arguments.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from anomalyd.adapters.recording import Recording
from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import Message, Publisher, payload
from anomalyd.errors import ConfigError, DataError

_CHUNK_STEPS = 20


@dataclass(frozen=True)
class Simulation:
    """What to publish, where, and how fast."""

    host: str
    port: int
    channels: int = 24
    rate: float = 1.0
    """Readings a second of each channel of the plant."""
    seconds: float | None = None
    """How long; None = until interrupted."""
    speed: float = 1.0
    """So many times faster: than `rate`, or than the recording was."""
    seed: int = 1
    prefix: str = "plant"
    """First levels of every topic; the channel's name follows."""
    qos: int = 0
    csv: Path | None = None
    """A recording to publish instead of the plant."""

    def __post_init__(self) -> None:
        if min(self.rate, self.speed, self.channels) <= 0:
            raise ConfigError("simulate: channels, rate and speed must be more than 0")


@dataclass(frozen=True)
class _Batch:
    due_s: float
    """After the first."""
    messages: list[Message]
    progress: float


def simulate(
    options: Simulation,
    now: float,
    console: Console,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Publish until the end or Ctrl-C; 0 if every reading went out, else 1.

    `now` is the current time in epoch seconds, for the plant's readings. One reading of the plant
    is one second after the one before, and none is ahead of the clock: a run of known length that
    is faster than that begins in the past, and one without end is stamped at the pace it is sent.
    A recording keeps its own times.
    """
    source = _Recorded(options) if options.csv else _Simulated(options, now)
    with Publisher(options.host, options.port, options.qos) as publisher:
        try:
            _publish(source, publisher, console, clock, pause)
        except KeyboardInterrupt:
            console.print("interrupted")
    return _close(publisher, console)


def _publish(
    source: _Recorded | _Simulated,
    publisher: Publisher,
    console: Console,
    clock: Callable[[], float],
    pause: Callable[[float], None],
) -> None:
    with _progress(console, known=source.total is not None) as progress:
        task = progress.add_task("publishing", total=source.total, readings=0)
        start = clock()
        for batch in source.batches():
            ahead = start + batch.due_s - clock()
            if ahead > 0:
                pause(ahead)
            publisher.send(batch.messages)
            progress.update(task, completed=batch.progress, readings=publisher.published)


class _Simulated:
    """The plant as batches: one step of all channels each."""

    def __init__(self, options: Simulation, now: float) -> None:
        self._options = options
        self._pace = options.rate * options.speed
        seconds = options.seconds
        self.total = None if seconds is None else math.ceil(seconds * self._pace)
        self._spacing_s = 1.0 if self.total and self._pace > 1 else 1 / self._pace
        behind = self.total * self._spacing_s - seconds if self.total and seconds else 0.0
        self._start = now - max(behind, 0.0)

    def batches(self) -> Iterator[_Batch]:
        plant = Plant(self._options.seed, self._options.channels)
        topics = [f"{self._options.prefix}/{name}" for name in plant.names]
        rows = (row for _ in itertools.count() for row in plant.run(_CHUNK_STEPS).tolist())
        for step, row in enumerate(itertools.islice(rows, self.total)):
            at = self._start + step * self._spacing_s
            messages = [
                (topic, payload(at, value)) for topic, value in zip(topics, row, strict=True)
            ]
            yield _Batch(step / self._pace, messages, step + 1)


class _Recorded:
    """A recording as batches: one row each, at the pace it was recorded with."""

    def __init__(self, options: Simulation) -> None:
        assert options.csv
        self._recording = Recording(options.csv)
        self._options = options
        self.total: float | None = self._recording.size

    def batches(self) -> Iterator[_Batch]:
        first: float | None = None
        for row in self._recording.rows():
            first = row.time if first is None else first
            messages = [
                (self._topic(channel), payload(row.time, value))
                for channel, value in row.readings
                if math.isfinite(value)
            ]
            yield _Batch((row.time - first) / self._options.speed, messages, row.done)

    def _topic(self, channel: str) -> str:
        if not channel or set(channel) & set("+#\0"):
            raise DataError(f"{self._recording.path}: {channel!r} can't be a topic")
        return f"{self._options.prefix}/{channel}"


def _progress(console: Console, known: bool) -> Progress:
    length = (BarColumn(), TimeRemainingColumn()) if known else ()
    text = TextColumn("{task.fields[readings]} readings")
    return Progress(
        TextColumn("{task.description}"),
        *length,
        text,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _close(publisher: Publisher, console: Console) -> int:
    lost = publisher.sent - publisher.published
    console.print(f"{publisher.published} readings published" + (f", {lost} lost" if lost else ""))
    return 1 if lost else 0
