"""The own protobuf reader's rules: it reads what google's protobuf reads, and refuses what that
refuses; whatever the bytes are, nothing but Refused is raised."""

import math
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.adapters.codec import Refused
from anomalyd.adapters.codec import sparkplug_wire as wire
from tests.adapters.codec.sparkplug_schema import Payload, payload

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = {
    "int_value": U32,
    "long_value": U64,
    "float_value": st.floats(width=32),
    "double_value": st.floats(),
    "boolean_value": st.booleans(),
    "string_value": TEXT,
    "bytes_value": st.binary(max_size=8),
}
METRIC = st.builds(
    lambda head, value, props: head | value | ({"properties": props} if props else {}),
    st.fixed_dictionaries(
        {},
        optional={
            "name": TEXT,
            "alias": U64,
            "timestamp": U64,
            "datatype": U32,
            "is_historical": st.booleans(),
            "is_null": st.booleans(),
        },
    ),
    st.sampled_from(sorted(VALUES)).flatmap(
        lambda kind: VALUES[kind].map(lambda value: {kind: value})
    ),
    st.dictionaries(TEXT, U32 | TEXT, max_size=3),
)
KINDS = {name: number for number, name in enumerate(VALUES, 10)}


def as_oracle(data: bytes) -> list[tuple[Any, ...]] | None:
    """What google's protobuf makes of it; None where it refuses."""
    try:
        found = Payload.FromString(data)
    except DecodeError:
        return None
    read = []
    for metric in found.metrics:
        kind = metric.WhichOneof("value")
        number = KINDS.get(kind or "", 0)
        number = 0 if number > wire.STRING_VALUE else number
        scalars = [
            getattr(metric, name) if metric.HasField(name) else None
            for name in ("name", "alias", "timestamp", "datatype")
        ]
        value = getattr(metric, kind) if kind and number else None
        read.append((*scalars, metric.is_null, number, repr(value) if number else None))
    return read


def as_ours(data: bytes) -> list[tuple[Any, ...]] | None:
    try:
        found = wire.read(data)
        for each in found.metrics:
            wire.properties(each.properties)
    except Refused as refused:
        assert refused.reason in {"protobuf", "size"}
        return None
    return [
        (
            each.name,
            each.alias,
            each.time_ms,
            each.datatype,
            each.is_null,
            each.kind,
            repr(each.value) if each.kind else None,
        )
        for each in found.metrics
    ]


@settings(deadline=None)
@given(st.lists(METRIC, max_size=5), st.none() | U64)
def test_it_reads_what_protobuf_reads(metrics: list[dict[str, Any]], timestamp: int | None) -> None:
    """Every field that readings need, of messages that protobuf has written."""
    data = payload(*metrics, timestamp=timestamp)
    assert as_oracle(data) == as_ours(data)
    assert timestamp == wire.read(data).time_ms


@settings(deadline=None, max_examples=300)
@given(st.lists(METRIC, min_size=1, max_size=3), st.data())
def test_it_refuses_what_protobuf_refuses(metrics: list[dict[str, Any]], data: Any) -> None:
    """Cut short, or a byte changed: the same reading, or none from either. Ours alone may refuse:
    groups and properties sent twice, which nobody does; a datatype of more than 32 bits is not
    cut to them."""
    whole = bytearray(payload(*metrics))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    theirs, ours = as_oracle_or_text_error(cut), as_ours(cut)
    if theirs is None:
        assert ours is None
    elif ours is not None and theirs != "text":
        assert [each[:3] for each in theirs] == [each[:3] for each in ours]
        assert [each[4:] for each in theirs] == [each[4:] for each in ours]


@pytest.mark.parametrize(
    "key",
    ["8180d095ffbc31", "928080808000", "9280808010", "9280808090808000"],
    ids=["a large one", "five bytes too long", "33 bits", "too long and too large"],
)
def test_a_key_of_more_than_32_bits_is_refused(key: str) -> None:
    """At the top, in a metric and in its properties."""
    odd = bytes.fromhex(key) + bytes(9)
    inner = b"\x0a" + bytes([len(odd)]) + odd
    for data in (odd, b"\x12" + inner[1:], b"\x12" + bytes([len(inner) + 1]) + b"\x4a" + inner[1:]):
        assert as_oracle(data) is None
        assert as_ours(data) is None


def test_a_length_of_more_than_32_bits_is_refused() -> None:
    """It may be none at all once it is cut to the 64 bits of a number."""
    data = bytes.fromhex("22808080808080808080") + b"\x0a"
    assert as_oracle(data) is None
    assert as_ours(data) is None


def test_properties_that_come_twice_are_refused() -> None:
    """To put the bytes together would accept two halves that are none alone."""
    half = b"\x4a\x01\x0a" + b"\x4a\x01\x00"
    data = b"\x12" + bytes([len(half)]) + half
    assert as_oracle(data) is None
    assert as_ours(data) is None


def as_oracle_or_text_error(data: bytes) -> Any:
    """ "text": it is well-formed, but a text in it is no UTF-8, which some versions of protobuf
    raise and others hand out as bytes."""
    try:
        found = as_oracle(data)
    except UnicodeDecodeError:
        return "text"
    for name, *_, kind, value in found or []:
        if isinstance(name, bytes) or (kind == wire.STRING_VALUE and value.startswith("b")):
            return "text"
    return found


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Never another exception: it would end the pipeline."""
    as_ours(data)


def test_properties_are_read() -> None:
    """By name; a null one isn't there."""
    built = Payload()
    metric = built.metrics.add(name="x")
    for name, value in (
        ("Quality", {"int_value": 192}),
        ("engUnit", {"string_value": "bar"}),
        ("low", {"double_value": 0.5}),
        ("scale", {"float_value": 2.0}),
        ("big", {"long_value": 2**40}),
        ("on", {"boolean_value": True}),
        ("none", {"is_null": True, "int_value": 1}),
    ):
        metric.properties.keys.append(name)
        metric.properties.values.add(**value)
    (found,) = wire.read(built.SerializeToString()).metrics
    assert {
        "Quality": 192,
        "engUnit": "bar",
        "low": 0.5,
        "scale": 2.0,
        "big": 2**40,
        "on": True,
    } == wire.properties(found.properties)


def test_too_many_metrics_are_refused() -> None:
    """An empty metric has two bytes: a small message must not become a large list."""
    with pytest.raises(Refused) as refused:
        wire.read(b"\x12\x00" * 20_000)
    assert "size" == refused.value.reason


def test_a_rebirth_is_what_the_specification_asks_for() -> None:
    """Section 5.10: one metric, `Node Control/Rebirth`, a Boolean that is true."""
    found = Payload.FromString(wire.rebirth(1_700_000_000_123))
    assert 1_700_000_000_123 == found.timestamp
    (metric,) = found.metrics
    assert ("Node Control/Rebirth", 11, True) == (
        metric.name,
        metric.datatype,
        metric.boolean_value,
    )


def test_a_number_that_is_none_is_passed_on() -> None:
    """The pipeline rejects it as `value`."""
    (metric,) = wire.read(payload({"alias": 1, "double_value": math.nan})).metrics
    assert isinstance(metric.value, float)
    assert math.isnan(metric.value)
