"""Broken input at any rate: each message counted by its reason, never a traceback, and the good
channels scored as if nothing had been. The real daemon on a real broker."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path

import pytest
from paho.mqtt import publish as paho_publish

from anomalyd.adapters.recording import Recording
from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import Message
from anomalyd.runtime.replay import Replay
from anomalyd.settings import Settings, Stream
from tests.broker.daemon import PLANT, Daemon, Subscriber, pour, publish, reading
from tests.programs import Mosquitto

SCORED = "anomalyd_readings_scored_total"
STREAMS = f"""
{PLANT}
[[streams]]
topic = "bare/{{sensor}}"
value = ""
[[streams]]
topic = "every/{{machine}}"
value = "*"
"""
SCORES = "[alerts]\npublish_scores = true\n"
GOOD_CHANNELS, STEPS = 20, 200
START_S = 1_700_000_000


def said(payload: bytes, topic: str = "plant/l/m/broken") -> Message:
    return topic, payload


def stamped(ts: object) -> Message:
    return said(json.dumps({"ts": ts, "value": 1}).encode())


def broken() -> list[tuple[str, Message]]:
    """What is wrong with each, and the message."""
    return [
        ("empty", said(b"")),
        ("empty", said(b" \n")),
        ("json", said(b"high")),
        ("json", said(b"\x00\xff\xfe\x80")),
        ("json", said(b'{"ts":1700000000,"value":NaN}')),
        ("json", said(b'{"ts":1700000000,"value":-Infinity}')),
        ("json", said(b'{"ts":1700000000,"value":1e999}')),
        ("json", said(b'{"ts":1700000000,"value":' + b"9" * 400 + b"}")),
        ("json", said(b'{"ts":1700000000,"value":1' + b"}" * 50)),
        ("depth", said(b'{"x":' + b"[" * 100_000)),
        ("depth", said(b'{"x":' * 20_000)),
        ("field", said(b"{}")),
        ("field", said(b"[1]")),
        ("field", said(b'{"ts":1700000000,"wert":1}')),
        ("field", said(b'{"ts":1700000000,"value":"1"}')),
        ("field", said(b'{"ts":1700000000,"value":true}')),
        ("time", stamped(12.5)),
        ("time", stamped("yesterday")),
        ("time", stamped(-1)),
        ("time", stamped("9" * 400)),
        ("future", stamped(time.time() + 3600)),
        ("future", stamped("2123-01-01T00:00:00Z")),
        ("number", said(b"high", "bare/x")),
        ("empty", said(b"", "bare/x")),
        ("value", said(b"nan", "bare/x")),
        ("value", said(b"1e999", "bare/x")),
        ("field", said(b'{"a":"b"}', "every/x")),
        ("json", said(b'{"a":' + b"9" * 400 + b"}", "every/x")),
        ("size", said(json.dumps(dict.fromkeys(map(str, range(300)), 1)).encode(), "every/x")),
    ]


def huge() -> list[tuple[str, Message]]:
    """A megabyte each: no JSON, JSON without a value, and JSON with one."""
    filling = b"x" * 1_000_000
    return [
        ("size", said(filling)),
        ("size", said(b'{"x":"' + filling + b'"}')),
        ("size", said(b'{"ts":1700000000,"value":1,"x":"' + filling + b'"}')),
    ]


ODD_TOPICS = [
    "plant///",
    "plant/ / /x y",
    "plant/Öl/\u6e29\u5ea6/°C",
    'plant/a"b/c\\d/{e}',
    "plant/$SYS/a/b",
    "plant/l/m/" + "x" * 500,
]


def good(names: Sequence[str], step: int, values: list[float]) -> Iterator[Message]:
    """One reading of each good channel, and every tenth time an old one once more."""
    for name, value in zip(names, values, strict=True):
        yield reading(name, START_S + step, value)
        if step % 10 == 9:
            yield reading(name, START_S + step - 3, -1000.0)


def test_everything_is_counted_and_the_good_channels_do_not_notice(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """Interleaved with twenty good channels at the full speed of the broker."""
    plant = Plant(5, GOOD_CHANNELS)
    values: list[list[float]] = plant.run(STEPS).tolist()
    retain(mosquitto, [reading(f"l/m/old{each}", START_S, 1.0) for each in range(3)])

    expected = Counter(late=GOOD_CHANNELS * (STEPS // 10))
    messages: list[Message] = [(topic, b'{"ts":1700000000,"value":1}') for topic in ODD_TOPICS]
    kinds = broken()
    for step, row in enumerate(values):
        bad = [*kinds, *huge()] if step % 100 == 50 else kinds
        expected.update(reason for reason, _ in bad)
        junk = (message for _, message in bad)
        for message in good(plant.names, step, row):
            messages += [message, *islice(junk, 2)]
        messages += junk

    with Daemon(tmp_path, mosquitto.port, STREAMS) as daemon:
        daemon.wait_ready()
        pour(mosquitto, messages)
        scored = GOOD_CHANNELS * STEPS + len(ODD_TOPICS)
        daemon.wait_for(SCORED, scored)
        daemon.wait_for("anomalyd_messages_received_total", len(messages) + 3)
        daemon.wait_until(lambda: sum(daemon.rejected().values()) >= expected.total(), 20)
        assert dict(expected) == daemon.rejected()
        metrics = daemon.metrics()
        assert scored == metrics[SCORED]
        assert 0 == daemon.raised()
        assert 1 == metrics["anomalyd_mqtt_connects_total"]
        assert daemon.page("/-/ready") is not None
        scores = {name: score(metrics, name) for name in plant.names}
        assert 0 == daemon.stop()
    assert scores == pytest.approx(alone(tmp_path, plant.names, values), rel=1e-4)
    complaints = daemon.text()
    assert "Traceback" not in complaints
    assert "Warning" not in complaints
    for reason in expected:
        # Those that the pipeline finds, not the intake, are counted only.
        assert complaints.count(f"reason={reason}") == (reason not in {"late", "value"})


def retain(broker: Mosquitto, messages: list[Message]) -> None:
    """Published before the daemon comes, and kept for it."""
    paho_publish.multiple(
        [
            {"topic": topic, "payload": payload, "qos": 1, "retain": True}
            for topic, payload in messages
        ],
        hostname=broker.host,
        port=broker.port,
    )


def score(metrics: dict[str, float], channel: str) -> float:
    """The newest, as exported."""
    (found,) = [
        value
        for name, value in metrics.items()
        if name.startswith(f'anomalyd_score{{channel="{channel}",')
    ]
    return found


def alone(directory: Path, names: Sequence[str], values: list[list[float]]) -> dict[str, float]:
    """The newest scores of the good channels where there is nothing else."""
    path = directory / "good.csv"
    lines = [",".join(["timestamp", *names])]
    lines += [",".join([str(START_S + step), *map(repr, row)]) for step, row in enumerate(values)]
    path.write_text("\n".join(lines) + "\n")
    stream = Stream(topic="plant/{line}/{machine}/{sensor}", time="ts")
    scores: dict[str, float] = {}
    for block in Replay(Settings(streams=(stream,)), directory).blocks(Recording(path)):
        scores.update(zip(block.channels, block.verdicts.score.tolist(), strict=True))
    return scores


HOSTILE_FIELDS = {
    "a wildcard": "a+b/#",
    "a control character": "a\x01b",
    "a line break": "a\nanomalyd: forged",
    "not a character": "a\ufffe",
    "nothing": "",
    "very long": "x" * 65_530,
}


@pytest.mark.parametrize("field", HOSTILE_FIELDS.values(), ids=list(HOSTILE_FIELDS))
def test_a_hostile_field_name_harms_nobody(
    tmp_path: Path, mosquitto: Mosquitto, field: str
) -> None:
    """With "*" a field's name becomes part of a topic that the daemon writes: one message must
    neither end the process nor have the broker cut the connection."""
    with (
        Daemon(tmp_path, mosquitto.port, SCORES + STREAMS) as daemon,
        Subscriber(mosquitto, "anomalyd/main/score/good") as heard,
    ):
        daemon.wait_ready()
        for number in range(4):
            publish(
                mosquitto,
                [
                    ("every/m", json.dumps({field: number, "ok": number}).encode()),
                    ("bare/good", str(number).encode()),
                ],
            )
        assert [1, 2, 3] == [said.document["value"] for said in islice(heard.heard(), 3)]
        daemon.check()
        assert 1 == daemon.metric("anomalyd_mqtt_connects_total")
    assert "\nanomalyd: forged" not in daemon.text()


def test_a_hostile_topic_harms_nobody(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The longest that there can be: with the alert's prefix it would be longer still."""
    longest = "plant/l/m/" + "x" * (65_535 - len("plant/l/m/"))
    with (
        Daemon(tmp_path, mosquitto.port, SCORES + STREAMS) as daemon,
        Subscriber(mosquitto, "anomalyd/main/score/good") as heard,
    ):
        daemon.wait_ready()
        for number in range(4):
            payload = reading("", START_S + number, number)[1]
            publish(mosquitto, [(longest, payload), ("bare/good", str(number).encode())])
        assert [1, 2, 3] == [said.document["value"] for said in islice(heard.heard(), 3)]
        daemon.check()


