"""Topics' rules: named wildcards become subscriptions and labels; what can't work is refused by
name, before anything runs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.adapters.topics import Match, TopicPattern
from anomalyd.errors import ConfigError

LEVELS = st.text(st.characters(exclude_characters="+#/\0", exclude_categories=["Cs"]), max_size=8)


@pytest.mark.parametrize(
    ("topic", "subscription", "prefix", "names"),
    [
        ("plant/{line}/{machine}/{sensor}", "plant/+/+/+", "plant/", ("line", "machine", "sensor")),
        ("a/b/{sensor}", "a/b/+", "a/b/", ("sensor",)),
        ("{site}/x/{sensor}", "+/x/+", "", ("site", "sensor")),
        ("plant/{path*}", "plant/#", "plant/", ("path",)),
        ("{all*}", "#", "", ("all",)),
        ("plant/+/{sensor}", "plant/+/+", "plant/", ("sensor",)),
        ("plant/#", "plant/#", "plant/", ()),
        ("boiler/temperature", "boiler/temperature", "", ()),
        ("/{line}//{sensor}", "/+//+", "/", ("line", "sensor")),
    ],
)
def test_a_pattern_becomes_a_subscription(
    topic: str, subscription: str, prefix: str, names: tuple[str, ...]
) -> None:
    """`{name}` subscribes to one level, `{name*}` to the rest; the prefix is what comes before."""
    pattern = TopicPattern(topic)
    assert (subscription, prefix, names) == (pattern.subscription, pattern.prefix, pattern.names)


@pytest.mark.parametrize(
    ("topic", "heard", "channel", "labels"),
    [
        (
            "plant/{line}/{machine}/{sensor}",
            "plant/line1/pump3/flow",
            "line1/pump3/flow",
            {"line": "line1", "machine": "pump3", "sensor": "flow"},
        ),
        (
            "plant/{line}/x/{sensor}",
            "plant/l1/x/flow",
            "l1/x/flow",
            {"line": "l1", "sensor": "flow"},
        ),
        ("plant/+/{sensor}", "plant/l1/flow", "l1/flow", {"sensor": "flow"}),
        ("plant/{path*}", "plant/a/b/c", "a/b/c", {"path": "a/b/c"}),
        ("plant/#", "plant/a/b", "a/b", {}),
        ("boiler/temperature", "boiler/temperature", "boiler/temperature", {}),
        ("plant/{line}/{sensor}", "plant//flow", "/flow", {"line": "", "sensor": "flow"}),
        ("a.b/{sensor}", "a.b/x", "x", {"sensor": "x"}),
        ("plant/{sensor}", "plant/Öl temp.", "Öl temp.", {"sensor": "Öl temp."}),
    ],
)
def test_a_topic_gives_its_channel_and_labels(
    topic: str, heard: str, channel: str, labels: dict[str, str]
) -> None:
    """A channel is called as its topic from the first wildcard on."""
    assert Match(channel, labels) == TopicPattern(topic).match(heard)


@pytest.mark.parametrize(
    ("topic", "heard"),
    [
        ("plant/{line}/{sensor}", "plant/l1"),
        ("plant/{line}/{sensor}", "plant/l1/flow/x"),
        ("plant/{line}/{sensor}", "Plant/l1/flow"),
        ("plant/{path*}", "plants/a"),
        ("a.b/{sensor}", "axb/x"),
    ],
)
def test_a_topic_of_another_stream_does_not_match(topic: str, heard: str) -> None:
    """Every literal level must be equal, and every wildcard is one level."""
    assert TopicPattern(topic).match(heard) is None


@pytest.mark.parametrize(
    ("template", "channel"),
    [
        ("{machine}.{sensor}@{line}", "pump3.flow@line1"),
        ("{line}/{machine}/{sensor}/{sensor}", "line1/pump3/flow/flow"),
    ],
)
def test_a_template_names_the_channel(template: str, channel: str) -> None:
    """`channel` puts the labels where it names them."""
    found = TopicPattern("plant/{line}/{machine}/{sensor}", template).match(
        "plant/line1/pump3/flow"
    )
    assert found is not None
    assert channel == found.channel


@pytest.mark.parametrize(
    ("topic", "what"),
    [
        ("plant/{line", "'{line' is no {name}, + or #"),
        ("plant/x{line}", "'x{line}' is no {name}, + or #"),
        ("plant/{}", "'{}' is no {name}, + or #"),
        ("plant/{1st}", "'{1st}' is no {name}, + or #"),
        ("plant/{li ne}", "'{li ne}' is no {name}, + or #"),
        ("plant/x+", "'x+' is no {name}, + or #"),
        ("plant/{path*}/x", "'{path*}' must be the last level"),
        ("plant/#/x", "'#' must be the last level"),
        ("plant/{a}/{a}", "a wildcard's name occurs twice"),
        ("plant/{a}/{a*}", "a wildcard's name occurs twice"),
    ],
)
def test_a_bad_pattern_is_refused_by_name(topic: str, what: str) -> None:
    """The error has the whole topic and the level that is wrong."""
    with pytest.raises(ConfigError) as error:
        TopicPattern(topic)
    assert f"topic {topic!r}: {what}" == str(error.value)


@pytest.mark.parametrize(
    ("topic", "template"),
    [
        ("plant/{line}/{sensor}", "{sensor}"),
        ("plant/{line}/{sensor}", "{line}.{sensor}.{site}"),
        ("plant/+/{sensor}", "{sensor}"),
        ("plant/{sensor}/#", "{sensor}"),
    ],
)
def test_a_template_that_could_merge_topics_is_refused(topic: str, template: str) -> None:
    """A name that leaves a wildcard out would make one channel of two topics."""
    with pytest.raises(ConfigError, match="must name every wildcard") as error:
        TopicPattern(topic, template)
    assert repr(topic) in str(error.value)


@pytest.mark.parametrize("template", ["{line}+{sensor}", "{line}#{sensor}"])
def test_a_template_that_no_topic_can_have_is_refused(template: str) -> None:
    """Alerts are published below the channel's name, and no topic has a + or # in it."""
    with pytest.raises(ConfigError, match="channel"):
        TopicPattern("plant/{line}/{sensor}", template)


@settings(deadline=None)
@given(st.lists(LEVELS, min_size=3, max_size=3))
def test_labels_make_the_topic_again(levels: list[str]) -> None:
    """What the labels say is what the topic said, whatever characters it has."""
    topic = "plant/" + "/".join(levels)
    found = TopicPattern("plant/{line}/{machine}/{sensor}").match(topic)
    assert found is not None
    assert [*found.labels.values()] == levels
    assert topic == f"plant/{found.channel}"


@settings(deadline=None)
@given(st.lists(LEVELS, min_size=1, max_size=6))
def test_the_rest_is_all_of_the_rest(levels: list[str]) -> None:
    """`{path*}` takes every further level, whatever characters it has."""
    rest = "/".join(levels)
    assert Match(rest, {"path": rest}) == TopicPattern("plant/{path*}").match(f"plant/{rest}")


def test_words_that_recur_are_one_string() -> None:
    pattern = TopicPattern("plant/{line}/{sensor}")
    one, other = (pattern.match(f"plant/line-{at // 2}/s{at}") for at in range(2))
    assert one is not None
    assert other is not None
    assert one.labels["line"] is other.labels["line"]
