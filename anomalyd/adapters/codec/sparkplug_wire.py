"""Sparkplug B's protobuf payload: what of it readings need, decoded; and the request for a rebirth.

Field numbers are those of the Sparkplug 3.0 specification, section 6.4, the wire format that of
protocol buffers: a known field of another wire type is skipped as an unknown one is, the last of
several holds, groups are refused. Data sets, templates and metadata are skipped unread, so nothing
nests deeper than a metric's properties.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from anomalyd.adapters.codec.payload import MOST_READINGS, Refused

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DOUBLE, _FLOAT = struct.Struct("<d").unpack_from, struct.Struct("<f").unpack_from
_MASK = (1 << 64) - 1
_MOST_PROPERTIES = 64

INT_VALUE, LONG_VALUE, FLOAT_VALUE, DOUBLE_VALUE, BOOLEAN_VALUE, STRING_VALUE = range(10, 16)
"""field numbers of a metric's value"""

_REBIRTH = b"\x0a\x14Node Control/Rebirth\x20\x0b\x70\x01"
"""a metric: name, datatype 11 (Boolean), boolean_value true"""


class Metric(NamedTuple):
    """One metric as it was sent; what is None wasn't."""

    name: str | None
    alias: int | None
    time_ms: int | None
    datatype: int | None
    is_null: bool
    kind: int
    """field number of the value; 0 = none, or none that can be a reading"""
    value: float | str
    properties: bytes


class Payload(NamedTuple):
    """One message."""

    time_ms: int | None
    metrics: list[Metric]


def read(data: bytes) -> Payload:
    """Raises Refused: `protobuf`, or `size` where there are too many metrics."""
    try:
        return _payload(data)
    except (IndexError, struct.error) as error:
        raise Refused("protobuf", "cut short") from error


def properties(data: bytes) -> dict[str, float | str | bool]:
    """A metric's properties, the first of them, that are numbers, booleans or texts."""
    try:
        return _properties(data)
    except (IndexError, struct.error) as error:
        raise Refused("protobuf", "cut short") from error


def rebirth(now_ms: int) -> bytes:
    """The command that makes a node announce itself again."""
    return b"\x08" + _to_varint(now_ms) + b"\x12" + bytes([len(_REBIRTH)]) + _REBIRTH


def _payload(data: bytes) -> Payload:
    time_ms, at, size = None, 0, len(data)
    metrics: list[Metric] = []
    while at < size:
        key, at = u32(data, at)
        if key == 0x12:
            length, at = u32(data, at)
            if len(metrics) >= MOST_READINGS:
                raise Refused("size", f"more than {MOST_READINGS} metrics")
            metrics.append(_metric(data, at, at + length))
            at += length
        elif key == 0x08:
            time_ms, at = _varint(data, at)
        else:
            at = skip(data, at, key)
    _ends(at, size)
    return Payload(time_ms, metrics)


def _metric(data: bytes, at: int, end: int) -> Metric:
    """One long chain, the usual first: this is run for every reading."""
    _ends(max(at, end), len(data), exactly=False)
    name = alias = time_ms = datatype = None
    is_null, kind, value, props = False, 0, 0.0, b""
    text: str | None = None
    while at < end:
        key = data[at]
        at += 1
        if key >= 0x80:
            key, at = u32(data, at - 1)
        if key == 0x10:
            alias, at = _varint(data, at)
        elif key == 0x18:
            time_ms, at = _varint(data, at)
        elif key == 0x20:
            datatype, at = _varint(data, at)
        elif key == 0x69:
            kind, value, at = DOUBLE_VALUE, _DOUBLE(data, at)[0], at + 8
        elif key == 0x65:
            kind, value, at = FLOAT_VALUE, _FLOAT(data, at)[0], at + 4
        elif key == 0x50:
            whole, at = _varint(data, at)
            kind, value = INT_VALUE, whole & 0xFFFFFFFF
        elif key == 0x58:
            kind = LONG_VALUE
            value, at = _varint(data, at)
        elif key == 0x70:
            whole, at = _varint(data, at)
            kind, value = BOOLEAN_VALUE, whole != 0
        elif key == 0x38:
            whole, at = _varint(data, at)
            is_null = whole != 0
        elif key == 0x0A:
            begin, at = _span(data, at)
            name = data[begin:at].decode(errors="replace")
        elif key == 0x7A:
            begin, at = _span(data, at)
            kind, text = STRING_VALUE, data[begin:at].decode(errors="replace")
        elif key == 0x4A:
            if props:
                raise Refused("protobuf", "a metric's properties come twice")
            begin, at = _span(data, at)
            props = data[begin:at]
        else:
            # Bytes, data set, template, extension: the value is something else.
            kind = 0 if key in (0x82, 0x8A, 0x92, 0x9A) else kind
            at = skip(data, at, key)
    _ends(at, end)
    said = text if kind == STRING_VALUE and text is not None else value
    return Metric(name, alias, time_ms, datatype, is_null, kind, said, props)


