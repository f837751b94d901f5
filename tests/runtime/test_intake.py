"""The intake's rules: every message is a reading or is counted by the reason why not; a topic is
found once, a channel named as its topic says, and a channel that falls silent leaves no trace."""

import json
import logging
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalyd.detection.reading import Floats, Readings
from anomalyd.errors import ConfigError
from anomalyd.runtime import registry
from anomalyd.runtime.inbox import Message
from anomalyd.runtime.intake import Intake
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Alerts, Channels, Stream
from tests.adapters.codec.sparkplug_schema import payload

NOW_S = 1_700_000_000.25
"""seconds since 1970 at the monotonic second 0"""
PLANT = Stream(topic="plant/{line}/{machine}/{sensor}", time="ts")
BARE = Stream(topic="bare/{sensor}", value="")
IGNORED = Stream(topic="ignored/{sensor}", value="", retained="ignore")
GROUPED = PLANT.model_copy(update={"group_by": ("line", "machine")})
EVERY = Stream(topic="every/{machine}", value="*")


def build(*streams: Stream, most: int = 64) -> tuple[Intake, Pipeline]:
    served = registry.load(streams, Path(), most)
    channels = Channels(max=most, warmup_readings=60)
    pipeline = Pipeline("main", channels, Alerts(), streams, served.predictors)
    return Intake(streams, pipeline, 60.0), pipeline


def said(topic: str, payload: bytes | dict[str, Any], retained: bool = False) -> Message:
    written = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Message(topic, written, 0.0, retained)


def read(intake: Intake, *messages: Message) -> Readings:
    return intake.read(messages, NOW_S)[0]


def names(pipeline: Pipeline) -> list[str]:
    return [channel.name for _, channel in pipeline.table.listing()]


# --- messages that are readings ---------------------------------------------------------------


def test_a_message_becomes_a_reading_of_its_channel() -> None:
    """In order of arrival, with the monotonic second at which it came."""
    intake, pipeline = build(PLANT, BARE)
    messages = [
        Message("plant/l1/p3/flow", b'{"ts":1700000000,"value":1.5}', 5.0),
        Message("bare/x", b"2.5", 6.0),
        Message("plant/l1/p3/flow", b'{"ts":1700000001,"value":1.75}', 7.0),
    ]
    readings, arrived = intake.read(messages, NOW_S)
    assert ["l1/p3/flow", "x"] == names(pipeline)
    assert [0, 1, 0] == readings.rows.tolist()
    assert [1.5, 2.5, 1.75] == readings.values.tolist()
    assert [1700000000, NOW_S + 6, 1700000001] == readings.times.tolist()
    assert [5.0, 6.0, 7.0] == arrived.tolist()
    assert {} == intake.rejected


@pytest.mark.parametrize(
    "ts",
    [
        1_700_000_000.25,
        1_700_000_000_250,
        1_700_000_000_250_000,
        1_700_000_000_250_000_000,
        "2023-11-14T22:13:20.250Z",
        "2023-11-14 22:13:20.250",
        "2023-11-15T00:13:20.250+02:00",
        "1700000000.25",
        "1700000000250",
    ],
)
def test_a_time_is_understood_however_it_is_written(ts: Any) -> None:
    """Seconds, milli-, micro- and nanoseconds since 1970, and ISO 8601; UTC without a zone."""
    intake, _ = build(PLANT)
    readings = read(intake, said("plant/l/m/s", {"ts": ts, "value": 1}))
    assert [pytest.approx(NOW_S, abs=1e-6)] == readings.times.tolist()


def test_without_a_time_the_arrival_counts() -> None:
    """On the clock of the host, also beside readings that bring their own."""
    intake, _ = build(Stream(topic="plant/{sensor}"), PLANT)
    arrived = Message("plant/x", b'{"value":1}', 3.5)
    stamped = Message("plant/l/m/s", b'{"ts":1700000000,"value":1}', 3.5)
    readings, _ = intake.read([arrived, stamped, arrived], NOW_S)
    assert [NOW_S + 3.5, 1700000000, NOW_S + 3.5] == readings.times.tolist()


