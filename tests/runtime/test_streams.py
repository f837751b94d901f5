"""The streams' rules: what a channel is called in its asset, which channel a recording's column is,
and what is wrong with a stream, by name."""

import pytest

from anomalyd.adapters.codec import Refused
from anomalyd.errors import ConfigError
from anomalyd.runtime.streams import channel_of, read_streams
from anomalyd.settings import Stream

PUMPS = Stream(topic="plant/{machine}/{sensor}", group_by=("machine",))
FIELDS = Stream(topic="every/{line}/{machine}", value="*", group_by=("machine",))


def test_a_member_is_what_the_asset_leaves_over() -> None:
    """The labels that are not the asset's, in the order of the topic, and the payload's field."""
    pumps, fields = read_streams([PUMPS, FIELDS])
    flow = channel_of([pumps, fields], "plant/p1/flow")
    assert ("0:p1", "flow") == (flow.asset, flow.member)
    match = fields.pattern.match("every/l1/m1")
    assert match is not None
    speed = fields.channel(match, "speed")
    assert ("1:m1", "l1/speed") == (speed.asset, speed.member)


def test_a_column_may_be_named_without_the_prefix() -> None:
    """A whole topic or the channel's name; where no stream matches, the defaults hold."""
    readers = read_streams([PUMPS])
    assert channel_of(readers, "p1/flow") == channel_of(readers, "plant/p1/flow")
    assert (-1, None) == (channel_of(readers, "x").stream, channel_of(readers, "x").asset)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"group_by": ("line",)}, "'line' is none of its wildcards"),
        ({"group_by": (), "inputs": ("valve",)}, "they need a group_by"),
    ],
)
def test_a_stream_that_makes_no_sense_is_named(
    change: dict[str, tuple[str, ...]], what: str
) -> None:
    """The topic, and what is wrong with it."""
    with pytest.raises(ConfigError, match=f"plant/.*{what}"):
        read_streams([PUMPS.model_copy(update=change)])


@pytest.mark.parametrize("bad", ["\n", "\0", "\x7f", "\u202e", "\u2028", "\u200b", "\ufffe"])
def test_a_topic_that_cannot_be_shown_is_no_name(bad: str) -> None:
    """It would reach labels, logs, files and pages; a quote is shown, and quoted there."""
    (reader,) = read_streams([PUMPS])
    with pytest.raises(Refused) as refused:
        reader.match(f"plant/p{bad}/flow")
    assert "name" == refused.value.reason
    found = reader.match("plant/p\"'\\/flow")
    assert found is not None
    assert bad not in reader.channel(found, f"a{bad}b", f"°{bad}C").name
    assert "°C" == reader.channel(found, "", f"°{bad}C").unit


def test_names_and_units_are_bounded() -> None:
    """Also where the channel's own name is shorter than its labels."""
    (reader,) = read_streams([PUMPS])
    for topic in ("plant/x/" + "y" * 1017, "plant/x/" + "ö" * 509):
        with pytest.raises(Refused, match="1024 bytes"):
            reader.match(topic)
    found = reader.match("plant/x/y")
    assert found is not None
    with pytest.raises(Refused, match="too long"):
        reader.channel(found, "z" * 1025)
    assert 32 == len(reader.channel(found, "", "u" * 100).unit)


def test_the_stream_says_the_unit_before_the_payload_does() -> None:
    """Where neither does, there is none."""
    own, none = read_streams([PUMPS.model_copy(update={"unit": "bar"}), PUMPS])
    match = own.match("plant/p1/flow")
    assert match is not None
    assert ["bar", "l/s"] == [each.channel(match, "", "l/s").unit for each in (own, none)]


SPARK = Stream(topic="spBv1.0/{group}/{kind}/{node}/{device*}", format="sparkplug")


def test_births_and_data_of_a_device_are_of_the_same_channels() -> None:
    """The kind of message is neither in the name nor a label."""
    (reader,) = read_streams([SPARK])
    born, data = (reader.match(f"spBv1.0/G/{kind}/N/D") for kind in ("DBIRTH", "DDATA"))
    assert born is not None
    assert ("G/N/D", {"group": "G", "node": "N", "device": "D"}) == (born.channel, born.labels)
    assert born == data
    node = reader.match("spBv1.0/G/NDATA/N")
    assert node is not None
    assert ("G/N", "") == (node.channel, node.labels["device"])


@pytest.mark.parametrize("topic", ["plant/{a}/{b}", "spBv1.0/#", "spBv1.0/G/DDATA/{node}/{d}"])
def test_a_sparkplug_topic_leaves_the_kind_open(topic: str) -> None:
    """Without births no alias is known."""
    with pytest.raises(ConfigError, match="wants"):
        read_streams([Stream(topic=topic, format="sparkplug")])


@pytest.mark.parametrize(
    "keys",
    [
        {"value": "a[].b[].c"},
        {"value": "values[]"},
        {"value": "values[]", "step": "dt"},
        {"value": "[].v", "time": "[].t", "step": "dt"},
        {"value": "[].v", "quality": "q"},
        {"value": "a[].v", "time": "b[].t"},
        {"value": "[].v", "time": "ts"},
        {"value": "v", "step": "dt"},
        {"format": "senml", "time": "ts"},
    ],
)
def test_keys_that_do_not_fit_are_refused(keys: dict[str, str]) -> None:
    """At start, with the topic, not with the first payload."""
    with pytest.raises(ConfigError, match="plant/"):
        read_streams([Stream(topic="plant/{x}", **keys)])
