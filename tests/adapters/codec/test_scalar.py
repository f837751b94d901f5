"""A bare number's rules: decimal text is a value; anything else is refused with a reason."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.adapters.codec import Decoded, Refused, for_stream

CODEC = for_stream("", None)


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"21.5", 21.5),
        (b"-3", -3.0),
        (b"+5", 5.0),
        (b" 2e3\r\n", 2000.0),
        (b"1" + b"0" * 300, 1e300),
        (b"1e999", math.inf),
        (b"9" * 400, math.inf),
    ],
)
def test_decimal_text_is_a_value(payload: bytes, value: float) -> None:
    """White space around it is allowed; what no float holds is infinite, and refused later."""
    assert Decoded((("", value),), None) == CODEC.decode(payload)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"high", "number"),
        (b"1,5", "number"),
        (b"1_000", "number"),
        (b"0x10", "number"),
        (b"1 2", "number"),
        (b"\x00", "number"),
        (b"\xff\xfe", "number"),
        (b'{"value": 1}', "number"),
        (b"1" * 1_000_000, "size"),
        (b" " * 1_000_000, "size"),
    ],
)
def test_anything_else_is_refused_with_its_reason(payload: bytes, reason: str) -> None:
    """The reason is a label of anomalyd_rejected_total."""
    with pytest.raises(Refused) as refused:
        CODEC.decode(payload)
    assert reason == refused.value.reason


@settings(deadline=None)
@given(st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_any_bytes_are_decoded_or_refused(payload: bytes) -> None:
    """Never another exception: it would end the pipeline."""
    try:
        decoded = CODEC.decode(payload)
    except Refused as refused:
        assert refused.reason in {"empty", "number", "size"}
    else:
        assert isinstance(decoded, Decoded)
        assert [("", float)] == [(name, type(value)) for name, value in decoded.fields]
