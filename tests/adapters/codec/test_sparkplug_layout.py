"""What is read by its layout is what is read field by field, of whatever bytes; what is laid out
otherwise is no match."""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.adapters.codec import Refused, Series
from anomalyd.adapters.codec.payload import Options
from anomalyd.adapters.codec.sparkplug import SparkplugCodec
from anomalyd.adapters.codec.sparkplug_layout import learn
from tests.adapters.codec.sparkplug_schema import payload

T_MS = 1_700_000_000_000
DOUBLE, FLOAT, INT64 = 10, 9, 4
TOPIC = "spBv1.0/G/{}/N"
NAMES = ["m0", "m1", "m2"]


def metrics(at: int, kind: str = "double_value", **more: Any) -> list[dict[str, Any]]:
    return [
        {"alias": each, "timestamp": T_MS + at + each, kind: float(at + each)} | more
        for each in range(3)
    ]


def born(kind: int = DOUBLE) -> SparkplugCodec:
    codec = SparkplugCodec(Options("value", None))
    births = [{"name": name, "alias": at, "datatype": kind} for at, name in enumerate(NAMES)]
    said = [birth | {"double_value": 0.0} for birth in births]
    codec.decode(payload(*said), TOPIC.format("NBIRTH"))
    return codec


def data(codec: SparkplugCodec, content: bytes) -> Series:
    return codec.decode(content, TOPIC.format("NDATA"))


@pytest.mark.parametrize("kind", ["double_value", "float_value"])
def test_the_next_message_is_read_by_the_layout_of_the_first(kind: str) -> None:
    """Times of their own."""
    layout = learn(payload(*metrics(0, kind)), NAMES, {"m1": "bar"})
    assert layout is not None
    assert ([7.0, 8.0, 9.0], [T_MS + 7.0, T_MS + 8.0, T_MS + 9.0]) == layout.read(
        payload(*metrics(7, kind))
    )


def test_the_messages_own_time_is_that_of_metrics_without_one() -> None:
    said = [{"alias": each, "double_value": 1.0} for each in range(3)]
    layout = learn(payload(*said, timestamp=T_MS), NAMES, {})
    assert layout is not None
    assert ([1.0] * 3, [T_MS + 5.0] * 3) == layout.read(payload(*said, timestamp=T_MS + 5))


@pytest.mark.parametrize(
    "other",
    [
        metrics(0)[:2],
        metrics(0, is_null=True),
        metrics(0, datatype=DOUBLE),
        [each | {"alias": 9} for each in metrics(0)],
        metrics(0, "float_value"),
        [each | {"timestamp": 5} for each in metrics(0)],
    ],
)
def test_another_message_is_no_match(other: list[dict[str, Any]]) -> None:
    layout = learn(payload(*metrics(0)), NAMES, {})
    assert layout is not None
    assert layout.read(payload(*other)) is None


@pytest.mark.parametrize(
    "content",
    [
        payload(*metrics(0, is_null=False)),
        payload(*metrics(0)[:2]),
        payload(*metrics(0)[:2], *metrics(0, "float_value")[2:]),
        payload(*metrics(0)[:2], {"alias": 2, "double_value": 1.0}),
        payload(*[{"alias": each, "long_value": 1} for each in range(3)]),
        payload(*[{"alias": each, "double_value": 1.0} for each in range(3)], timestamp=None),
    ],
)
def test_what_has_no_such_layout_is_not_learnt(content: bytes) -> None:
    assert learn(content, NAMES, {}) is None


def test_a_codec_that_has_learnt_reads_the_same() -> None:
    """Until the next birth, which may give an alias another name."""
    codec = born()
    for at in range(5):
        found = data(codec, payload(*metrics(at)))
        assert (NAMES, [at + 0.0, at + 1.0, at + 2.0]) == (found.names, found.values)
        assert [T_MS + at + each for each in range(3)] == found.times
    births = [{"name": f"n{at}", "alias": at, "datatype": DOUBLE} for at in range(3)]
    codec.decode(
        payload(*(each | {"double_value": 0.0} for each in births)), TOPIC.format("NBIRTH")
    )
    assert ["n0", "n1", "n2"] == data(codec, payload(*metrics(9))).names


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_bytes_mean_what_they_mean_field_by_field(drawn: st.DataObject) -> None:
    """A message that was changed somewhere, read by a codec that knows its layout and by one that
    doesn't."""
    content = bytearray(payload(*metrics(3), timestamp=T_MS))
    learnt, fresh = born(), born()
    data(learnt, bytes(content))
    for _ in range(drawn.draw(st.integers(0, 4))):
        place = drawn.draw(st.integers(0, len(content) - 1))
        content[place] = drawn.draw(st.integers(0, 255))
    assert _read(fresh, bytes(content)) == _read(learnt, bytes(content))


def _read(codec: SparkplugCodec, content: bytes) -> object:
    try:
        found = data(codec, content)
    except Refused as refused:
        return refused.reason
    values = [struct.pack("<d", value) for value in found.values]
    return list(found.names), values, list(found.times), list(found.refused)