def test_every_numeric_field_is_a_channel() -> None:
    """Below the topic's own name; all at the same time."""
    intake, pipeline = build(Stream(topic="every/{machine}", value="*", time="at"))
    readings = read(intake, said("every/m1", {"at": 1700000000, "t": 1, "motor": {"rpm": 2}}))
    assert ["m1/t", "m1/motor.rpm"] == names(pipeline)
    assert ([1.0, 2.0], [1.7e9, 1.7e9]) == (readings.values.tolist(), readings.times.tolist())


def test_the_channel_has_labels_unit_and_asset() -> None:
    """What alerts and relations need of it."""
    stream = PLANT.model_copy(update={"unit": "bar", "group_by": ("line", "machine")})
    intake, pipeline = build(BARE, stream)
    read(intake, *(said(f"plant/l1/{each}/x", {"ts": 1700000000, "value": 1}) for each in "aab"))
    first, second = pipeline.table[0], pipeline.table[1]
    assert ({"line": "l1", "machine": "a", "sensor": "x"}, "bar", 1) == (
        first.labels,
        first.unit,
        first.stream,
    )
    assert first.asset is not None
    assert first.asset != second.asset


def test_the_first_stream_that_matches_has_the_topic() -> None:
    """In the order of the configuration."""
    intake, pipeline = build(Stream(topic="plant/{sensor}", unit="bar"), Stream(topic="plant/#"))
    read(intake, said("plant/x", {"value": 1}), said("plant/a/b", {"value": 1}))
    assert [("x", "bar"), ("a/b", "")] == [
        (each.name, each.unit) for _, each in pipeline.table.listing()
    ]


def test_what_is_retained_says_nothing_of_who_is_silent() -> None:
    """Without a time of its own it might be of any age; with one, the cadence knows."""
    intake, pipeline = build(BARE.model_copy(update={"retained": "use"}))
    read(intake, said("bare/x", b"1"))
    pipeline.die(np.array([0]), NOW_S)
    assert 0 == len(read(intake, said("bare/x", b"1", retained=True)))
    assert {"retained": 1} == intake.rejected
    assert 1 == len(read(intake, said("bare/x", b"1")))


def test_sparkplug_retains_nothing() -> None:
    intake, _ = build(SPARK.model_copy(update={"retained": "use"}))
    kept = spark("DBIRTH", TEMPERATURE)._replace(retained=True)
    assert 0 == len(read(intake, kept, spark("NDEATH")._replace(retained=True)))
    assert {"retained": 2} == intake.rejected


@pytest.mark.parametrize(("retained", "readings", "seeds"), [("seed", 0, 1), ("use", 1, 0)])
def test_a_retained_message_is_a_seed_or_a_reading(
    retained: Any, readings: int, seeds: int
) -> None:
    """As the stream says; a seed is no reading, and is not counted as rejected."""
    intake, pipeline = build(BARE.model_copy(update={"retained": retained}))
    found = read(intake, said("bare/x", b"7.5", retained=True))
    assert (readings, {}) == (len(found), intake.rejected)
    assert ["x"] == names(pipeline)
    assert seeds == pipeline.parts.windows.count(np.array([0]))[0]


# --- messages that are not --------------------------------------------------------------------