def _properties(data: bytes) -> dict[str, float | str | bool]:
    keys: list[str] = []
    values: list[float | str | bool | None] = []
    at = 0
    while at < len(data):
        key, at = u32(data, at)
        if key in (0x0A, 0x12):
            begin, at = _span(data, at)
            _ends(at, len(data), exactly=False)
            if len(keys) > _MOST_PROPERTIES or len(values) > _MOST_PROPERTIES:
                raise Refused("size", f"more than {_MOST_PROPERTIES} properties")
            if key == 0x0A:
                keys.append(data[begin:at].decode(errors="replace"))
            else:
                values.append(_property(data[begin:at]))
        else:
            at = skip(data, at, key)
    _ends(at, len(data))
    return {name: value for name, value in zip(keys, values, strict=False) if value is not None}


def _property(data: bytes) -> float | str | bool | None:
    value: float | str | bool | None = None
    at, is_null = 0, False
    while at < len(data):
        key, at = u32(data, at)
        if key == 0x18:
            whole, at = _varint(data, at)
            value = whole & 0xFFFFFFFF
        elif key == 0x20:
            value, at = _varint(data, at)
        elif key == 0x2D:
            value, at = _FLOAT(data, at)[0], at + 4
        elif key == 0x31:
            value, at = _DOUBLE(data, at)[0], at + 8
        elif key in (0x10, 0x38):
            whole, at = _varint(data, at)
            is_null, value = (whole != 0, value) if key == 0x10 else (is_null, whole != 0)
        elif key == 0x42:
            begin, at = _span(data, at)
            value = data[begin:at].decode(errors="replace")
        else:
            value = None if key in (0x4A, 0x52) else value
            at = skip(data, at, key)
    _ends(at, len(data))
    return None if is_null else value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, place behind it)"""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, at + 1
        shift += 7
        if shift > 63:
            raise Refused("protobuf", "a number of more than 10 bytes")


def u32(data: bytes, at: int) -> tuple[int, int]:
    """(key or length, place behind it): at most 32 bits, in at most 5 bytes."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    number, end = _varint(data, at)
    if end - at > 5 or number > 0xFFFFFFFF:
        raise Refused("protobuf", "a key or a length of more than 32 bits")
    return number, end


def _span(data: bytes, at: int) -> tuple[int, int]:
    """(beginning, end) of a text or message whose length is at `at`."""
    length, at = u32(data, at)
    return at, at + length


def skip(data: bytes, at: int, key: int) -> int:
    wire = key & 7
    if key >> 3 == 0:
        raise Refused("protobuf", "a field without a number")
    if wire == _VARINT:
        return _varint(data, at)[1]
    if wire == _BYTES:
        return _span(data, at)[1]
    if wire in (_FIXED64, _FIXED32):
        return at + (8 if wire == _FIXED64 else 4)
    raise Refused("protobuf", f"wire type {wire}")


def _ends(at: int, end: int, exactly: bool = True) -> None:
    if at > end or (exactly and at != end):
        raise Refused("protobuf", "cut short")


def _to_varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
