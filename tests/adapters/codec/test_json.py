"""JSON payloads' rules: a field by its dotted path or every numeric field; what can't be read is
refused with the reason that is counted, and nothing else is ever raised."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.adapters.codec import Codec, Decoded, Refused, for_stream
from anomalyd.errors import ConfigError

STREAMS: list[tuple[str, str | None]] = [
    ("value", "ts"),
    ("value", None),
    ("data.value", "data.ts"),
    ("*", "ts"),
    ("*", "data.ts"),
    ("*", None),
]
REASONS = {"size", "empty", "json", "field", "depth"}

BROKEN = {
    b"": "empty",
    b" \r\n": "empty",
    b"high": "json",
    b"\xff\xfe": "json",
    b"\xef\xbb\xbf{}": "json",
    b'{"ts":1,"value":1': "json",
    b'{"ts":1,"value":1}}': "json",
    b'{"ts":1,"value":NaN}': "json",
    b'{"ts":1,"value":Infinity}': "json",
    b'{"ts":1,"value":1e999}': "json",
    b'{"ts":1,"value":-1e999}': "json",
    b'{"ts":1,"value":' + b"9" * 400 + b"}": "json",
    b"null": "field",
    b"[1]": "field",
    b"21.5": "field",
    b"{}": "field",
    b'{"ts":1,"value":"21.5"}': "field",
    b'{"ts":1,"value":true}': "field",
    b'{"ts":1,"value":null}': "field",
    b'{"ts":1,"value":{"x":"y"}}': "field",
    b'{"ts":true,"value":1}': "field",
    b'{"ts":null,"value":1}': "field",
    b'{"value":1}': "field",
    b'{"x":' + b"[" * 100_000: "depth",
    b'{"ts":1,"value":1,"x":' + b'{"x":' * 5_000 + b"1" + b"}" * 5_001: "depth",
    b'{"ts":1,"x":"' + b"x" * 1_000_000 + b'"}': "size",
    b'{"ts":1,"value":1,"x":"' + b"x" * 1_000_000 + b'"}': "size",
}


def reason(codec: Codec, payload: bytes) -> str:
    """Why `payload` is refused; "" where it isn't."""
    try:
        codec.decode(payload)
    except Refused as refused:
        return refused.reason
    return ""


@pytest.mark.parametrize(
    ("value", "time", "payload", "decoded"),
    [
        ("value", "ts", b'{"ts":1700000000.25,"value":21.5}', (21.5, 1700000000.25)),
        ("value", "ts", b'{"value":21,"ts":1700000000250}', (21.0, 1700000000250.0)),
        (
            "value",
            "ts",
            b'{"ts":"2023-11-14T22:13:20Z","value":-1}',
            (-1.0, "2023-11-14T22:13:20Z"),
        ),
        ("value", None, b'{"ts":"yesterday","value":1e3,"unit":"bar"}', (1000.0, None)),
        ("data.t", "meta.at", b'{"data":{"t":1,"u":2},"meta":{"at":3}}', (1.0, 3.0)),
        ("data.t", "data.at", b'{"data":{"t":1,"at":3,"x":[]}}', (1.0, 3.0)),
        ("a.b.c.d", None, b'{"a":{"b":{"c":{"d":1}}}}', (1.0, None)),
        ("\u00d6l temp.\u00b0C", None, '{"Öl temp":{"°C":80}}'.encode(), (80.0, None)),
        ("class", "self", b'{"class":1,"self":2}', (1.0, 2.0)),
    ],
)
def test_a_field_is_found_by_its_path(
    value: str, time: str | None, payload: bytes, decoded: tuple[float, Any]
) -> None:
    """The value and the time come as written; the other fields don't matter."""
    found = for_stream(value, time).decode(payload)
    assert Decoded((("", decoded[0]),), decoded[1]) == found


@pytest.mark.parametrize(
    ("time", "payload", "fields", "at"),
    [
        ("ts", b'{"ts":5,"a":1,"b":2.5}', {"a": 1.0, "b": 2.5}, 5),
        (None, b'{"ts":5,"a":1}', {"ts": 5.0, "a": 1.0}, None),
        ("meta.ts", b'{"meta":{"ts":"t","x":3},"a":1}', {"meta.x": 3.0, "a": 1.0}, "t"),
        (None, b'{"a":{"b":{"c":1}},"d":2}', {"a.b.c": 1.0, "d": 2.0}, None),
        (None, b'{"a":true,"b":null,"c":"1","d":[1],"e":0}', {"e": 0.0}, None),
        (None, b'{"a":18446744073709551616}', {"a": 2.0**64}, None),
    ],
)
def test_a_star_takes_every_numeric_field(
    time: str | None, payload: bytes, fields: dict[str, float], at: Any
) -> None:
    """Nested ones by their dotted path; not booleans, not texts, not the time."""
    assert Decoded(tuple(fields.items()), at) == for_stream("*", time).decode(payload)


def test_a_payload_of_too_many_fields_is_refused() -> None:
    """Every field becomes a channel: one message must not fill the table."""
    fields = {f"f{index}": index for index in range(300)}
    assert "size" == reason(for_stream("*", None), json.dumps(fields).encode())


@pytest.mark.parametrize("payload", BROKEN, ids=lambda payload: repr(payload[:30]))
def test_what_is_broken_is_refused_with_its_reason(payload: bytes) -> None:
    """The reason is a label of anomalyd_rejected_total."""
    assert BROKEN[payload] == reason(for_stream("value", "ts"), payload)


@pytest.mark.parametrize("payload", BROKEN, ids=lambda payload: repr(payload[:30]))
def test_every_field_refuses_the_same(payload: bytes) -> None:
    """With "*" too, a reason means the same."""
    assert BROKEN[payload] == reason(for_stream("*", "ts"), payload)


@pytest.mark.parametrize(("value", "time"), STREAMS)
@settings(deadline=None)
@given(payload=st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(value: str, time: str | None, payload: bytes) -> None:
    """Never another exception: it would end the pipeline."""
    assert reason(for_stream(value, time), payload) in REASONS | {""}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["ts", "value", "data"]) | st.text(max_size=3), inner)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(("value", "time"), STREAMS)
@settings(deadline=None)
@given(document=JSON)
def test_any_document_is_decoded_or_refused(value: str, time: str | None, document: Any) -> None:
    """Also with the right fields of any type, NaN and integers of any length."""
    try:
        decoded = for_stream(value, time).decode(json.dumps(document).encode())
    except Refused as refused:
        assert refused.reason in REASONS
        return
    assert isinstance(decoded, Decoded)
    assert decoded.fields
    assert {float} == {type(value) for _, value in decoded.fields}
    assert isinstance(decoded.time, float | int | str | None)


@pytest.mark.parametrize(
    ("value", "time"), [("a", "a.b"), ("a.b", "a"), ("ts", "ts"), ('a"b', None), ("a\\b", None)]
)
def test_paths_that_cannot_work_are_refused(value: str, time: str | None) -> None:
    """A value that is also the time, or holds it, and names that the decoder can't have: one
    clear line at start, not a traceback, and no text where the pipeline expects a number."""
    with pytest.raises(ConfigError):
        for_stream(value, time)
