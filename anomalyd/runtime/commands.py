"""What people tell the daemon over MQTT: acknowledge, feedback, maintenance, retrain.

`take` is called on the broker's thread and only hands on; everything else happens on the thread
`outbox`, which has the database. What can't be kept there is refused: a command either survives a
restart or has no effect. Each gets one reply, with its `request` field; none raises.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from anomalyd.adapters.outbox import Outbox, Record, Transition, Window
from anomalyd.runtime.alerts import Acknowledgement, iso
from anomalyd.runtime.courier import Courier
from anomalyd.runtime.maintenance import Maintenance

log = logging.getLogger(__name__)

VERBS = ("acknowledge", "feedback", "maintenance", "retrain")
LARGEST_COMMAND = 65_536

_Text = Annotated[str, msgspec.Meta(max_length=1000)]
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
_Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
_Request = str | int | None


class Acknowledge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody has taken notice of an alert."""

    id: _Id
    by: _Text | None = None
    note: _Text | None = None
    request: _Request = None


class Feedback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody says what an alert was."""

    id: _Id
    verdict: Literal["confirmed", "false_alarm"]
    by: _Text | None = None
    note: _Text | None = None
    request: _Request = None


class Maintain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody works on these channels, until a time or for a while; or does no longer."""

    channels: Annotated[list[_Pattern], msgspec.Meta(min_length=1, max_length=1000)]
    until: str | float | None = None
    """seconds since 1970, or ISO 8601"""
    for_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    end: bool = False
    by: _Text | None = None
    note: _Text | None = None
    request: _Request = None


class Retrain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody wants the predictor to learn from the plant's history now."""

    by: _Text | None = None
    note: _Text | None = None
    request: _Request = None


class _Asked(msgspec.Struct):
    """What a reply needs of a command that can't be read."""

    request: _Request = None


class _Reply(msgspec.Struct):
    ok: bool
    request: _Request
    error: str | None = None
    until: str | None = None


class _Refused(Exception):
    """The command can't be followed; the message is the reply."""