REFUSED: list[tuple[str, Message]] = [
    ("topic", said("elsewhere/x", {"value": 1})),
    ("retained", said("ignored/s", b"1", retained=True)),
    ("empty", said("plant/l/m/s", b"")),
    ("json", said("plant/l/m/s", b'{"ts":1700000000,"value":NaN}')),
    ("json", said("plant/l/m/s", b'{"ts":1700000000,"value":1e999}')),
    ("json", said("plant/l/m/s", b'{"ts":1700000000,"value":' + b"9" * 400 + b"}")),
    ("field", said("plant/l/m/s", {"ts": 1700000000, "wert": 1})),
    ("depth", said("plant/l/m/s", b'{"x":' + b"[" * 100_000)),
    ("size", said("plant/l/m/s", b'{"x":"' + b"x" * 1_000_000 + b'"}')),
    ("number", said("bare/s", b"high")),
    ("time", said("plant/l/m/s", {"ts": "yesterday", "value": 1})),
    ("time", said("plant/l/m/s", {"ts": "", "value": 1})),
    ("time", said("plant/l/m/s", {"ts": "nan", "value": 1})),
    ("time", said("plant/l/m/s", {"ts": "9" * 400, "value": 1})),
    ("time", said("plant/l/m/s", {"ts": "9999-99-99", "value": 1})),
    ("time", said("plant/l/m/s", {"ts": 12.5, "value": 1})),
    ("time", said("plant/l/m/s", {"ts": -1700000000, "value": 1})),
    ("time", said("plant/l/m/s", {"ts": 1e300, "value": 1})),
    ("future", said("plant/l/m/s", {"ts": NOW_S + 61, "value": 1})),
    ("future", said("plant/l/m/s", {"ts": "2123-01-01T00:00:00Z", "value": 1})),
]


@pytest.mark.parametrize(("reason", "message"), REFUSED, ids=lambda each: str(each)[:60])
def test_what_is_no_reading_is_counted_by_its_reason(reason: str, message: Message) -> None:
    """And the readings before and after it are read as if it weren't there."""
    intake, _ = build(PLANT, BARE, IGNORED)
    good = said("plant/l/m/good", {"ts": 1700000000, "value": 1.5})
    readings = read(intake, good, message, good)
    assert {reason: 1} == intake.rejected
    assert ([0, 0], [1.5, 1.5]) == (readings.rows.tolist(), readings.values.tolist())


def test_a_clock_that_is_a_little_ahead_is_accepted() -> None:
    """By up to channels.max_skew_s."""
    intake, _ = build(PLANT)
    assert 1 == len(read(intake, said("plant/l/m/s", {"ts": NOW_S + 59, "value": 1})))


def test_nothing_at_all_is_no_error() -> None:
    """Neither an empty batch nor one with nothing good in it."""
    intake, _ = build(PLANT)
    assert 0 == len(read(intake))
    assert 0 == len(read(intake, said("plant/l/m/s", b"")))


def test_too_many_channels_are_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Those that are there go on; a channel that retires makes room, and then it is told anew."""
    intake, pipeline = build(BARE, most=2)
    everybody = [said(f"bare/{each}", b"1") for each in "abcdc"]
    with caplog.at_level(logging.WARNING):
        assert [0, 1] == read(intake, *everybody).rows.tolist()
        assert [0, 1] == read(intake, *everybody).rows.tolist()
    assert ({"capacity": 6}, ["a", "b"]) == (intake.rejected, names(pipeline))
    assert 1 == len(caplog.messages)
    assert "channels.max is 2" in caplog.messages[0]
    intake.retire(0, NOW_S)
    assert [1, 0] == read(intake, *everybody[1:3]).rows.tolist()


def test_refusals_are_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """One line a reason, and the rest as a number: a broken gateway must not fill the disk."""
    intake, _ = build(PLANT)
    broken = [said("plant/l/m/s", b""), said("plant/l/m/s", {"ts": "never", "value": 1})]
    with caplog.at_level(logging.WARNING):
        read(intake, *(broken * 500))
    assert 2 == len(caplog.messages)
    intake.flush(61.0)
    assert [True] == ["499 more" in line for line in caplog.messages if "reason=empty" in line][1:]


def test_a_hostile_topic_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """It is quoted, and cut where it is long."""
    intake, _ = build(PLANT)
    with caplog.at_level(logging.WARNING):
        read(intake, said("x\nERROR: forged " + "y" * 5000, b""))
    assert "\n" not in caplog.messages[0]
    assert len(caplog.messages[0]) < 600


# --- names that could do harm -----------------------------------------------------------------


@pytest.mark.parametrize("field", ["a+b", "a#b", "a/b", "a\0b", "a\nb", "a\x7fb", "a\ufffeb"])
def test_a_field_name_is_fit_for_a_topic(field: str) -> None:
    """Alerts are published below the channel's name. A wildcard in it is refused by the client, and
    for a control character or a non-character the broker cuts the connection."""
    intake, pipeline = build(EVERY)
    read(intake, said("every/m", {field: 1}))
    assert ["m/a_b"] == names(pipeline)


@pytest.mark.parametrize(
    "message",
    [said("every/m", {"x" * 65_500: 1}), said("every/" + "x" * 65_520, {"a": 1})],
    ids=["field", "topic"],
)
def test_a_name_too_long_for_a_topic_is_refused(message: Message) -> None:
    """A topic has at most 65 535 bytes, and the alert's has a prefix before the channel's name:
    publishing it would be an error on the pipeline's thread, and the end of the daemon."""
    intake, pipeline = build(EVERY)
    read(intake, message)
    assert all(len(name.encode()) < 60_000 for name in names(pipeline))


