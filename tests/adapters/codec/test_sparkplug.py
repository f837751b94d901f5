"""Sparkplug's rules: births say what an alias is; what no birth explains is refused and the node
asked again; bad quality, nulls and deaths are no readings; what is remembered is bounded."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.adapters.codec import Refused, Series, sparkplug
from anomalyd.adapters.codec.payload import Numbers, Options
from anomalyd.adapters.codec.sparkplug import SparkplugCodec
from anomalyd.errors import ConfigError
from tests.adapters.codec.sparkplug_schema import payload

INT8, INT16, INT32, INT64, UINT8, UINT64, DOUBLE, BOOLEAN, STRING = 1, 2, 3, 4, 5, 8, 10, 11, 12
T_MS = 1_700_000_000_000
FLOW = {"name": "flow", "alias": 7, "datatype": DOUBLE, "double_value": 1.5}


def codec(**keys: Any) -> SparkplugCodec:
    return SparkplugCodec(Options("value", None, **keys))


def say(to: SparkplugCodec, kind: str, *metrics: dict[str, Any], device: str = "D") -> Series:
    topic = f"spBv1.0/G/{kind}/N" + f"/{device}" * (kind[0] == "D")
    return to.decode(payload(*metrics), topic)


def test_an_alias_is_what_the_birth_called_it() -> None:
    """With its own time, or the message's; the unit is the birth's."""
    of = codec()
    born = say(of, "DBIRTH", FLOW | {"properties": {"engUnit": "l/s"}})
    assert (["flow"], [1.5], [T_MS], {"flow": "l/s"}) == born[:4]
    data = say(
        of,
        "DDATA",
        {"alias": 7, "double_value": 2.5},
        {"alias": 7, "double_value": 3, "timestamp": 5},
    )
    assert (["flow", "flow"], [2.5, 3.0], [T_MS, 5]) == data[:3]


def test_an_alias_is_of_its_device() -> None:
    """The same one may mean something else on another."""
    of = codec()
    say(of, "DBIRTH", FLOW)
    say(of, "DBIRTH", FLOW | {"name": "rpm"}, device="E")
    said = {"alias": 7, "double_value": 1.0}
    assert ["flow"] == say(of, "DDATA", said).names
    assert ["rpm"] == say(of, "DDATA", said, device="E").names
    assert [("alias 7", "alias")] == say(of, "NDATA", said).refused


def test_an_unknown_alias_asks_for_a_rebirth() -> None:
    """And the metrics that are known are read all the same."""
    found = say(codec(), "DDATA", {"alias": 9, "double_value": 1.0}, FLOW)
    assert (["flow"], [("alias 9", "alias")]) == (found.names, found.refused)
    assert "spBv1.0/G/NCMD/N" == found.ask
    assert "" == say(codec(), "DDATA", FLOW).ask


def test_a_name_without_a_type_needs_a_birth() -> None:
    """An integer's sign is in its type."""
    of, said = codec(), {"name": "x", "int_value": 2**32 - 1}
    assert [("x", "alias")] == say(of, "DDATA", said).refused
    say(of, "DBIRTH", {"name": "x", "datatype": INT32, "int_value": 0})
    assert [-1.0] == say(of, "DDATA", said).values


@pytest.mark.parametrize(
    ("datatype", "sent", "value"),
    [
        (INT8, {"int_value": 2**32 - 5}, -5.0),
        (INT8, {"int_value": 251}, -5.0),
        (INT16, {"int_value": 2**32 - 300}, -300.0),
        (INT32, {"int_value": 2**32 - 70000}, -70000.0),
        (INT64, {"long_value": 2**64 - 1}, -1.0),
        (INT64, {"long_value": 2**40}, 2.0**40),
        (UINT8, {"int_value": 255}, 255.0),
        (UINT64, {"long_value": 2**64 - 1}, 2.0**64),
        (9, {"float_value": 0.5}, 0.5),
        (DOUBLE, {"double_value": -1e300}, -1e300),
    ],
)
def test_a_number_is_what_its_type_says(datatype: int, sent: dict[str, Any], value: float) -> None:
    """Signed ones are sent as unsigned two's complement."""
    found = say(codec(), "DDATA", {"name": "x", "datatype": datatype} | sent)
    assert [value] == found.values


def test_booleans_and_texts_are_values_where_they_are_mapped() -> None:
    """Else they are left out without a word: a node has many that are no measurement."""
    on = {"name": "on", "datatype": BOOLEAN, "boolean_value": True}
    mode = {"name": "mode", "datatype": STRING, "string_value": "RUN"}
    unmapped = say(codec(), "DDATA", on, mode)
    assert ([], []) == (unmapped.values, unmapped.refused)
    mapped = codec(numbers=Numbers({"RUN": 2.0}, True))
    assert [1.0, 2.0] == say(mapped, "DDATA", on, mode).values


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"properties": {"Quality": 0}}, "quality"),
        ({"properties": {"Quality": 500}}, "quality"),
        ({"properties": {"x": "y", "Quality": "192"}}, "quality"),
        ({"is_null": True}, "null"),
    ],
)
def test_what_is_not_good_is_refused(said: dict[str, Any], reason: str) -> None:
    """By the metric; the others of the message are read."""
    found = say(codec(), "DDATA", FLOW | said, FLOW | {"name": "rpm"})
    assert (["rpm"], [("flow", reason)]) == (found.names, found.refused)
    assert ["flow"] == say(codec(), "DDATA", FLOW | {"properties": {"Quality": 192}}).names


