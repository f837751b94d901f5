"""What is told outside: the transitions of a batch, together and in order, each with the topic that
it is retained on; scores where they are asked for; and what found no room is counted."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from anomalyd.adapters.outbox import Transition
from anomalyd.detection.channels import Channel, ChannelTable
from anomalyd.detection.reading import Kind, Readings, State, Verdicts
from anomalyd.runtime.alerts import Acknowledgement, Alert
from anomalyd.runtime.announce import Announcer
from anomalyd.runtime.pipeline import Outcome
from tests.runtime.transitions import transition

ROOT = "anomalyd/main"
FIELDS = {
    *("schema", "id", "transition", "channel", "labels", "kind", "severity", "score", "value"),
    *("expected", "lower", "upper", "unit", "started_at", "updated_at", "cleared_at"),
    *("contributors", "recent", "model", "instance", "runbook_url", "reason"),
    *("limit", "crosses_at", "acknowledged", "accepted"),
}

Sent = tuple[str, Any, int, bool]


class Outbox:
    """Takes documents and batches of transitions, or none of them."""

    def __init__(self, takes: bool = True) -> None:
        self.sent: list[Sent] = []
        self.batches: list[list[Transition]] = []
        self._takes = takes

    def __call__(self, topic: str, payload: bytes, qos: int, retain: bool) -> bool:
        self.sent.append((topic, msgspec.json.decode(payload), qos, retain))
        return self._takes

    def deliver(self, transitions: Sequence[Transition]) -> int:
        self.batches.append(list(transitions))
        return 0 if self._takes else len(transitions)


def announcer(
    outbox: Outbox, scores: bool = False, known: Mapping[str, Acknowledgement] | None = None
) -> Announcer:
    table = ChannelTable(9)
    for name in ("l/a/x", "l/a/y"):
        table.add(Channel(name, {}, 0))
    return Announcer(ROOT, outbox.deliver, outbox, known or {}, table, scores)


def test_the_transitions_of_a_batch_are_handed_over_together_and_in_order() -> None:
    """With the bytes that are published, and where they are retained."""
    outbox = Outbox()
    alerts = [transition("raised", "l/a/x", 5, 2, 0), transition("cleared", "l/a/x", 0, 0, 9)]
    announcer(outbox).tell(Outcome.of(alerts))
    topic = f"{ROOT}/alert/l/a/x"
    expected = [
        Transition(
            0, each.id, "l/a/x", "residual", topic, each.transition, at, msgspec.json.encode(each)
        )
        for at, each in zip((0.0, 9.0), alerts, strict=True)
    ]
    assert [expected] == outbox.batches


def test_an_acknowledged_alert_says_so() -> None:
    """In all that is told of it afterwards."""
    outbox = Outbox()
    alert = transition("updated", "l/a/x", 5, 2, 0)
    known = {alert.id: Acknowledgement("2026-01-01T00:00:00.000Z", "ada", None)}
    announcer(outbox, known=known).tell(Outcome.of([alert]))
    document = msgspec.json.decode(outbox.batches[0][0].document)
    assert {"at": "2026-01-01T00:00:00.000Z", "by": "ada", "note": None} == document["acknowledged"]


def test_the_alert_has_every_field_of_the_contract() -> None:
    """Others read it by these names."""
    outbox = Outbox()
    announcer(outbox).tell(Outcome.of([transition("raised", "l/a/x", 5, 2, 0)]))
    assert FIELDS == set(msgspec.json.decode(outbox.batches[0][0].document))


@pytest.mark.parametrize(
    ("what", "level"),
    [("raised", logging.WARNING), ("updated", logging.DEBUG), ("cleared", logging.INFO)],
)
def test_a_transition_is_one_line_of_the_log(
    what: Any, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The channel, what happened to it, and why."""
    with caplog.at_level(logging.DEBUG):
        announcer(Outbox()).tell(Outcome.of([transition(what, "l/a/x", 5, 2, 0)]))
    assert [level] == [record.levelno for record in caplog.records]
    assert caplog.messages[0].startswith(f"channel=l/a/x alert {what} kind=residual severity=")
    assert caplog.messages[0].endswith(": too high")


def test_what_could_not_be_sent_is_counted() -> None:
    """An alert that is lost at the outbox is still in the log and in the count."""
    unlucky = announcer(Outbox(takes=False))
    alerts: list[Alert] = [transition("raised", "l/a/x", 5, 2, 0)] * 3
    unlucky.tell(Outcome.of(alerts))
    assert {"outbox": 3} == unlucky.lost


def verdicts() -> Verdicts:
    """One that can't be said anything of, one that is expected only, and one with a score."""
    readings = Readings(np.array([0, 0, 1]), np.array([1.0, 2.0, 2.5]), np.array([5.0, 6.0, 7.0]))
    made = Verdicts.blank(readings)
    made.expected[1:] = (6.5, 6.75)
    made.lower[2], made.upper[2], made.score[2] = 6.0, 8.0, 1.5
    made.state[2], made.kind[2] = State.FIRING, Kind.RELATION
    return made


def test_scores_are_published_where_they_are_asked_for() -> None:
    """One document a reading that something is known of; what isn't known is null."""
    outbox = Outbox()
    announcer(outbox, scores=True).tell(Outcome(verdicts(), []))
    early: dict[str, Any] = {
        "time": 2.0,
        "value": 6.0,
        "expected": 6.5,
        "lower": None,
        "upper": None,
    }
    early |= {"score": None, "state": "warming", "kind": ""}
    late: dict[str, Any] = {"time": 2.5, "value": 7.0, "expected": 6.75, "lower": 6.0, "upper": 8.0}
    late |= {"score": 1.5, "state": "firing", "kind": "relation"}
    assert outbox.sent == [
        (f"{ROOT}/score/l/a/x", early, 0, False),
        (f"{ROOT}/score/l/a/y", late, 0, False),
    ]


def test_without_asking_no_score_is_published() -> None:
    """A stream of scores costs as much as the readings."""
    outbox = Outbox()
    announcer(outbox).tell(Outcome(verdicts(), []))
    assert ([], []) == (outbox.sent, outbox.batches)


@pytest.mark.parametrize("kind", ["forecast", "range"])
def test_what_concerns_a_limit_has_a_topic_of_its_own(kind: str) -> None:
    """It may be open beside the channel's other alert, and must not take its place."""
    outbox = Outbox()
    alert = msgspec.structs.replace(transition("raised", "l/a/x", 5, 2, 0), kind=kind)
    announcer(outbox).tell(Outcome.of([alert]))
    assert [f"{ROOT}/{kind}/l/a/x"] == [each.topic for each in outbox.batches[0]]