@pytest.mark.parametrize(
    ("streams", "topics"),
    [
        ([Stream(topic="north/{x}"), Stream(topic="south/{x}")], ["north/a", "south/a"]),
        ([Stream(topic="p/{a}/{b}", channel="{a}.{b}")], ["p/x.y/z", "p/x/y.z"]),
    ],
    ids=["of two streams", "of one template"],
)
def test_two_topics_are_never_one_channel(streams: list[Stream], topics: list[str]) -> None:
    """Their readings would be mixed: the second is refused, or has another name."""
    intake, _ = build(*streams)
    readings = read(intake, *(said(topic, {"value": 1}) for topic in topics * 2))
    firsts = set(readings.rows.tolist())
    assert (len(firsts) == 2) or ({"name": 2} == intake.rejected)


def test_an_asset_of_labels_that_do_not_exist_is_refused() -> None:
    """At start and by name, not with the first reading."""
    with pytest.raises(ConfigError, match="site"):
        build(PLANT.model_copy(update={"group_by": ("site",)}))


# --- a file's columns -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channel", "stream"),
    [
        ("l1/p3/flow", "l1/p3/flow", 0),
        ("plant/l1/p3/flow", "l1/p3/flow", 0),
        ("bare/x", "x", 1),
        ("x", "x", 1),
        ("l1/p3", "l1/p3", -1),
        ("a/b/c/d", "a/b/c/d", -1),
    ],
)
def test_a_column_is_a_channel_with_or_without_the_prefix(
    name: str, channel: str, stream: int
) -> None:
    """A whole topic, or one without its literal beginning; where no stream matches, the
    defaults hold."""
    intake, _ = build(PLANT, BARE)
    found = intake.channel(name)
    assert (channel, stream) == (found.name, found.stream)


# --- channels that fall silent ----------------------------------------------------------------


def heard(intake: Intake, pipeline: Pipeline, topic: str, at_s: float) -> int:
    """Its row."""
    message = Message(topic, b"1", at_s)
    row = int(intake.read([message], NOW_S)[0].rows[0])
    assert pipeline.table[row].name == topic.removeprefix("bare/")
    return row


def test_who_has_not_spoken_for_long_is_silent() -> None:
    """By arrival: the time in a reading is the sender's affair."""
    intake, pipeline = build(BARE)
    old, new = heard(intake, pipeline, "bare/old", 0), heard(intake, pipeline, "bare/new", 50)
    assert [] == intake.silent(90.0, 100.0)
    assert [old] == intake.silent(101.0, 100.0)
    assert [old, new] == intake.silent(151.0, 100.0)


def test_a_retired_channel_is_forgotten_and_may_come_back() -> None:
    """Its row is free for another, and it is a new channel when it speaks again."""
    intake, pipeline = build(BARE)
    row = heard(intake, pipeline, "bare/old", 0)
    assert [] == intake.retire(row, NOW_S)
    assert [] == names(pipeline)
    assert row == heard(intake, pipeline, "bare/other", 1)
    assert row != heard(intake, pipeline, "bare/old", 2)
    assert ["other", "old"] == names(pipeline)