def test_historical_readings_are_read_by_their_time() -> None:
    """What is older than the channel's last is the pipeline's to refuse."""
    found = say(codec(), "DDATA", FLOW | {"is_historical": True, "timestamp": T_MS - 5})
    assert [T_MS - 5] == found.times


def test_what_a_node_says_of_itself_is_no_channel() -> None:
    """bdSeq and the controls."""
    own = {"name": "bdSeq", "datatype": INT64, "long_value": 3}
    control = {"name": "Node Control/Rebirth", "datatype": BOOLEAN, "boolean_value": False}
    found = codec(numbers=Numbers({}, True))
    assert ["flow"] == say(found, "NBIRTH", own, control, FLOW).names


def test_a_death_names_who_died() -> None:
    """A node, with its devices, whose aliases are forgotten; or one device's."""
    of = codec()
    say(of, "NBIRTH", {"name": "bdSeq", "datatype": INT64, "long_value": 3}, FLOW)
    say(of, "DBIRTH", FLOW)
    assert "spBv1.0/G/+/N/D" == say(of, "DDEATH").dead
    assert [("alias 7", "alias")] == say(of, "DDATA", {"alias": 7, "double_value": 1.0}).refused
    say(of, "DBIRTH", FLOW)
    dead = say(of, "NDEATH", {"name": "bdSeq", "long_value": 3}).dead
    assert "spBv1.0/G/+/N" == dead
    assert [("alias 7", "alias")] == say(of, "NDATA", {"alias": 7, "double_value": 1.0}).refused


@pytest.mark.parametrize(
    ("place", "node"),
    [
        ("spBv1.0/G/+/N/D", "spBv1.0/G/+/N"),
        ("spBv1.0/G/+/N", "spBv1.0/G/+/N"),
        ("spBv1.0/G/NDATA/N", ""),
        ("plant/a/+/b", ""),
        ("", ""),
    ],
)
def test_a_place_lies_below_a_node(place: str, node: str) -> None:
    assert node == sparkplug.node_of(place)


def test_the_will_of_an_earlier_connection_kills_nobody() -> None:
    """Its bdSeq is not the birth's."""
    of = codec()
    say(of, "NBIRTH", {"name": "bdSeq", "datatype": INT64, "long_value": 4}, FLOW)
    assert "" == say(of, "NDEATH", {"name": "bdSeq", "long_value": 3}).dead
    assert ["flow"] == say(of, "NDATA", {"alias": 7, "double_value": 1.0}).names


def test_a_birth_forgets_what_was_before_it() -> None:
    """A node's also its devices': they announce themselves after it."""
    of = codec()
    say(of, "DBIRTH", FLOW)
    say(of, "NBIRTH", FLOW | {"alias": 8})
    assert [("alias 7", "alias")] == say(of, "DDATA", {"alias": 7, "double_value": 1.0}).refused


@pytest.mark.parametrize("topic", ["spBv1.0/STATE/host", "spBv1.0/G/NCMD/N", "spBv1.0/G/DCMD/N/D"])
def test_what_hosts_say_is_no_reading(topic: str) -> None:
    """Nor an error: the daemon hears its own requests."""
    assert 0 == len(codec_of(topic, b"\xff").names)


def codec_of(topic: str, data: bytes) -> Series:
    return codec().decode(data, topic)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "x",
        "spBv1.0/G",
        "spBv1.0/G/NDATA",
        "spBv1.0/G/NDATA/N/D",
        "spBv1.0/G/DDATA/N",
        "spBv1.0/G/XDATA/N",
        "spAv1.0/G/NDATA/N",
        "spBv1.0/G/DDATA/N/D/x",
    ],
)
def test_another_topic_is_refused(topic: str) -> None:
    """By its reason."""
    with pytest.raises(Refused) as refused:
        codec_of(topic, payload(FLOW))
    assert "topic" == refused.value.reason


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest silent nodes go; they are asked again when they speak."""
    monkeypatch.setattr(sparkplug, "_MOST_METRICS", 10)
    monkeypatch.setattr(sparkplug, "_MOST_DEVICES", 5)
    of = codec()
    for node in range(50):
        of.decode(payload(FLOW, FLOW | {"name": "b"}), f"spBv1.0/G/NBIRTH/{node}")
        assert len(of._nodes) <= 5
    assert (10, 5) == (of._metrics, of._devices)
    data = payload({"alias": 7, "double_value": 1.0})
    assert 1 == len(of.decode(data, "spBv1.0/G/NDATA/49").names)
    assert "spBv1.0/G/NCMD/0" == of.decode(data, "spBv1.0/G/NDATA/0").ask


def test_keys_without_a_meaning_are_refused() -> None:
    """At start, by name."""
    with pytest.raises(ConfigError, match="time has no meaning"):
        SparkplugCodec(Options("value", "ts"))


TOPICS = st.sampled_from(
    [f"spBv1.0/G/{kind}/N" for kind in ("NBIRTH", "NDATA", "NDEATH")]
    + [f"spBv1.0/G/{kind}/N/D" for kind in ("DBIRTH", "DDATA", "DDEATH")]
)


@settings(deadline=None)
@given(st.lists(st.tuples(TOPICS, st.binary(max_size=60)), max_size=8))
def test_any_session_is_read_or_refused(said: list[tuple[str, bytes]]) -> None:
    """Whatever came before; the counts stay right."""
    of = codec()
    for topic, data in said:
        try:
            of.decode(data, topic)
        except Refused as refused:
            assert refused.reason in {"protobuf", "size"}
    known = [device for node in of._nodes.values() for device in node.devices.values()]
    assert (len(known), sum(len(each.by_name) for each in known)) == (of._devices, of._metrics)
