"""From messages to readings: topic -> row by one look-up, payload -> value, time -> seconds.

Called by the pipeline's thread (live) and by replay (for names). A message that can't be read is
counted by its reason, told once in a while, and costs the others nothing.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from anomalyd.adapters.codec import Decoded, Refused, Series, sparkplug
from anomalyd.adapters.codec.payload import Time
from anomalyd.adapters.topics import Match
from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Flags, Floats, Readings, Rows
from anomalyd.detection.timestamp import seconds
from anomalyd.logs import Sparse
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.inbox import Message
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.rebirths import Rebirths
from anomalyd.runtime.skew import Skew
from anomalyd.runtime.streams import StreamReader, channel_of, read_streams
from anomalyd.settings import Stream

log = logging.getLogger(__name__)

_NEVER_OVERDUE_S = 10.0
_TELL_EVERY_S = 60.0


@dataclass(slots=True)
class _Route:
    """What is known of one topic, or of the few that stand for the same channels."""

    reader: StreamReader
    channel: str
    """what it is called, and its labels: those of a `Match`, without an object of its own"""
    labels: dict[str, str]
    decode: Callable[[bytes, str], Decoded | Series]
    place: str
    """what those topics have in common"""
    topics: tuple[str, ...] = ()
    """the others than `place`: none, mostly, and of a hundred thousand a set each would be dear"""
    row: int | None = None
    """of the payload's own value, the field "": all that most topics have"""
    fields: dict[str, int] | None = None
    """the others -> row; None: there are none, and a hundred thousand dicts would be dear"""

    def find(self, name: str) -> int | None:
        """Row of a field; None where it has none yet."""
        if not name:
            return self.row
        return self.fields.get(name) if self.fields else None

    def known(self) -> dict[str, int]:
        """Field -> row, of all."""
        fields = self.fields or {}
        return fields if self.row is None else {"": self.row, **fields}

    def place_at(self, name: str, row: int) -> None:
        """The field has this row."""
        if not name:
            self.row = row
        elif self.fields is None:
            self.fields = {name: row}
        else:
            self.fields[name] = row


class _Batch(NamedTuple):
    """Readings in order of arrival, as parallel lists."""

    rows: list[int]
    values: list[float]
    times: list[Time]
    arrived: list[float]