def test_an_alert_that_a_retired_channel_leaves_is_cleared() -> None:
    """With a reason that a person can read: there is no last value to speak of."""
    intake, pipeline = build(BARE)
    row = heard(intake, pipeline, "bare/old", 0)
    values: Floats = np.random.default_rng(1).normal(size=1000)
    raised = [*feed(pipeline, row, values), *feed(pipeline, row, np.array([1000.0]), NOW_S + 1001)]
    assert ["raised"] == [alert.transition for alert in raised]
    (cleared,) = intake.retire(row, NOW_S + 2000)
    assert ("cleared", raised[0].id) == (cleared.transition, cleared.id)
    assert "nan" not in cleared.reason


def feed(pipeline: Pipeline, row: int, values: Floats, first_s: float = NOW_S + 1) -> Sequence[Any]:
    times = first_s + np.arange(values.size, dtype=np.float64)
    return pipeline.step(Readings(np.full(values.size, row), times, values)).alerts


def test_assets_may_come_and_go_for_ever() -> None:
    """An asset whose channels have all retired leaves room for another."""
    intake, pipeline = build(PLANT.model_copy(update={"group_by": ("line",)}), most=2)
    for line in range(5):
        read(intake, said(f"plant/l{line}/m/s", {"ts": 1700000000, "value": 1}))
        assert [f"l{line}/m/s"] == names(pipeline)
        intake.retire(int(pipeline.table.rows()[0]), NOW_S)


def test_what_is_known_of_a_channel_by_name_is_kept_once() -> None:
    """A hundred thousand channels share the names of their lines and machines, and have no sets
    and dicts of their own, but for the labels: 0.7 kB each, its topic included."""
    intake, pipeline = build(GROUPED, most=2000)
    pipeline.step(read(intake, *whole_plant(range(1000))))
    tracemalloc.start()
    intake.read(whole_plant(range(1000, 2000)), NOW_S)
    weight, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 2000 == len(pipeline.table)
    assert weight / 1000 < 800
    first, second = (pipeline.table[row] for row in (1000, 1001))
    assert first.asset is second.asset
    assert first.labels["machine"] is second.labels["machine"]


def whole_plant(indices: range) -> list[Message]:
    """A reading of each channel, eight to a machine."""
    return [
        said(f"plant/line{at // 80}/machine{at // 8}/sensor{at % 8}", {"ts": 1.7e9, "value": 1.0})
        for at in indices
    ]


def test_retiring_costs_the_same_however_many_there_are() -> None:
    """After a long outage all channels retire at once, and meanwhile nothing is scored."""
    few, many = retirement_s(300), retirement_s(3000)
    assert many / few < 10 * 4


def retirement_s(count: int) -> float:
    intake, _ = build(BARE, most=count)
    read(intake, *(said(f"bare/{each}", b"1") for each in range(count)))
    begin = time.perf_counter()
    for row in intake.silent(100.0, 1.0):
        intake.retire(row, NOW_S)
    return time.perf_counter() - begin


# --- many readings a message ------------------------------------------------------------------

LISTS = Stream(topic="list/{sensor}", value="[].v", time="[].t")
SPARK = Stream(topic="spBv1.0/{group}/+/{node}/{device*}", format="sparkplug")
SENML = Stream(topic="senml/{gateway}", format="senml")


def test_a_list_becomes_its_readings_in_order() -> None:
    """Beside messages of one reading; what is wrong in it is counted one by one."""
    intake, _ = build(LISTS, BARE)
    items = [{"t": 1700000000 + n, "v": n if n != 2 else "x"} for n in range(4)]
    readings, arrived = intake.read(
        [said("bare/a", b"7"), Message("list/x", json.dumps(items).encode(), 3.0)], NOW_S
    )
    assert ([0, 1, 1, 1], [7, 0, 1, 3]) == (readings.rows.tolist(), readings.values.tolist())
    assert [1700000000, 1700000001, 1700000003] == readings.times[1:].tolist()
    assert ([0.0, 3.0, 3.0, 3.0], {"field": 1}) == (arrived.tolist(), intake.rejected)


