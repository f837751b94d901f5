"""A command is followed and answered, or refused with a reason in one line; a retained one is not
looked at; what can't be kept has no effect."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from anomalyd.adapters.outbox import FILE, Outbox, Record, Transition
from anomalyd.runtime.alerts import Acknowledgement
from anomalyd.runtime.commands import Commands
from anomalyd.runtime.maintenance import Maintenance
from tests.runtime.transitions import transition

NOW_S = 1_800_000_000.0
ALERT = transition("raised", "l/a/x", 5, 2, 0)


class Desk:
    """Commands on a real database, followed at once; stands where the courier does."""

    def __init__(self, directory: Path) -> None:
        self.outbox: Outbox | None = Outbox(directory / FILE)
        document, topic = msgspec.json.encode(ALERT), "anomalyd/main/alert/l/a/x"
        self.outbox.add(
            [Transition(1, ALERT.id, ALERT.channel, ALERT.kind, topic, "raised", 0.0, document)]
        )
        self.maintenance = Maintenance()
        self.acknowledged: dict[str, Acknowledgement] = {}
        self.told: list[Transition] = []
        self.retrained = 0
        self.judged: list[tuple[str, str | None]] = []
        self.faults: Mapping[str, float] = {}
        self.replies: list[tuple[str, Any]] = []
        self.commands = Commands(
            "anomalyd/main",
            self,  # type: ignore[arg-type]
            self._reply,
            self.maintenance,
            self.acknowledged,
            self._retrain,
            self._judge,
            self._remember,
            lambda: NOW_S,
        )

    def _retrain(self) -> None:
        self.retrained += 1

    def _judge(self, alert: Record) -> None:
        self.judged.append((alert.id, alert.verdict))

    def _remember(self, faults: Mapping[str, float]) -> None:
        self.faults = faults

    def do(self, task: Any) -> None:
        task()

    def add(self, told: Transition) -> None:
        self.told.append(told)

    def _reply(self, topic: str, payload: bytes) -> bool:
        self.replies.append((topic, msgspec.json.decode(payload)))
        return True

    def ask(self, verb: str, payload: bytes) -> Any:
        self.commands.take(f"anomalyd/main/command/{verb}", payload, False)
        topic, reply = self.replies.pop()
        assert topic.startswith("anomalyd/main/reply/")
        return reply


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    outbox = desk.outbox
    yield desk
    assert outbox
    outbox.close()


def encoded(**command: Any) -> bytes:
    return msgspec.json.encode(command)


def test_an_acknowledgement_is_kept_and_told(desk: Desk) -> None:
    reply = desk.ask("acknowledge", encoded(id=ALERT.id, by="ada", request="r1"))
    assert (True, "r1", None) == (reply["ok"], reply["request"], reply["error"])
    (told,) = desk.told
    document = msgspec.json.decode(told.document)
    assert ("updated", "ada") == (told.what, document["acknowledged"]["by"])
    assert {ALERT.id} == desk.acknowledged.keys()
    assert {("acknowledge", "ok"): 1} == desk.commands.counts


@pytest.mark.parametrize(
    ("verb", "payload", "error"),
    [
        ("acknowledge", encoded(id="gone"), "no alert has the id gone"),
        ("acknowledge", b"{", "Input data was truncated"),
        ("acknowledge", b"\xff", "JSON is malformed"),
        ("acknowledge", encoded(id="x", request=1, more=2), "unknown field `more`"),
        ("feedback", encoded(id=ALERT.id, verdict="maybe"), "Invalid enum value 'maybe'"),
        ("maintenance", encoded(channels=["x"]), "give until or for_s"),
        ("maintenance", encoded(channels=["x"], for_s=-1), "Expected `float` > 0.0"),
        ("maintenance", encoded(channels=[], for_s=1), "length >= 1"),
        ("maintenance", encoded(channels=["x"], until="noon"), "no time in ISO 8601"),
        ("maintenance", encoded(channels=["x"], until=1.0), "in the next ten years"),
        ("maintenance", encoded(channels=["x"], until="2027-02-01T00:00:00"), "no time zone"),
        ("maintenance", encoded(channels=["x"], end=True, for_s=1), "end goes without"),
        ("reboot", b"{}", "no such command"),
        ("feedback", b" " * 70_000, "more than 65536 bytes"),
    ],
)
def test_a_bad_command_is_refused_in_one_line(
    desk: Desk, verb: str, payload: bytes, error: str
) -> None:
    reply = desk.ask(verb, payload)
    assert not reply["ok"]
    assert error in reply["error"]
    assert "\n" not in reply["error"]
    assert 1 == sum(desk.commands.counts.values())


def test_a_retained_command_is_not_looked_at(desk: Desk) -> None:
    desk.commands.take("anomalyd/main/command/acknowledge", encoded(id=ALERT.id), True)
    assert ([], {}) == (desk.replies, desk.commands.counts)


def test_maintenance_is_offered_to_the_pipeline(desk: Desk) -> None:
    reply = desk.ask("maintenance", encoded(channels=["l/*"], for_s=60, request=1))
    assert "2027-01-15T08:01:00.000Z" == reply["until"]
    windows = desk.maintenance.take()
    assert windows
    assert [("l/*", NOW_S + 60)] == [each[:2] for each in windows]
    assert desk.ask("maintenance", encoded(channels=["l/*"], end=True))["ok"]
    assert () == desk.maintenance.take()


def test_without_a_database_nothing_is_followed(desk: Desk) -> None:
    desk.outbox = None
    reply = desk.ask("maintenance", encoded(channels=["l/*"], for_s=60, request=5))
    assert (False, 5) == (reply["ok"], reply["request"])
    assert desk.maintenance.take() is None


def test_what_was_said_is_remembered(desk: Desk) -> None:
    assert desk.outbox
    desk.ask("acknowledge", encoded(id=ALERT.id, by="ada"))
    desk.ask("maintenance", encoded(channels=["l/*"], for_s=60))
    desk.acknowledged.clear()
    desk.maintenance.take()
    desk.commands.remember(desk.outbox)
    assert "ada" == desk.acknowledged[ALERT.id].by
    assert 1 == len(desk.maintenance.take() or ())


def test_a_verdict_is_handed_on_and_once_more_after_a_restart(desk: Desk) -> None:
    for verdict in ("false_alarm", "confirmed"):
        desk.ask("feedback", encoded(id=ALERT.id, verdict=verdict))
        assert (ALERT.id, verdict) == desk.judged.pop()
    assert desk.outbox
    desk.commands.remember(desk.outbox)
    assert [(ALERT.id, "confirmed")] == desk.judged


def test_of_every_channel_the_last_fault_is_told(desk: Desk) -> None:
    """After every verdict, and after a restart; also of those that are over."""
    assert desk.outbox
    desk.ask("feedback", encoded(id=ALERT.id, verdict="confirmed"))
    told = {ALERT.channel: 0.0}
    assert told == desk.faults
    desk.faults = {}
    desk.commands.remember(desk.outbox)
    assert told == desk.faults
    desk.ask("feedback", encoded(id=ALERT.id, verdict="false_alarm"))
    assert {ALERT.channel: -math.inf} == desk.faults
