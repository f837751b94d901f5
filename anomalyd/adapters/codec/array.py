"""JSON with a list in it, `[]` in the path: readings, or values.

`[].value` is a list of readings, `data[].value` one below `data`, `[].*` every numeric field of
each; `values[]` is a list of values, with a list of times (`time = "ts[]"`), or with a start (`time
= "t0"`) and a `step` in the start's unit. What is typed is decoded by msgspec at once; only where
one reading is of another shape is it looked at one by one, so that it costs the others nothing.
"""

from __future__ import annotations

from functools import reduce
from operator import attrgetter
from typing import Any

import numpy as np

from anomalyd.adapters.codec.json import Fields, attributes, place, struct
from anomalyd.adapters.codec.payload import (
    MOST_FIELDS,
    Options,
    Refused,
    Series,
    Time,
    countable,
    parse_json,
)
from anomalyd.detection.timestamp import parse_text
from anomalyd.errors import ConfigError

_LONGEST_STEP = 1e18
_LATEST_START = 1e20


class ArrayCodec:
    """Many readings a message."""

    def __init__(self, options: Options) -> None:
        self._list, _, rest = options.value.partition("[]")
        self._value = rest.removeprefix(".")
        self._check(options, rest)
        self._options = options
        self._step = options.step
        self._each = self._inner(options.time) if options.time is not None else None
        self._shared = options.time if self._each is None else None
        """the time's path in each reading, or in the whole document"""
        quality = options.quality
        if quality is not None:
            inner = self._inner(quality.field)
            if not inner:
                raise ConfigError(f"quality = {quality.field!r} must lie in each reading")
            quality = quality._replace(field=inner)
        self._quality = quality
        self._fields = Fields(self._each, options.numbers, quality)
        self._typed = self._build() if options.plain and self._value != "*" else None

    def decode(self, payload: bytes, topic: str = "") -> Series:
        """Raises Refused: `size`, `empty`, `json`, `field`, `depth` or `time`."""
        if self._typed is not None:
            try:
                values, times = self._read_typed(payload)
            except Refused as refused:
                if refused.reason != "field":
                    raise
            else:
                countable(len(values))
                return Series([""] * len(values), values, self._times(times, len(values)))
        return self._one_by_one(parse_json(payload))

    # --- what the settings say --------------------------------------------------------------

    def _check(self, options: Options, rest: str) -> None:
        if "[]" in rest or (rest and not rest.startswith(".")):
            raise ConfigError(f"value = {options.value!r} can have one [] and then a dot")
        if options.step is not None and (self._value or options.time is None):
            raise ConfigError("step needs value = 'NAME[]' and time = the start's field")
        if not self._value and options.time is None:
            raise ConfigError(f"value = {options.value!r} needs a time: one moment has one value")

    def _inner(self, path: str) -> str | None:
        """A path inside each reading ("" = the list's own entries); None where it is outside."""
        if "[]" not in path:
            return None
        before, _, inner = path.partition("[]")
        if "[]" in inner or bool(self._value) != bool(inner):
            raise ConfigError(f"{path!r} doesn't fit value = {self._options_value()}")
        if self._value and before != self._list:
            raise ConfigError(f"{path!r} lies in another list than the value")
        return inner.removeprefix(".") if self._value else path.removesuffix("[]")

    def _options_value(self) -> str:
        return repr(f"{self._list}[]" + f".{self._value}" * bool(self._value))

    # --- all at once ------------------------------------------------------------------------

    def _build(self) -> Any:
        """The decoder's type, and how to find the list and the times in what it decodes."""
        whole: dict[str, Any] = {}
        item: Any = float
        if self._value:
            inner: dict[str, Any] = {}
            place(inner, self._value, float)
            if self._each is not None:
                place(inner, self._each, float | str)
                self._time_of = attrgetter(attributes(inner, self._each))
            self._value_of = attrgetter(attributes(inner, self._value))
            item = struct(inner)
        elif self._each is not None:
            place(whole, self._each, list[float | str])
        if self._shared is not None:
            place(whole, self._shared, float | str)
        if self._step is not None:
            place(whole, self._step, float)
        if not self._list:
            if whole:
                raise ConfigError("a list that is the whole payload has no field beside it")
            return list[item]
        place(whole, self._list, list[item])
        self._find = {
            path: attrgetter(attributes(whole, path))
            for path in (self._list, self._shared, self._step, None if self._value else self._each)
            if path is not None
        }
        return struct(whole)

    def _read_typed(self, payload: bytes) -> tuple[list[float], Any]:
        """Values, and their times or what makes them."""
        document = parse_json(payload, self._typed)
        found = self._find[self._list](document) if self._list else document
        if self._value:
            values = list(map(self._value_of, found))
            if self._each is not None:
                return values, list(map(self._time_of, found))
        else:
            values = found
            if self._each is not None:
                return values, self._find[self._each](document)
        start = self._find[self._shared](document) if self._shared else None
        if self._step is None:
            return values, [start] * len(values)
        return values, (start, self._find[self._step](document))

    def _times(self, said: Any, count: int) -> list[Time]:
        if isinstance(said, tuple):
            start, step = said
            return _grid(start, step, count)
        if len(said) != count:
            raise Refused("time", f"{len(said)} times for {count} values")
        times: list[Time] = said
        return times

    # --- one by one -------------------------------------------------------------------------

    def _one_by_one(self, document: Any) -> Series:
        items = _at(document, self._list)
        if not isinstance(items, list) or (self._shared and not isinstance(document, dict)):
            raise Refused("field", f"no list in {self._list!r}")
        countable(len(items))
        shared = _at(document, self._shared) if self._shared else None
        if self._shared and (isinstance(shared, bool) or not isinstance(shared, float | int | str)):
            raise Refused("field", f"no time in {self._shared!r}")
        if self._value:
            return self._of_objects(items, shared)
        return self._of_values(items, self._given_times(document, shared, len(items)))

    def _given_times(self, document: Any, shared: Any, count: int) -> list[Any]:
        if self._step is not None:
            return _grid(shared, _at(document, self._step), count)
        times = _at(document, self._each or "")
        if not isinstance(times, list):
            raise Refused("field", f"no list of times in {self._each!r}")
        return self._times(times, count)

    def _of_values(self, items: list[Any], given: list[Any]) -> Series:
        values, times = [], []
        refused: list[tuple[str, str]] = []
        for item, time in zip(items, given, strict=True):
            value = self._options.numbers.of(item)
            if value is None or not _is_time(time):
                refused.append(("", "field"))
            else:
                values.append(value)
                times.append(time)
        return Series([""] * len(values), values, times, refused=refused)

    def _of_objects(self, items: list[Any], shared: Time) -> Series:
        names: list[str] = []
        values: list[float] = []
        times: list[Time] = []
        refused: list[tuple[str, str]] = []
        distinct: set[str] = set()
        for item in items:
            try:
                fields, time = self._read(item)
            except Refused as error:
                refused.append(("", error.reason))
                continue
            distinct.update(name for name, _ in fields)
            if len(distinct) > MOST_FIELDS:
                raise Refused("size", f"more than {MOST_FIELDS} fields")
            for name, value in fields:
                names.append(name)
                values.append(value)
                times.append(shared if self._shared else time)
            countable(len(names))
        return Series(names, values, times, refused=refused)

    def _read(self, item: Any) -> tuple[tuple[tuple[str, float], ...], Time]:
        if not isinstance(item, dict):
            raise Refused("field", "a reading that is no object")
        if self._value == "*":
            return self._fields.of(item)
        if self._quality is not None:
            self._quality.check(_at(item, self._quality.field))
        value = self._options.numbers.of(_at(item, self._value))
        time = _at(item, self._each) if self._each is not None else None
        if value is None or not (self._each is None or _is_time(time)):
            raise Refused("field", "no value or no time")
        return (("", value),), time


def _at(holder: Any, path: str) -> Any:
    if not path:
        return holder
    return reduce(_inside, path.split("."), holder)


def _inside(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, dict) else None


def _is_time(time: Any) -> bool:
    return isinstance(time, float | int | str) and not isinstance(time, bool)


def _grid(start: Any, step: Any, count: int) -> list[Time]:
    """Times from `start` on, every `step` of its unit (seconds, where it is ISO 8601)."""
    at = parse_text(start) if isinstance(start, str) else start
    if isinstance(step, bool) or not isinstance(step, float | int) or not 0 < step < _LONGEST_STEP:
        raise Refused("time", "its step is no length of time")
    if not abs(at) < _LATEST_START:
        raise Refused("time", "its start can't be read")
    times: list[Time] = (float(at) + float(step) * np.arange(count)).tolist()
    return times
