"""What every codec returns, what it raises, and the bounds that all of them keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from anomalyd.errors import ConfigError

LARGEST_PAYLOAD = 256 * 1024
"""bytes; a reading is not that long"""
MOST_READINGS = 10_000
"""in one message"""
MOST_FIELDS = 256
"""named by one message: every one becomes a channel"""

Time = float | str | None
"""as written: seconds, milli-, micro- or nanoseconds since 1970, ISO 8601; None = on arrival"""


class Decoded(NamedTuple):
    """One payload of one time: its values by field ("" = the topic's own value)."""

    fields: tuple[tuple[str, float], ...]
    time: Time


class Series(NamedTuple):
    """One payload of many readings, as parallel sequences: entry i of each is reading i."""

    names: Sequence[str]
    """field of each reading ("" = the topic's own value)"""
    values: Sequence[float]
    times: Sequence[Time]
    units: Mapping[str, str] = {}
    """by field, where the payload says one"""
    refused: Sequence[tuple[str, str]] = ()
    """(field, reason) of readings that were left out; the others are good"""
    ages: Sequence[float] = ()
    """seconds to add to the arrival of each reading without a time; () = none"""
    dead: str = ""
    """place of the device that told its end, or of the node, with all devices"""
    ask: str = ""
    """topic of the node that should announce itself again"""


class Refused(Exception):
    """The payload can't be read. `reason` is a label of `anomalyd_rejected_total`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Codec(Protocol):
    """How one stream's payloads are read."""

    def decode(self, payload: bytes, topic: str = "") -> Decoded | Series:
        """Raises Refused, and nothing else, whatever the bytes are."""


class Numbers(NamedTuple):
    """What counts as a number beside numbers: named texts, and true and false."""

    texts: Mapping[str, float] = {}
    booleans: bool = False

    def of(self, value: Any) -> float | None:
        """None where it isn't one. Raises Refused where it is one that no float holds."""
        if isinstance(value, float):
            return value
        if isinstance(value, bool):
            mapped = self.texts.get("true" if value else "false")
            return float(value) if mapped is None and self.booleans else mapped
        if isinstance(value, int):
            try:
                return float(value)
            except OverflowError as error:
                raise Refused("json", "a number that no float holds") from error
        return self.texts.get(value) if isinstance(value, str) else None


class Quality(NamedTuple):
    """The field that says how good a reading is, and what it says of good ones."""

    field: str
    good: frozenset[str | float | bool]

    def check(self, said: Any) -> None:
        """Raises Refused where it isn't good."""
        if not (isinstance(said, str | float | int) and said in self.good):
            raise Refused("quality", f"its quality is {said!r:.40}")


class Options(NamedTuple):
    """What a stream's settings say of its payloads."""

    value: str
    time: str | None
    step: str | None = None
    numbers: Numbers = Numbers()
    quality: Quality | None = None

    @property
    def plain(self) -> bool:
        """Numbers are numbers, and all are good."""
        return self.quality is None and self.numbers == Numbers()

    def without(self, format: str, *keys: str) -> None:
        """Raises ConfigError where a key is set that `format` has no use for."""
        for key in keys:
            if getattr(self, key) not in ("value", None) or (key == "value" and self.value == ""):
                raise ConfigError(f"{key} has no meaning with format = {format!r}")


def parse_json(payload: bytes, type: Any = Any) -> Any:
    """The document. Raises Refused: `size`, `empty`, `json`, `field` or `depth`."""
    bounded(payload)
    try:
        return msgspec.json.decode(payload, type=type)
    except (msgspec.DecodeError, RecursionError, OverflowError, UnicodeDecodeError) as error:
        raise unreadable(payload, error) from error


def bounded(payload: bytes) -> None:
    """Raises Refused where it is too long."""
    if len(payload) > LARGEST_PAYLOAD:
        raise Refused("size", f"{len(payload)} bytes")


def countable(readings: int) -> None:
    """Raises Refused where they are too many."""
    if readings > MOST_READINGS:
        raise Refused("size", f"{readings} readings, at most {MOST_READINGS}")


def unreadable(payload: bytes, error: Exception) -> Refused:
    """What msgspec's error means."""
    if not payload.strip():
        return Refused("empty", "an empty payload")
    if isinstance(error, RecursionError):
        return Refused("depth", "nested too deeply")
    # msgspec's ValidationError is JSON of another shape; its parent is no JSON at all. A number
    # that no float holds is a ValidationError too, but it's the number that is wrong.
    if isinstance(error, msgspec.ValidationError) and "out of range" not in str(error):
        return Refused("field", str(error))
    return Refused("json", str(error))
