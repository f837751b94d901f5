"""Payload bytes -> named values and a time. One small class a codec; `for_stream` picks one.

A codec changes nothing, knows no channels, and refuses what it can't read with `Refused`, whose
reason is counted. The intake calls it on the pipeline thread.
"""

from __future__ import annotations

from anomalyd.adapters.codec.json import EveryFieldCodec, FieldCodec
from anomalyd.adapters.codec.payload import Codec, Decoded, Refused
from anomalyd.adapters.codec.scalar import ScalarCodec

__all__ = ["Codec", "Decoded", "Refused", "for_stream"]


def for_stream(value: str, time: str | None) -> Codec:
    """The codec of a stream, from its `value` and `time` settings."""
    if value == "":
        return ScalarCodec()
    if value == "*":
        return EveryFieldCodec(time)
    return FieldCodec(value, time)