class Commands:
    """Follows commands; built by the service whether they are enabled or not, as what was said
    before a restart holds on."""

    def __init__(
        self,
        root: str,
        courier: Courier,
        publish: Callable[[str, bytes], bool],
        maintenance: Maintenance,
        acknowledged: dict[str, Acknowledgement],
        retrain: Callable[[], None],
        judged: Callable[[Record], None],
        remember: Callable[[Mapping[str, float]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`acknowledged`: of open alerts, by id; filled here, the announcer looks at it.
        `judged`: is told of an alert of which somebody has said what it was, and of those that
        are open after a restart. `remember`: is told, before it, when channels had their last
        confirmed alert, -inf: none is left."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """(verb, "ok" or "error") -> how many"""
        self._root = f"{root}/command/"
        self._replies = f"{root}/reply/"
        self._courier = courier
        self._publish = publish
        self._maintenance = maintenance
        self._acknowledged = acknowledged
        self._retrain = retrain
        self._judged = judged
        self._remember = remember
        self._clock = clock

    def take(self, topic: str, payload: bytes, retained: bool) -> None:
        """A message on a command topic; a retained one would be followed again at every connect."""
        if not retained:
            kept = payload[: LARGEST_COMMAND + 1]
            self._courier.do(lambda: self._follow(topic.removeprefix(self._root), kept))

    def remember(self, outbox: Outbox) -> None:
        """What was said before a restart; on the thread `outbox`, when a database was opened."""
        self._maintenance.offer(outbox.maintenance())
        self._remember(outbox.faults())
        for each in outbox.alerts(open_only=True):
            if each.acknowledged_s is not None:
                self._acknowledged[each.id] = _acknowledgement(each)
            if each.verdict is not None:
                self._judged(each)

    # --- on the thread `outbox` ---------------------------------------------------------------

    def _follow(self, verb: str, payload: bytes) -> None:
        reply = _Reply(True, None)
        try:
            reply.request = _request(payload)
            reply.until = self._done(verb, payload)
        except (_Refused, msgspec.MsgspecError, UnicodeDecodeError) as error:
            reply.ok, reply.error = False, str(error)
        except sqlite3.Error as error:
            reply.ok, reply.error = False, f"not kept, and so not followed: {error}"
        known = verb if verb in VERBS else "unknown"
        self.counts[known, "ok" if reply.ok else "error"] += 1
        log.info("command=%s %s", known, reply.error or "ok")
        self._publish(f"{self._replies}{known}", msgspec.json.encode(reply))

    def _done(self, verb: str, payload: bytes) -> str | None:
        """Follow it; the end of a maintenance that begins."""
        outbox = self._courier.outbox
        if verb not in VERBS:
            raise _Refused(f"no such command; there are {', '.join(VERBS)}")
        if len(payload) > LARGEST_COMMAND:
            raise _Refused(f"more than {LARGEST_COMMAND} bytes")
        if verb == "retrain":
            msgspec.json.decode(payload, type=Retrain)
            self._retrain()
            return None
        if outbox is None:
            raise _Refused("not kept, and so not followed: there is no database now")
        if verb == "maintenance":
            return self._maintain(outbox, msgspec.json.decode(payload, type=Maintain))
        if verb == "acknowledge":
            self._acknowledge(outbox, msgspec.json.decode(payload, type=Acknowledge))
        else:
            self._judge(outbox, msgspec.json.decode(payload, type=Feedback))
        return None

    def _acknowledge(self, outbox: Outbox, command: Acknowledge) -> None:
        if not outbox.acknowledge(command.id, self._clock(), command.by, command.note):
            raise _Refused(f"no alert has the id {command.id}")
        record = outbox.find(command.id)
        if record is not None and record.cleared_s is None:
            self._prune_acknowledged(outbox)
            self._acknowledged[record.id] = _acknowledgement(record)
            self._courier.add(_updated(record, self._acknowledged[record.id]))

    def _prune_acknowledged(self, outbox: Outbox) -> None:
        """Those that have been cleared meanwhile are not asked for again."""
        standing = {each.id for each in outbox.alerts(open_only=True)}
        for identity in self._acknowledged.keys() - standing:
            del self._acknowledged[identity]

    def _judge(self, outbox: Outbox, command: Feedback) -> None:
        at_s = self._clock()
        if not outbox.judge(command.id, command.verdict, at_s, command.by, command.note):
            raise _Refused(f"no alert has the id {command.id}")
        record = outbox.find(command.id)
        if record is not None:
            self._remember({record.channel: outbox.faults().get(record.channel, -math.inf)})
            self._judged(record)

    def _maintain(self, outbox: Outbox, command: Maintain) -> str | None:
        now_s = self._clock()
        if command.end:
            if command.until is not None or command.for_s is not None:
                raise _Refused("end goes without until and for_s")
            outbox.maintain((), command.channels, now_s)
            until_s = None
        else:
            until_s = _until(command, now_s)
            about = (until_s, now_s, command.by, command.note)
            outbox.maintain([Window(each, *about) for each in command.channels], (), now_s)
        self._maintenance.offer(outbox.maintenance())
        return None if until_s is None else iso(until_s)


def _request(payload: bytes) -> _Request:
    try:
        return msgspec.json.decode(payload[:LARGEST_COMMAND], type=_Asked).request
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _until(command: Maintain, now_s: float) -> float:
    if (command.until is None) == (command.for_s is None):
        raise _Refused("give until or for_s, one of the two, or end")
    until_s = now_s + command.for_s if command.for_s is not None else _seconds(command.until)
    if not now_s < until_s < now_s + 10 * 366 * 86400.0:
        raise _Refused("the end must be in the next ten years")
    return until_s


def _seconds(moment: str | float | None) -> float:
    if not isinstance(moment, str):
        return float(moment or 0.0)
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        raise _Refused(f"until = {moment!r} is no time in ISO 8601") from None
    if parsed.tzinfo is None:
        raise _Refused(f"until = {moment!r} has no time zone")
    return parsed.timestamp()


def _acknowledgement(record: Record) -> Acknowledgement:
    at = iso(record.acknowledged_s or 0.0)
    return Acknowledgement(at, record.acknowledged_by, record.acknowledged_note)


def _updated(record: Record, acknowledged: Acknowledgement) -> Transition:
    """The alert as it was told last, and that somebody knows of it."""
    alert = msgspec.json.decode(record.document)
    alert |= {"transition": "updated", "acknowledged": acknowledged}
    at_s = datetime.fromisoformat(alert["updated_at"]).timestamp()
    document = msgspec.json.encode(alert)
    about = (record.id, record.channel, record.kind, record.topic)
    return Transition(0, *about, "updated", at_s, document)
