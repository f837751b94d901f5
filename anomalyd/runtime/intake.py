"""From messages to readings: topic -> row by one look-up, payload -> value, time -> seconds.

Called by the pipeline's thread (live) and by replay (for names). A message that can't be read is
counted by its reason, told once in a while, and costs the others nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from anomalyd.adapters.codec import Refused
from anomalyd.adapters.topics import Match
from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Flags, Floats, Readings, Rows
from anomalyd.detection.timestamp import seconds
from anomalyd.logs import Sparse
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.inbox import Message
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.streams import StreamReader, channel_of, read_streams
from anomalyd.settings import Stream

log = logging.getLogger(__name__)

_NEVER_OVERDUE_S = 10.0
_TELL_EVERY_S = 60.0
_LONGEST_NAME = 1024  # bytes; a topic has 65 535, and who could read more


@dataclass(slots=True)
class _Route:
    """What is known of one topic."""

    reader: StreamReader
    match: Match
    rows: dict[str, int] = field(default_factory=dict)
    """field of the payload -> row"""


class Intake:
    """Knows the streams, and which topic is which channel."""

    def __init__(self, streams: Sequence[Stream], pipeline: Pipeline, max_skew_s: float) -> None:
        self.rejected: Counter[str] = Counter()
        self._readers = read_streams(streams)
        self._pipeline = pipeline
        self._max_skew_s = max_skew_s
        self._routes: dict[str, _Route] = {}
        self._topic_of: dict[int, str] = {}
        self._heard = np.zeros(pipeline.table.capacity)
        self._sparse = Sparse(log, _TELL_EVERY_S)
        self._full = False

    @property
    def subscriptions(self) -> list[str]:
        """What to subscribe to."""
        return [reader.pattern.subscription for reader in self._readers]

    def read(self, messages: Sequence[Message], clock_offset_s: float) -> tuple[Readings, Floats]:
        """Readings, and (B,) the monotonic second at which each arrived.

        `clock_offset_s`: what to add to a monotonic second to get seconds since 1970.
        """
        rows: list[int] = []
        values: list[float] = []
        times: list[float | str | None] = []
        arrived: list[float] = []
        for message in messages:
            route = self._routes.get(message.topic)
            try:
                if message.retained:
                    raise Refused("retained", "a retained message is a replay of an old value")
                if route is None:
                    route = self._find(message.topic)
                decoded = route.reader.codec.decode(message.payload)
            except Refused as refused:
                self._refuse(refused.reason, message, str(refused))
                continue
            for name, value in decoded.fields:
                row = route.rows.get(name)
                if row is None:
                    row = self._open(message, route, name)
                    if row is None:
                        continue
                rows.append(row)
                values.append(value)
                times.append(decoded.time)
                arrived.append(message.arrived)
        return self._readings(rows, values, times, np.array(arrived), clock_offset_s)

    def allow_skew(self, max_skew_s: float) -> None:
        """Readings further in the future than this are rejected from now on."""
        self._max_skew_s = max_skew_s

    def channel(self, name: str) -> Channel:
        """The channel that a replayed file's column stands for."""
        return channel_of(self._readers, name)

    def silent(self, now_s: float, longest_s: float) -> list[int]:
        """Rows of channels that have not spoken for `longest_s` monotonic seconds."""
        rows = self._pipeline.table.rows()
        return [int(row) for row in rows[now_s - self._heard[rows] > longest_s]]

    def overdue(self, rows: Rows, now_s: float) -> Flags:
        """(B,) channels that have been silent for longer than their pace explains."""
        longest_s = np.maximum(self._pipeline.longest_silence_s(rows), _NEVER_OVERDUE_S)
        return now_s - self._heard[rows] > longest_s

    def retire(self, row: int, now_s: float) -> list[Alert]:
        """Forget a channel and every way to it; `now_s`: seconds since 1970."""
        # Its topic's other channels are found again when they speak.
        self._routes.pop(self._topic_of.pop(row, ""), None)
        log.info("channel=%s retired", self._pipeline.table[row].name)
        self._full = False
        return self._pipeline.retire(row, now_s)

    def topics(self) -> dict[str, str]:
        """Channel -> the topic that it speaks on."""
        table = self._pipeline.table
        return {table[row].name: topic for row, topic in self._topic_of.items()}

    def adopt(self, topics: Mapping[int, str], now_s: float) -> None:
        """Know the restored channels (row -> topic) as if they had spoken at `now_s`, monotonic:
        nobody knows who did while the daemon was down."""
        self._topic_of.update({row: topic for row, topic in topics.items() if topic})
        self._heard[list(topics)] = now_s

    def flush(self, now_s: float) -> None:
        """Tell of what was refused and not told yet."""
        self._sparse.flush(now_s)

    # --- one message ------------------------------------------------------------------------

    def _find(self, topic: str) -> _Route:
        for reader in self._readers:
            match = reader.pattern.match(topic)
            if match is not None:
                return _Route(reader, match)
        raise Refused("topic", "no stream has this topic")

    def _open(self, message: Message, route: _Route, name: str) -> int | None:
        channel = route.reader.channel(route.match, name)
        if len(channel.name.encode(errors="replace")) > _LONGEST_NAME:
            self._refuse("name", message, "its channel's name would be too long")
            return None
        row = self._pipeline.table.find(channel.name)
        if row is None:
            row = self._pipeline.add(channel)
        elif self._topic_of.get(row, message.topic) != message.topic:
            other = self._topic_of[row]
            what = f"channel {channel.name} is {other} already; give its stream a `channel`"
            self._refuse("name", message, what)
            return None
        if row is None:
            self._overflow(message)
            return None
        # Only a topic with a channel is remembered: a million others leave no trace.
        route.rows[name] = row
        self._routes[message.topic] = route
        self._topic_of[row] = message.topic
        return row

    def _overflow(self, message: Message) -> None:
        self.rejected["capacity"] += 1
        if not self._full:
            self._full = True
            capacity = self._pipeline.table.capacity
            log.warning(
                "topic=%.200r is one channel too many: channels.max is %d; further ones are "
                "counted as rejected for capacity", message.topic, capacity
            )  # fmt: skip

    def _refuse(self, reason: str, message: Message, detail: str) -> None:
        self.rejected[reason] += 1
        self._sparse.warning(
            reason, message.arrived, "topic=%.200r rejected reason=%s: %s", message.topic, reason,
            detail[:200],
        )  # fmt: skip

    # --- the batch --------------------------------------------------------------------------

    def _readings(
        self,
        rows: list[int],
        values: list[float],
        times: list[float | str | None],
        arrived: Floats,
        clock_offset_s: float,
    ) -> tuple[Readings, Floats]:
        at: Rows = np.array(rows, dtype=np.intp)
        readings = Readings(at, seconds(times, arrived + clock_offset_s), np.array(values))
        self._heard[at] = arrived
        unread = np.isnan(readings.times)
        with np.errstate(invalid="ignore"):
            future = readings.times > arrived + clock_offset_s + self._max_skew_s
        for reason, wrong in (("time", unread), ("future", future)):
            if wrong.any():
                self._refuse_times(reason, readings, wrong.nonzero()[0], arrived)
        fit = ~(unread | future)
        return (readings, arrived) if fit.all() else (readings.take(fit), arrived[fit])

    def _refuse_times(self, reason: str, readings: Readings, wrong: Rows, arrived: Floats) -> None:
        self.rejected[reason] += wrong.size
        first = int(wrong[0])
        name = self._pipeline.table[int(readings.rows[first])].name
        what = "its time can't be read" if reason == "time" else "its time is in the future"
        self._sparse.warning(
            reason, float(arrived[first]), "channel=%s rejected reason=%s: %s", name, reason, what
        )
