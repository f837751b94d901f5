"""What `check --topic --payload` shows: what a payload becomes, channel by channel.

Called by `cli.py` on the main thread. It goes through the streams' own readers and codecs, so it
says what the daemon would; what is shown of a topic or a payload is printable.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from anomalyd.adapters.codec import Decoded, Refused, Series
from anomalyd.adapters.codec.payload import LARGEST_PAYLOAD
from anomalyd.adapters.topics import Match
from anomalyd.detection.reading import LARGEST_VALUE
from anomalyd.detection.timestamp import seconds
from anomalyd.errors import ConfigError
from anomalyd.runtime.streams import StreamReader, read_streams
from anomalyd.settings import Settings


class _Row(NamedTuple):
    channel: str
    labels: str = ""
    time: str = ""
    value: str = ""
    unit: str = ""
    refused: str = ""


def show(settings: Settings, topic: str, file: Path, now_s: float) -> int:
    """Print a row for each reading; status 0 where there is a good one, else 1.

    `file` may be `-`; `now_s`: seconds since 1970, the time of arrival. Raises ConfigError where no
    stream has the topic, or the file can't be read.
    """
    readers = read_streams(settings.streams)
    payload = _read(file)
    try:
        rows = list(_rows(readers, topic, payload, now_s, settings.channels.max_skew_s))
    except Refused as refused:
        rows = [_Row(topic, refused=f"{refused.reason}: {str(refused)[:200]}")]
    for line in _table([_Row(*map(_printable, row)) for row in rows]):
        sys.stdout.write(f"{line}\n")
    return 0 if any(not row.refused for row in rows) else 1


def _read(file: Path) -> bytes:
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(LARGEST_PAYLOAD + 1)
        with file.open("rb") as opened:
            return opened.read(LARGEST_PAYLOAD + 1)
    except OSError as error:
        raise ConfigError(f"--payload {file}: {error.strerror}") from error


def _rows(
    readers: Sequence[StreamReader], topic: str, payload: bytes, now_s: float, max_skew_s: float
) -> Iterator[_Row]:
    reader, match = _find(readers, topic)
    found = reader.codec.decode(payload, topic)
    series = _series(found) if isinstance(found, Decoded) else found
    ages = np.array(series.ages or [0.0] * len(series.names))
    times = seconds(series.times, now_s + ages)
    for name, value, time_s in zip(series.names, series.values, times.tolist(), strict=True):
        yield _row(
            reader, match, series.units.get(name, ""), (name, value, time_s), now_s + max_skew_s
        )
    for name, reason in series.refused:
        yield _Row(f"{match.channel}/{name}" if name else match.channel, refused=reason)
    if series.dead:
        yield _Row(match.channel, refused="a death: its channels are stale")
    elif not series.names and not series.refused:
        yield _Row(match.channel, refused="no reading in it")


def _find(readers: Sequence[StreamReader], topic: str) -> tuple[StreamReader, Match]:
    for reader in readers:
        match = reader.match(topic)
        if match is not None:
            return reader, match
    raise ConfigError(f"--topic {topic!r:.200}: no stream has this topic")


def _series(found: Decoded) -> Series:
    names, values = zip(*found.fields, strict=True)
    return Series(names, values, [found.time] * len(names))


def _row(
    reader: StreamReader,
    match: Match,
    unit: str,
    reading: tuple[str, float, float],
    latest_s: float,
) -> _Row:
    name, value, time_s = reading
    try:
        channel = reader.channel(match, name, unit)
    except Refused as refused:
        return _Row(f"{match.channel}/{name[:60]}", refused=f"{refused.reason}: {refused}")
    reason = ""
    if not np.isfinite(time_s):
        reason = "time: it can't be read"
    elif time_s > latest_s:
        reason = "future: later than channels.max_skew_s allows"
    elif not abs(value) <= LARGEST_VALUE:
        reason = "value: not finite"
    labels = " ".join(f"{key}={said}" for key, said in channel.labels.items())
    return _Row(channel.name, labels, _moment(time_s), f"{value:.10g}", channel.unit, reason)


def _moment(time_s: float) -> str:
    try:
        moment = datetime.fromtimestamp(time_s, UTC)
    except (OverflowError, OSError, ValueError):
        return "?"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _printable(text: str) -> str:
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _table(rows: Sequence[_Row]) -> Iterator[str]:
    lines = [_Row(*_Row._fields), *rows]
    kept = [index for index in range(len(_Row._fields)) if any(row[index] for row in rows)]
    widths = {index: max(len(line[index]) for line in lines) for index in kept}
    for line in lines:
        yield "  ".join(line[index].ljust(widths[index]) for index in kept).rstrip()
