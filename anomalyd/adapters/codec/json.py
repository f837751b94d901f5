"""JSON objects: one field named by a dotted path, or every numeric field.

msgspec decodes into a struct made for the path, so the other fields cost nothing; it refuses NaN,
Infinity and numbers that no float holds, which Python's own json accepts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import attrgetter
from typing import Any

import msgspec

from anomalyd.adapters.codec.payload import LARGEST_PAYLOAD, Decoded, Refused
from anomalyd.errors import ConfigError

_MOST_FIELDS = 256
_DEEPEST = 8


class FieldCodec:
    """`{"ts": ..., "value": 21.5}`, or a dotted path such as `data.temperature`."""

    def __init__(self, value: str, time: str | None) -> None:
        wanted: dict[str, Any] = {}
        _place(wanted, value, float)
        if time is not None:
            _place(wanted, time, float | str)
        self._decoder = msgspec.json.Decoder(_struct(wanted))
        self._value = attrgetter(_attributes(wanted, value))
        self._time = attrgetter(_attributes(wanted, time)) if time is not None else None

    def decode(self, payload: bytes) -> Decoded:
        """Raises Refused: `size`, `empty`, `json`, `field` or `depth`."""
        if len(payload) > LARGEST_PAYLOAD:
            raise _too_large(payload)
        try:
            found = self._decoder.decode(payload)
        except (msgspec.DecodeError, RecursionError, OverflowError, UnicodeDecodeError) as error:
            raise _refused(payload, error) from error
        time = self._time(found) if self._time is not None else None
        return Decoded((("", self._value(found)),), time)


class EveryFieldCodec:
    """Every numeric field is a value, nested ones by their dotted path; booleans aren't."""

    def __init__(self, time: str | None) -> None:
        self._time = time.split(".") if time is not None else None

    def decode(self, payload: bytes) -> Decoded:
        """Raises Refused: `size`, `empty`, `json`, `field` or `depth`."""
        if len(payload) > LARGEST_PAYLOAD:
            raise _too_large(payload)
        try:
            found = msgspec.json.decode(payload, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError, OverflowError, UnicodeDecodeError) as error:
            raise _refused(payload, error) from error
        time = self._take_time(found)
        fields = tuple(_numbers(found, "", 0))
        if not fields:
            raise Refused("field", "no numeric field")
        if len(fields) > _MOST_FIELDS:
            raise Refused("size", f"{len(fields)} numeric fields, at most {_MOST_FIELDS}")
        return Decoded(fields, time)

    def _take_time(self, found: dict[str, Any]) -> float | str | None:
        if self._time is None:
            return None
        holder: Any = reduce(_inside, self._time[:-1], found)
        time = holder.pop(self._time[-1], None) if isinstance(holder, dict) else None
        if isinstance(time, bool) or not isinstance(time, int | float | str):
            raise Refused("field", f"no time in {'.'.join(self._time)!r}")
        return time


def _inside(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, dict) else None


def _numbers(found: dict[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, float]]:
    for name, value in found.items():
        if isinstance(value, dict) and depth < _DEEPEST:
            yield from _numbers(value, f"{prefix}{name}.", depth + 1)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            try:
                yield prefix + name, float(value)
            except OverflowError as error:
                raise Refused("json", f"{prefix}{name} is no number that a float holds") from error


def _place(tree: dict[str, Any], path: str, leaf: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{path!r} lies inside a field that is a value itself")
    if not name or name in tree:
        raise ConfigError(f"{path!r} can't be both value and time, or is no field's name")
    tree[name] = leaf


def _struct(tree: dict[str, Any]) -> type[msgspec.Struct]:
    """A struct with a field f0, f1, ... for each name, whatever characters the name has."""
    fields = [
        (f"f{index}", _struct(inner) if isinstance(inner, dict) else inner)
        for index, inner in enumerate(tree.values())
    ]
    names = {f"f{index}": name for index, name in enumerate(tree)}
    try:
        return msgspec.defstruct("Payload", fields, rename=names, gc=False)
    except ValueError as error:
        raise ConfigError(f"{'.'.join(tree)!r} can't be a field's name: {error}") from error


def _attributes(tree: dict[str, Any], path: str) -> str:
    attributes = []
    for name in path.split("."):
        attributes.append(f"f{list(tree).index(name)}")
        tree = tree[name] if isinstance(tree[name], dict) else {}
    return ".".join(attributes)


def _too_large(payload: bytes) -> Refused:
    return Refused("size", f"{len(payload)} bytes")


def _refused(payload: bytes, error: Exception) -> Refused:
    if not payload.strip():
        return Refused("empty", "an empty payload")
    if isinstance(error, RecursionError):
        return Refused("depth", "nested too deeply")
    # msgspec's ValidationError is JSON of another shape; its parent is no JSON at all. A number
    # that no float holds is a ValidationError too, but it's the number that is wrong.
    if isinstance(error, msgspec.ValidationError) and "out of range" not in str(error):
        return Refused("field", str(error))
    return Refused("json", str(error))