def test_a_flood_of_rubbish_is_survived(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """For longer than the keep-alive allows silence there is always something to read: the
    connection holds, memory does not grow, and afterwards everything goes on."""
    received = "anomalyd_messages_received_total"
    environment = {"ANOMALYD_MQTT__KEEPALIVE_S": "3", "ANOMALYD_INGEST__INBOX_MESSAGES": "5000"}
    with Daemon(tmp_path, mosquitto.port, PLANT, environment) as daemon:
        daemon.wait_ready()
        before = daemon.metric("process_resident_memory_bytes")
        sent = 0
        until = time.monotonic() + 9.0
        while time.monotonic() < until:
            # What the broker has queued for us is ahead of its answer to our ping.
            daemon.wait_for(received, sent - 20_000)
            pour(mosquitto, repeat(said(b"{nope"), 10_000))
            sent += 10_000
        daemon.wait_until(lambda: sum(daemon.rejected().values()) >= sent, 20)
        pour(mosquitto, [reading("l/m/good", START_S, 1.0)])
        daemon.wait_for(SCORED, 1)
        metrics = daemon.metrics()
        assert 1 == metrics["anomalyd_mqtt_connects_total"]
        assert metrics["process_resident_memory_bytes"] - before < 50e6
        assert sent == sum(daemon.rejected().values())
        assert daemon.page("/-/ready") is not None
