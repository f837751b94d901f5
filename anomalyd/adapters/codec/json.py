"""JSON objects: one field named by a dotted path, or every numeric field.

msgspec decodes into a struct made for the path, so the other fields cost nothing; it refuses NaN,
Infinity and numbers that no float holds, which Python's own json accepts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from anomalyd.adapters.codec.payload import (
    LARGEST_PAYLOAD,
    MOST_FIELDS,
    Decoded,
    Numbers,
    Options,
    Quality,
    Refused,
    Time,
    bounded,
    parse_json,
    unreadable,
)
from anomalyd.errors import ConfigError

_DEEPEST = 8


class FieldCodec:
    """`{"ts": ..., "value": 21.5}`, or a dotted path such as `data.temperature`."""

    def __init__(self, options: Options) -> None:
        value, time = options.value, options.time
        wanted: dict[str, Any] = {}
        place(wanted, value, float)
        if time is not None:
            place(wanted, time, float | str)
        self._decode = msgspec.json.Decoder(struct(wanted)).decode
        self._value = attrgetter(attributes(wanted, value))
        self._time = attrgetter(attributes(wanted, time)) if time is not None else None

    def decode(self, payload: bytes, topic: str = "") -> Decoded:
        """Raises Refused: `size`, `empty`, `json`, `field` or `depth`."""
        if len(payload) > LARGEST_PAYLOAD:
            bounded(payload)
        try:
            found = self._decode(payload)
        except (msgspec.DecodeError, RecursionError, OverflowError, UnicodeDecodeError) as error:
            raise unreadable(payload, error) from error
        time = self._time(found) if self._time is not None else None
        return Decoded((("", self._value(found)),), time)


class JudgedFieldCodec:
    """A field that may be a text or a boolean, or comes with a quality."""

    def __init__(self, options: Options) -> None:
        wanted: dict[str, Any] = {}
        place(wanted, options.value, float | str | bool)
        if options.time is not None:
            place(wanted, options.time, float | str)
        if options.quality is not None:
            place(wanted, options.quality.field, float | str | bool | None)
        self._type = struct(wanted)
        self._value = attrgetter(attributes(wanted, options.value))
        self._time = attrgetter(attributes(wanted, options.time)) if options.time else None
        self._quality, self._numbers = options.quality, options.numbers
        if options.quality is not None:
            self._said = attrgetter(attributes(wanted, options.quality.field))

    def decode(self, payload: bytes, topic: str = "") -> Decoded:
        """Raises Refused: `size`, `empty`, `json`, `field`, `depth` or `quality`."""
        found = parse_json(payload, self._type)
        if self._quality is not None:
            self._quality.check(self._said(found))
        value = self._numbers.of(self._value(found))
        if value is None:
            raise Refused("field", f"{self._value(found)!r:.40} is no number")
        return Decoded((("", value),), self._time(found) if self._time is not None else None)


class EveryFieldCodec:
    """Every numeric field is a value, nested ones by their dotted path."""

    def __init__(self, options: Options) -> None:
        self._fields = Fields(options.time, options.numbers, options.quality)

    def decode(self, payload: bytes, topic: str = "") -> Decoded:
        """Raises Refused: `size`, `empty`, `json`, `field`, `depth` or `quality`."""
        return self._fields.of(parse_json(payload, dict[str, Any]))


class Fields(NamedTuple):
    """How the numeric fields of one object are told from its time and its quality."""

    time: str | None
    numbers: Numbers
    quality: Quality | None

    def of(self, found: dict[str, Any]) -> Decoded:
        """All of them, without the time and the quality, which are taken out of `found`."""
        time = self._take_time(found)
        if self.quality is not None:
            self.quality.check(_take(found, self.quality.field))
        fields = tuple(numbers_in(found, "", self.numbers))
        if not fields:
            raise Refused("field", "no numeric field")
        if len(fields) > MOST_FIELDS:
            raise Refused("size", f"{len(fields)} numeric fields, at most {MOST_FIELDS}")
        return Decoded(fields, time)

    def _take_time(self, found: dict[str, Any]) -> Time:
        if self.time is None:
            return None
        time = _take(found, self.time)
        if isinstance(time, bool) or not isinstance(time, int | float | str):
            raise Refused("field", f"no time in {self.time!r}")
        return time


def _take(found: dict[str, Any], path: str) -> Any:
    *parents, name = path.split(".")
    holder: Any = reduce(_inside, parents, found)
    return holder.pop(name, None) if isinstance(holder, dict) else None


def _inside(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, dict) else None


def numbers_in(
    found: dict[str, Any], prefix: str, numbers: Numbers, depth: int = 0
) -> Iterator[tuple[str, float]]:
    """(dotted path, value) of every field that is a number."""
    for name, value in found.items():
        if isinstance(value, dict) and depth < _DEEPEST:
            yield from numbers_in(value, f"{prefix}{name}.", numbers, depth + 1)
        elif (number := numbers.of(value)) is not None:
            yield prefix + name, number


def place(tree: dict[str, Any], path: str, leaf: Any) -> None:
    """Put the type `leaf` at `path`. Raises ConfigError where another path is in its way."""
    *parents, name = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{path!r} lies inside a field that is a value itself")
    if not name or name in tree:
        raise ConfigError(f"{path!r} can't be both value and time, or is no field's name")
    tree[name] = leaf


def struct(tree: dict[str, Any]) -> type[msgspec.Struct]:
    """A struct with a field f0, f1, ... for each name, whatever characters the name has."""
    fields = [
        (f"f{index}", struct(inner) if isinstance(inner, dict) else inner)
        for index, inner in enumerate(tree.values())
    ]
    names = {f"f{index}": name for index, name in enumerate(tree)}
    try:
        return msgspec.defstruct("Payload", fields, rename=names, gc=False)
    except ValueError as error:
        raise ConfigError(f"{'.'.join(tree)!r} can't be a field's name: {error}") from error


def attributes(tree: dict[str, Any], path: str) -> str:
    """The path as `struct` calls it."""
    found = []
    for name in path.split("."):
        found.append(f"f{list(tree).index(name)}")
        tree = tree[name] if isinstance(tree[name], dict) else {}
    return ".".join(found)
