"""SenML packs in JSON: RFC 8428, resolved as its section 4.6 says.

Base fields (`bn`, `bt`, `bu`, `bv`, `bs`) hold for their own record and all after it. A time below
2**28 is relative to now (section 4.5.3), so a record without one has the time of arrival. A
resolved name is the field; `n` and `bn` together must be the RFC's characters.
"""

from __future__ import annotations

import re
from typing import Any

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

_RELATIVE = 2.0**28
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*")
_VERSION = 10
_KNOWN = {"bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "vs", "vb", "vd", "s", "t", "ut"}


class SenmlCodec:
    """A pack of records; values, booleans where they are mapped, and sums (field `NAME.sum`)."""

    def __init__(self, options: Options) -> None:
        options.without("senml", "value", "time", "step", "quality")
        self._numbers = options.numbers

    def decode(self, payload: bytes, topic: str = "") -> Series:
        """Raises Refused: `size`, `empty`, `json`, `field` or `depth`."""
        records = parse_json(payload)
        if not isinstance(records, list) or not records:
            raise Refused("field", "no list of SenML records")
        countable(len(records))
        pack = _Pack(self._numbers)
        for record in records:
            pack.add(record)
        if len(set(pack.names)) > MOST_FIELDS:
            raise Refused("size", f"more than {MOST_FIELDS} names")
        if not pack.names and not pack.refused:
            raise Refused("field", "no value in it")
        return Series(pack.names, pack.values, pack.times, pack.units, pack.refused, pack.ages)


class _Pack:
    """What the records so far have said."""

    def __init__(self, numbers: Numbers) -> None:
        self.names: list[str] = []
        self.values: list[float] = []
        self.times: list[Time] = []
        self.ages: list[float] = []
        self.units: dict[str, str] = {}
        self.refused: list[tuple[str, str]] = []
        self._numbers = numbers
        self._name = self._unit = ""
        self._time = self._value = self._sum = 0.0
        self._based = False

    def add(self, record: Any) -> None:
        """Raises Refused where all that follows would be read wrongly."""
        if not isinstance(record, dict):
            raise Refused("field", "a record that is no object")
        version = record.get("bver", _VERSION)
        if not isinstance(version, int) or version > _VERSION:
            raise Refused("field", f"SenML version {version!r:.20}")
        self._name = _text(record, "bn", self._name)
        self._unit = _text(record, "bu", self._unit)
        self._time = _number(record, "bt", self._time)
        self._value = _number(record, "bv", self._value)
        self._based |= "bv" in record
        self._sum = _number(record, "bs", self._sum)
        name = self._name + _text(record, "n", "")
        # A name that ends in _ is a field that a receiver must understand (section 4.4).
        unknown = [key for key in record if key.endswith("_") and key not in _KNOWN]
        if unknown or not _NAME.fullmatch(name):
            self.refused.append((name, "field"))
            return
        try:
            self._take(record, name)
        except Refused as refused:
            self.refused.append((name, refused.reason))

    def _take(self, record: dict[str, Any], name: str) -> None:
        time = self._time + _number(record, "t", 0.0)
        unit = _text(record, "u", self._unit)
        if "v" in record or (not record.keys() & {"vs", "vb", "vd", "s"} and self._based):
            self._put(name, self._value + _number(record, "v", 0.0), time, unit)
        elif "vb" in record or "vs" in record:
            # A text without a number, and a boolean that isn't asked for, are no readings.
            value = self._numbers.of(record.get("vb", record.get("vs")))
            if value is not None:
                self._put(name, value, time, unit)
        if "s" in record:
            self._put(f"{name}.sum", self._sum + _number(record, "s", 0.0), time, "")

    def _put(self, name: str, value: float, time: float, unit: str) -> None:
        if unit:
            self.units[name] = unit
        self.names.append(name)
        self.values.append(value)
        relative = time < _RELATIVE
        self.times.append(None if relative else time)
        self.ages.append(time if relative else 0.0)


def _text(record: dict[str, Any], key: str, default: str) -> str:
    text = record.get(key, default)
    if not isinstance(text, str):
        raise Refused("field", f"{key} is no text")
    return text


def _number(record: dict[str, Any], key: str, default: float) -> float:
    said = record.get(key, default)
    number = None if isinstance(said, bool | str) else Numbers().of(said)
    if number is None:
        raise Refused("field", f"{key} is no number")
    return number
