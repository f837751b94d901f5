"""The streams' rules: what a channel is called in its asset, which channel a recording's column is,
and what is wrong with a stream, by name."""

import pytest

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
