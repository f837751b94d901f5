"""InfluxDB's line protocol: `pump,line=1 flow=2.5,rpm=1450i 1700000000000000000`, a point a line.

The field is the measurement, the tags' values in the order of their keys, and the field's key, with
dots between: `pump.1.flow`. As InfluxDB reads it: escapes with a backslash, floats, `12i` and
`12u`, booleans where they are asked for, quoted texts only where they are mapped. Timestamps are
taken for s, ms, us or ns by their size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from anomalyd.adapters.codec.payload import (
    MOST_FIELDS,
    Options,
    Refused,
    Series,
    Time,
    bounded,
    countable,
)

# Every alternative begins with another character, and none gives back: no text is tried twice.
_KEY = r"(?:[^\\,= \n]|\\.)++"
_POINT = re.compile(
    rf"(?P<measurement>(?:[^\\, \n]|\\.)++)(?P<tags>(?:,{_KEY}={_KEY})*+) +"
    r'(?P<fields>(?:[^" \\]|\\.|"(?:[^"\\]|\\.)*+")++)(?: +(?P<time>-?[0-9]{1,19}))? *',
    re.DOTALL,
)
_TAG = re.compile(rf",({_KEY})=({_KEY})", re.DOTALL)
_FIELD = re.compile(rf'({_KEY})=("(?:[^"\\]|\\.)*+"|[^,"]*+)(?:,|$)', re.DOTALL)
_LINE = re.compile(r'(?:[^"\n\\]|\\.|"(?:[^"\\]|\\.)*+"|["\\])++', re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?")
_WHOLE = re.compile(r"(-?[0-9]{1,20})[iu]")
_ESCAPED = re.compile(r"\\([,= ])")
_BOOLEANS = dict.fromkeys(("t", "T", "true", "True", "TRUE"), True) | dict.fromkeys(
    ("f", "F", "false", "False", "FALSE"), False
)


class InfluxCodec:
    """Lines of points."""

    def __init__(self, options: Options) -> None:
        options.without("influx", "value", "time", "step", "quality")
        self._numbers = options.numbers

    def decode(self, payload: bytes, topic: str = "") -> Series:
        """Raises Refused: `size`, `empty`, `line` (nothing in it can be read)."""
        bounded(payload)
        try:
            text = payload.decode()
        except UnicodeDecodeError as error:
            raise Refused("line", "not UTF-8") from error
        if not text.strip():
            raise Refused("empty", "an empty payload")
        series = self._read(text)
        if not series.names and not series.refused:
            raise Refused("line", "no numeric field")
        if len(set(series.names)) > MOST_FIELDS:
            raise Refused("size", f"more than {MOST_FIELDS} fields")
        return series

    def _read(self, text: str) -> Series:
        names: list[str] = []
        values: list[float] = []
        times: list[Time] = []
        refused: list[tuple[str, str]] = []
        for line in _lines(text):
            point = _POINT.fullmatch(line)
            if point is None:
                refused.append((line[:40], "line"))
                countable(len(names) + len(refused))
                continue
            prefix = _prefix(point["measurement"], point["tags"])
            time = float(point["time"]) if point["time"] else None
            for key, written in _fields(point["fields"]):
                value = self._number(written)
                if value is None:
                    refused += [(prefix + key, "line")] * (not _is_other(written))
                    countable(len(names) + len(refused))
                    continue
                names.append(prefix + key)
                values.append(value)
                times.append(time)
            countable(len(names) + len(refused))
        return Series(names, values, times, refused=refused)

    def _number(self, written: str) -> float | None:
        whole = _WHOLE.fullmatch(written)
        if whole:
            return float(whole[1])
        if _NUMBER.fullmatch(written):
            return float(written)
        if written in _BOOLEANS:
            return self._numbers.of(_BOOLEANS[written])
        if written[:1] != '"':
            return None
        return self._numbers.of(re.sub(r'\\(["\\])', r"\1", written[1:-1]))


def _lines(text: str) -> Iterator[str]:
    """A quoted text may have a line end in it."""
    for line in _LINE.finditer(text):
        if line[0].strip() and not line[0].lstrip().startswith("#"):
            yield line[0].strip("\r\t ")


def _prefix(measurement: str, tags: str) -> str:
    pairs = sorted(_TAG.findall(tags))
    return "".join(f"{_plain(each)}." for each in (measurement, *(value for _, value in pairs)))


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """(key, value as written); a part that is no field has an empty key."""
    at = 0
    while at < len(text):
        field = _FIELD.match(text, at)
        if field is None:
            yield "", ""
            return
        yield _plain(field[1]), field[2]
        at = field.end()


def _plain(escaped: str) -> str:
    return _ESCAPED.sub(r"\1", escaped)


def _is_other(written: str) -> bool:
    """A text, or a boolean that isn't asked for: no reading, and nothing wrong."""
    return written[:1] == '"' or written in _BOOLEANS
