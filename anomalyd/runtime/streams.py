"""The streams of the configuration, ready to read: topic pattern, codec, asset.

Built at start by the intake, and by `check`, which needs no model for it. What is wrong with a
stream is said here, by name, before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from anomalyd.adapters import codec
from anomalyd.adapters.codec import sparkplug
from anomalyd.adapters.topics import Match, TopicPattern, shared
from anomalyd.detection.channels import Channel, ChannelTable
from anomalyd.detection.reorder import Reorder
from anomalyd.errors import ConfigError
from anomalyd.settings import Stream

# For a control character or a non-character a broker cuts the connection; line and paragraph ends,
# and what turns the direction of writing, would let a name look like another one.
_UNPRINTABLE = (
    "\\x00-\\x1f\\x7f-\\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\ufdd0-\ufdef\ufff9-\uffff"
)
_UNFIT_TOPIC = re.compile(f"[{_UNPRINTABLE}]")
# A field's name becomes part of a topic, where wildcards are refused.
_UNFIT_FIELD = re.compile(f"[+#/{_UNPRINTABLE}]")
_LONGEST_NAME = 1024  # bytes; a topic has 65 535, and who could read more
_LONGEST_UNIT = 32  # characters


def reorder_for(
    streams: Sequence[Stream], table: ChannelTable, together: bool = False
) -> Reorder | None:
    """What holds their readings back; None where no stream wants it."""
    tolerance_s = [stream.reorder_s for stream in streams]
    return Reorder(table, tolerance_s, together) if any(tolerance_s) else None


@dataclass(frozen=True, slots=True)
class StreamReader:
    """One stream."""

    index: int
    stream: Stream
    pattern: TopicPattern
    codec: codec.Codec

    def match(self, topic: str) -> Match | None:
        """What a topic from the broker is called; None where it belongs to another stream.

        Raises Refused (`name`) where it can't be a name.
        """
        found = self.pattern.match(topic)
        if found is None:
            return None
        # The channel's name may be shorter than its labels, which are kept and shown as well.
        if len(topic.encode(errors="replace")) > _LONGEST_NAME:
            raise codec.Refused("name", f"its topic has more than {_LONGEST_NAME} bytes")
        if _UNFIT_TOPIC.search(topic):
            raise codec.Refused("name", "its topic has characters that can't be shown")
        if self.stream.format == "sparkplug":
            sparkplug.check(topic.split("/"))
        return found

    def place(self, topic: str) -> str:
        """What all topics of the same channels have in common: the topic itself, mostly."""
        return sparkplug.place(topic) if self.stream.format == "sparkplug" else topic

    def channel(self, match: Match, field: str, unit: str = "") -> Channel:
        """What a matching topic, and a field of its payload ("" = its own value), is called.

        `unit`: what the payload says. Raises Refused (`name`) where it would be too long.
        """
        field = _UNFIT_FIELD.sub("_", field)
        name = f"{match.channel}/{field}" if field else match.channel
        if len(name.encode(errors="replace")) > _LONGEST_NAME:
            raise codec.Refused("name", "its channel's name would be too long")
        unit = self.stream.unit or _UNFIT_TOPIC.sub("", unit[:_LONGEST_UNIT])
        asset, member = None, ""
        if self.stream.group_by:
            group = self.stream.group_by
            asset = shared(f"{self.index}:" + "/".join(match.labels[label] for label in group))
            rest = [value for label, value in match.labels.items() if label not in group]
            member = "/".join([*rest, field] if field else rest)
        return Channel(name, match.labels, self.index, unit, asset, member)


def channel_of(readers: Sequence[StreamReader], name: str) -> Channel:
    """The channel that a recording's column stands for.

    The name may be a whole topic, or a topic without its stream's literal prefix; where no stream
    matches, it is a channel with the defaults.
    """
    for reader in readers:
        for topic in (name, reader.pattern.prefix + name):
            match = reader.pattern.match(topic)
            if match is not None:
                return reader.channel(match, "")
    return Channel(name, {}, -1)


def read_streams(streams: Sequence[Stream]) -> list[StreamReader]:
    """Raises ConfigError naming the stream's topic and what is wrong with it."""
    readers = []
    for index, stream in enumerate(streams):
        pattern = _pattern(stream)
        if stream.inputs and not stream.group_by:
            raise ConfigError(f"inputs of topic {stream.topic!r}: they need a group_by")
        missing = set(stream.group_by) - set(pattern.names)
        if missing:
            raise ConfigError(
                f"group_by of topic {stream.topic!r}: {min(missing)!r} is none of its wildcards"
            )
        try:
            decoder = _codec(stream)
        except ConfigError as error:
            raise ConfigError(f"topic {stream.topic!r}: {error}") from error
        readers.append(StreamReader(index, stream, pattern, decoder))
    return readers


def _codec(stream: Stream) -> codec.Codec:
    numbers = codec.Numbers(stream.map, stream.booleans)
    good = frozenset(stream.good)
    quality = codec.Quality(stream.quality, good) if stream.quality is not None else None
    return codec.for_stream(stream.value, stream.time, stream.format, stream.step, numbers, quality)


def _pattern(stream: Stream) -> TopicPattern:
    if stream.format != "sparkplug":
        return TopicPattern(stream.topic, stream.channel)
    levels = stream.topic.split("/")
    kind = levels[sparkplug.TYPE_LEVEL : sparkplug.TYPE_LEVEL + 1]
    wild = kind == ["+"] or (kind and kind[0].startswith("{") and not kind[0].endswith("*}"))
    if levels[0] != sparkplug.NAMESPACE or not wild or len(levels) < 4:
        wanted = f"{sparkplug.NAMESPACE}/{{group}}/+/{{node}}/{{device*}}"
        raise ConfigError(f"topic {stream.topic!r}: format = 'sparkplug' wants {wanted!r}")
    return TopicPattern(stream.topic, stream.channel, leave_out=sparkplug.TYPE_LEVEL)
