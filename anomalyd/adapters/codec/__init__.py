"""Payload bytes -> named values and times. One small class a codec; `for_stream` picks one.

A codec knows no channels, and refuses what it can't read with `Refused`, whose reason is counted.
All but Sparkplug's keep nothing between two payloads. The intake calls it on the pipeline thread.
"""

from __future__ import annotations

from collections.abc import Callable

from anomalyd.adapters.codec.array import ArrayCodec
from anomalyd.adapters.codec.influx import InfluxCodec
from anomalyd.adapters.codec.json import EveryFieldCodec, FieldCodec, JudgedFieldCodec
from anomalyd.adapters.codec.payload import (
    Codec,
    Decoded,
    Numbers,
    Options,
    Quality,
    Refused,
    Series,
)
from anomalyd.adapters.codec.scalar import ScalarCodec
from anomalyd.adapters.codec.senml import SenmlCodec
from anomalyd.adapters.codec.sparkplug import SparkplugCodec
from anomalyd.adapters.codec.thingsboard import ThingsBoardCodec

__all__ = [
    "FORMATS",
    "Codec",
    "Decoded",
    "Numbers",
    "Options",
    "Quality",
    "Refused",
    "Series",
    "for_stream",
]


def _by_value(options: Options) -> Codec:
    """`value` says it all."""
    if "[]" in options.value:
        return ArrayCodec(options)
    options.without("auto", "step")
    if options.value == "":
        return ScalarCodec(options.numbers)
    if options.value == "*":
        return EveryFieldCodec(options)
    return (FieldCodec if options.plain else JudgedFieldCodec)(options)


FORMATS: dict[str, Callable[[Options], Codec]] = {
    "auto": _by_value,
    "thingsboard": ThingsBoardCodec,
    "senml": SenmlCodec,
    "influx": InfluxCodec,
    "sparkplug": SparkplugCodec,
}


def for_stream(
    value: str,
    time: str | None,
    format: str = "auto",
    step: str | None = None,
    numbers: Numbers | None = None,
    quality: Quality | None = None,
) -> Codec:
    """The codec of a stream, from its settings. Raises ConfigError."""
    return FORMATS[format](Options(value, time, step, numbers or Numbers(), quality))
