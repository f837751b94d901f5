"""ThingsBoard's telemetry: `{"temp": 1}`, `{"ts": ..., "values": {...}}`, a list of either, or a
gateway's `{"Device A": [...], "Device B": [...]}`, whose fields are `Device A.temp`.

The shapes are those of ThingsBoard's MQTT device and gateway API. Numbers in texts, which devices
send there, are numbers here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anomalyd.adapters.codec.json import numbers_in
from anomalyd.adapters.codec.payload import (
    MOST_FIELDS,
    Numbers,
    Options,
    Refused,
    Series,
    Time,
    countable,
    parse_json,
)


class ThingsBoardCodec:
    """Telemetry of a device, or of a gateway's devices."""

    def __init__(self, options: Options) -> None:
        options.without("thingsboard", "value", "time", "step", "quality")
        self._numbers = options.numbers

    def decode(self, payload: bytes, topic: str = "") -> Series:
        """Raises Refused: `size`, `empty`, `json`, `field` or `depth`."""
        names: list[str] = []
        values: list[float] = []
        times: list[Time] = []
        refused: list[tuple[str, str]] = []
        for device, said in _devices(parse_json(payload)):
            time, fields = _stamped(said)
            if not isinstance(fields, dict) or not _is_time(time):
                refused.append((device, "field"))
                countable(len(names) + len(refused))
                continue
            before = len(names)
            for name, value in _numeric(fields, device, self._numbers):
                names.append(name)
                values.append(value)
                times.append(time)
            if len(names) == before:
                refused.append((device, "field"))
            countable(len(names) + len(refused))
        if len(set(names)) > MOST_FIELDS:
            raise Refused("size", f"more than {MOST_FIELDS} fields")
        if not names:
            raise Refused("field", "no telemetry in it")
        return Series(names, values, times, refused=refused)


def _devices(document: Any) -> Iterator[tuple[str, Any]]:
    """(prefix of its fields, telemetry) of every device, one at a time."""
    if isinstance(document, list):
        yield from (("", said) for said in document)
        return
    if not isinstance(document, dict):
        raise Refused("field", "neither an object nor a list")
    # Only a gateway has a list below a name, and then below every name.
    if document and all(isinstance(said, list) for said in document.values()):
        yield from ((f"{name}.", each) for name, said in document.items() for each in said)
        return
    yield "", document


def _stamped(said: Any) -> tuple[Any, Any]:
    """(time, fields)"""
    if isinstance(said, dict) and "ts" in said and "values" in said:
        return said["ts"], said["values"]
    return None, said


def _numeric(fields: dict[str, Any], prefix: str, numbers: Numbers) -> Iterator[tuple[str, float]]:
    yield from numbers_in(fields, prefix, numbers)
    for name, value in fields.items():
        if isinstance(value, str) and value not in numbers.texts:
            try:
                yield prefix + name, float(value.replace("_", "x"))
            except ValueError:
                continue


def _is_time(time: Any) -> bool:
    return time is None or (isinstance(time, float | int) and not isinstance(time, bool))