def test_a_pack_brings_units_and_relative_times() -> None:
    """Seconds before the arrival, and the payload's unit where the stream has none."""
    intake, pipeline = build(SENML)
    records = [{"n": "a", "u": "Cel", "t": -5, "v": 1}, {"n": "b", "v": 2}]
    readings = read(intake, said("senml/g", json.dumps(records).encode()))
    assert [NOW_S - 5, NOW_S] == readings.times.tolist()
    assert [("g/a", "Cel"), ("g/b", "")] == [
        (each.name, each.unit) for _, each in pipeline.table.listing()
    ]


def test_more_fields_than_channels_are_left_out() -> None:
    """The others of the message are read."""
    intake, _ = build(SENML, most=2)
    readings = read(intake, said("senml/g", b'[{"n":"a","v":1},{"n":"b","v":2},{"n":"c","v":3}]'))
    assert ([0, 1], [1.0, 2.0]) == (readings.rows.tolist(), readings.values.tolist())
    assert {"capacity": 1} == intake.rejected


def test_two_fields_are_never_one_channel() -> None:
    """Their readings would be mixed."""
    intake, pipeline = build(SENML)
    readings = read(intake, said("senml/g", b'[{"n":"a/b","v":1},{"n":"a_b","v":2}]'))
    assert (["g/a_b"], [1.0]) == (names(pipeline), readings.values.tolist())
    assert {"name": 1} == intake.rejected


def spark(kind: str, *metrics: dict[str, Any]) -> Message:
    return said(f"spBv1.0/G/{kind}/N" + "/D" * (kind[0] == "D"), payload(*metrics))


TEMPERATURE = {"name": "t", "alias": 1, "datatype": 10, "double_value": 20.0}


def test_a_device_is_found_by_all_its_topics_until_it_dies() -> None:
    """Then its rows are told; retired, it leaves nothing."""
    intake, pipeline = build(SPARK)
    again = {"alias": 1, "double_value": 21.0}
    readings = read(intake, spark("DBIRTH", TEMPERATURE), spark("DDATA", again))
    assert ([0, 0], [20.0, 21.0]) == (readings.rows.tolist(), readings.values.tolist())
    assert ["G/N/D/t"] == names(pipeline)
    assert [] == intake.take_dead().tolist()
    read(intake, spark("NDEATH"))
    assert ([0], []) == (intake.take_dead().tolist(), intake.take_dead().tolist())
    intake.retire(0, NOW_S)
    read(intake, spark("NDEATH"))
    assert [] == intake.take_dead().tolist()
    assert {} == intake._routes
    assert [0] == read(intake, spark("DDATA", TEMPERATURE)).rows.tolist()


def test_a_device_dies_alone_and_with_its_node() -> None:
    """Who speaks again behind its death, in the same batch, is alive."""
    intake, _ = build(SPARK)
    flow = TEMPERATURE | {"name": "f", "alias": 2}
    read(intake, spark("NBIRTH", flow), spark("DBIRTH", TEMPERATURE))
    read(intake, spark("DDEATH"))
    assert [1] == intake.take_dead().tolist()
    read(intake, spark("NDEATH"), spark("NBIRTH", flow))
    assert [1] == intake.take_dead().tolist()


def test_a_node_that_spoke_before_a_restart_can_die() -> None:
    """Nobody has told its births and its routes since."""
    before, _ = build(SPARK)
    read(before, spark("NBIRTH", TEMPERATURE), spark("DBIRTH", TEMPERATURE))
    intake, _ = build(SPARK)
    for name, topic in before.topics().items():
        intake.reopen(topic, name)
    read(intake, spark("NDEATH"))
    assert [0, 1] == intake.take_dead().tolist()


def test_an_unknown_alias_is_counted_and_asked_for_once() -> None:
    """And with the birth that follows it is known."""
    intake, _ = build(SPARK)
    unknown = spark("DDATA", {"alias": 1, "double_value": 21.0})
    assert 0 == len(read(intake, unknown, unknown))
    assert ({"alias": 2}, ["spBv1.0/G/NCMD/N"]) == (intake.rejected, intake.rebirths.take())
    assert 2 == len(read(intake, spark("DBIRTH", TEMPERATURE), unknown))