class Intake:
    """Knows the streams, and which topic is which channel."""

    def __init__(self, streams: Sequence[Stream], pipeline: Pipeline, max_skew_s: float) -> None:
        self.rejected: Counter[str] = Counter()
        self._readers = read_streams(streams)
        self._decoders = [reader.codec.decode for reader in self._readers]
        self._pipeline = pipeline
        self.skew = Skew(pipeline.table.capacity, max_skew_s)
        self._routes: dict[str, _Route] = {}
        self._topic_of = [""] * pipeline.table.capacity
        """row -> the topic that it speaks on, "" where nobody knows; half as large as a dict"""
        self._heard = np.zeros(pipeline.table.capacity)
        self._sparse = Sparse(log, _TELL_EVERY_S)
        self._full = False
        self.rebirths = Rebirths()
        self._dead: dict[int, None] = {}
        self._rows_of_node: dict[str, set[int]] = {}
        """Sparkplug node -> rows of it and of its devices, spoken or restored"""
        self._seeds: dict[int, tuple[float, float | str | None, float]] = {}

    @property
    def subscriptions(self) -> list[str]:
        """What to subscribe to."""
        return [reader.pattern.subscription for reader in self._readers]

    def read(self, messages: Sequence[Message], clock_offset_s: float) -> tuple[Readings, Floats]:
        """Readings, and (B,) the monotonic second at which each arrived.

        `clock_offset_s`: what to add to a monotonic second to get seconds since 1970.
        """
        batch = _Batch([], [], [], [])
        rows, values, times, arrived = batch
        for message in messages:
            topic, payload, at, retained, _ = message
            route = self._routes.get(topic)
            try:
                if route is None:
                    route = self._find(topic)
                if retained and self._is_old(message, route):
                    continue
                decoded = route.decode(payload, topic)
            except Refused as refused:
                self._refuse(refused.reason, message, str(refused))
                continue
            if isinstance(decoded, Series):
                self._read_series(message, route, decoded, batch, clock_offset_s)
                continue
            time = decoded.time
            for name, value in decoded.fields:
                fields = route.fields
                row = route.row if not name else fields.get(name) if fields else None
                if row is None:
                    row = self._open(message, route, name)
                    if row is None:
                        continue
                rows.append(row)
                values.append(value)
                times.append(time)
                arrived.append(at)
        if self._seeds:
            self._seed(clock_offset_s)
        return self._readings(batch, clock_offset_s)

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
        self._dead.pop(row, None)
        self.skew.forget(row)
        # Its topic's other channels are found again when they speak.
        place, self._topic_of[row] = self._topic_of[row], ""
        route = self._routes.get(place)
        self._leave_node(row, place)
        for topic in (place, *route.topics) if route else ():
            self._routes.pop(topic, None)
        log.info("channel=%s retired", self._pipeline.table[row].name)
        self._full = False
        return self._pipeline.retire(row, now_s)

    def take_dead(self) -> Rows:
        """(rows,) of channels whose devices have told that they are gone since the last call, and
        have said nothing after it."""
        dead, self._dead = self._dead, {}
        return np.fromiter(dead, dtype=np.intp, count=len(dead))

    def topics(self) -> dict[str, str]:
        """Channel -> the topic that it speaks on."""
        found = ((channel, self._topic_of[row]) for row, channel in self._pipeline.table.listing())
        return {channel.name: topic for channel, topic in found if topic}

    def ahead_s(self) -> dict[str, float]:
        """Channel -> how far its times are ahead of the host's clock, of those that told any."""
        listing = self._pipeline.table.listing()
        ahead_s = self.skew.told(np.array([row for row, _ in listing], dtype=np.intp))
        names = [channel.name for _, channel in listing]
        return {
            name: ahead
            for name, ahead in zip(names, ahead_s.tolist(), strict=True)
            if not math.isnan(ahead)
        }

    def recall_ahead(self, ahead_s: Mapping[int, float], behind_s: float) -> None:
        """Row -> what `ahead_s` said before a restart, NaN: nothing; and `skew.behind_s`."""
        rows = np.array(list(ahead_s), dtype=np.intp)
        self.skew.recall(rows, np.array(list(ahead_s.values())), behind_s)

    def topic(self, row: int) -> str:
        """What the channel speaks on; "" where nobody knows."""
        return self._topic_of[row]

    def reopen(self, topic: str, name: str) -> int | None:
        """Row of a channel that spoke before a restart; None where no stream makes it any more, or
        there is no room."""
        row = self._pipeline.table.find(name)
        if row is not None:
            return row
        for reader in self._readers:
            match = reader.pattern.match(topic)
            if match is None:
                continue
            field = name.removeprefix(match.channel).removeprefix("/")
            channel = reader.channel(match, field)
            row = self._pipeline.add(channel) if channel.name == name else None
            if row is not None:
                self.adopt({row: topic}, time.monotonic())
            return row
        return None

    def adopt(self, topics: Mapping[int, str], now_s: float) -> None:
        """Know the restored channels (row -> topic) as if they had spoken at `now_s`, monotonic:
        nobody knows who did while the daemon was down."""
        for row, place in topics.items():
            if place:
                self._place(row, place)
        self._heard[list(topics)] = now_s

    def flush(self, now_s: float) -> None:
        """Tell of what was refused and not told yet."""
        self._sparse.flush(now_s)

    # --- retained -----------------------------------------------------------------------------

    def _is_old(self, message: Message, route: _Route) -> bool:
        """A retained message is a replay of an old value: it may be where a channel begins."""
        stream = route.reader.stream
        if stream.format == "sparkplug":
            raise Refused("retained", "Sparkplug's births, data and deaths are never retained")
        if stream.retained == "ignore":
            raise Refused("retained", "a retained message is a replay of an old value")
        if stream.retained == "use" and (stream.format != "auto" or stream.time is not None):
            return False
        decoded = route.decode(message.payload, message.topic)
        if isinstance(decoded, Series):
            found = list(zip(decoded.names, decoded.values, decoded.times, strict=True))
        else:
            found = [(name, value, decoded.time) for name, value in decoded.fields]
        opened = [
            self._open(message, route, name) if (row := route.find(name)) is None else row
            for name, *_ in found
        ]
        rows = [row for row in opened if row is not None]
        if stream.retained == "use":
            if not self._pipeline.silent(np.array(rows, dtype=np.intp)).any():
                return False
            raise Refused("retained", "its channel is silent, and nobody knows when this was said")
        for row, (_, value, at) in zip(opened, found, strict=True):
            if row is not None:
                self._heard[row] = message.arrived
                self._seeds[row] = value, at, message.arrived
        return True

    def _seed(self, clock_offset_s: float) -> None:
        """Before the batch: a new channel's first reading is compared with what was retained."""
        seeds, self._seeds = self._seeds, {}
        values, times, arrived = zip(*seeds.values(), strict=True)
        at = seconds(times, np.array(arrived) + clock_offset_s)
        fit = ~np.isnan(at)
        found = Readings(np.array(list(seeds), dtype=np.intp), at, np.array(values))
        self._pipeline.seed(found.take(fit))

    # --- one message ------------------------------------------------------------------------

    def _find(self, topic: str) -> _Route:
        for reader in self._readers:
            match = reader.match(topic)
            if match is None:
                continue
            place = reader.place(topic)
            route = self._routes.get(place)
            if route is None:
                decode = self._decoders[reader.index]
                return _Route(reader, match.channel, match.labels, decode, place)
            # Of the known types only: the reader has refused all others.
            self._remember(route, topic)
            return route
        raise Refused("topic", "no stream has this topic")

    def _remember(self, route: _Route, topic: str) -> None:
        if topic != route.place and topic not in route.topics:
            route.topics += (topic,)
        self._routes[topic] = self._routes[route.place] = route

    def _place(self, row: int, place: str) -> None:
        self._topic_of[row] = place
        node = sparkplug.node_of(place)
        if node:
            self._rows_of_node.setdefault(node, set()).add(row)

    def _leave_node(self, row: int, place: str) -> None:
        node = sparkplug.node_of(place)
        rows = self._rows_of_node.get(node)
        if rows is not None:
            rows.discard(row)
            if not rows:
                del self._rows_of_node[node]

    def _die(self, place: str, now_s: float) -> None:
        node = sparkplug.node_of(place)
        rows = sorted(self._rows_of_node.get(node, ()))
        if place != node:
            rows = [row for row in rows if self._topic_of[row] == place]
        if rows:
            self._dead.update(dict.fromkeys(rows))
            what = "device=%.200s told its end: %d channels are dead"
            self._sparse.warning(place, now_s, what, place, len(rows))

    def _read_series(
        self, message: Message, route: _Route, series: Series, batch: _Batch, clock_offset_s: float
    ) -> None:
        if series.ask:
            self.rebirths.ask(series.ask, message.arrived)
        if series.dead:
            self._die(series.dead, message.arrived)
        for field_, reason in series.refused:
            self._refuse(reason, message, f"field {field_!r:.60} of the message")
        found = list(map(route.known().get, series.names))
        if None in found:
            for name in dict.fromkeys(series.names):
                if route.find(name) is None:
                    self._open(message, route, name, series.units.get(name, ""))
            found = list(map(route.known().get, series.names))
        placed = [row for row in found if row is not None]
        if self._dead:
            for row in placed:
                self._dead.pop(row, None)
        values, times = series.values, series.times
        if series.ages:
            now = message.arrived + clock_offset_s
            times = [
                now + age if time is None else time
                for time, age in zip(times, series.ages, strict=True)
            ]
        if len(placed) < len(found):
            fit = [index for index, row in enumerate(found) if row is not None]
            values, times = [values[index] for index in fit], [times[index] for index in fit]
        batch.rows.extend(placed)
        batch.values.extend(values)
        batch.times.extend(times)
        batch.arrived.extend([message.arrived] * len(placed))

    def _open(self, message: Message, route: _Route, name: str, unit: str = "") -> int | None:
        try:
            channel = route.reader.channel(Match(route.channel, route.labels), name, unit)
        except Refused as refused:
            self._refuse(refused.reason, message, str(refused))
            return None
        row = self._pipeline.table.find(channel.name)
        if row is None:
            row = self._pipeline.add(channel)
        elif row in route.known().values():
            self._refuse("name", message, f"two of its fields would be channel {channel.name}")
            return None
        elif (other := self._topic_of[row] or route.place) != route.place:
            what = f"channel {channel.name} is {other} already; give its stream a `channel`"
            self._refuse("name", message, what)
            return None
        if row is None:
            self._overflow(message)
            return None
        # Only a topic with a channel is remembered: a million others leave no trace.
        route.place_at(name, row)
        self._remember(route, message.topic)
        self._place(row, route.place)
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

    def _readings(self, batch: _Batch, clock_offset_s: float) -> tuple[Readings, Floats]:
        at: Rows = np.array(batch.rows, dtype=np.intp)
        arrived = np.array(batch.arrived)
        times = seconds(batch.times, arrived + clock_offset_s)
        readings = Readings(at, times, np.array(batch.values))
        self._heard[at] = arrived
        unread = np.isnan(readings.times)
        future = self.skew.judge(at, readings.times - (arrived + clock_offset_s))
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
