"""The streams of the configuration, ready to read: topic pattern, codec, asset.

Built at start by the intake, and by `check`, which needs no model for it. What is wrong with a
stream is said here, by name, before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from anomalyd.adapters import codec
from anomalyd.adapters.topics import Match, TopicPattern
from anomalyd.detection.channels import Channel
from anomalyd.errors import ConfigError
from anomalyd.settings import Stream

# A name becomes part of a topic: there, wildcards are refused, and for a control character or a
# non-character a broker cuts the connection.
_UNFIT = re.compile("[+#/\\x00-\\x1f\\x7f-\\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class StreamReader:
    """One stream."""

    index: int
    stream: Stream
    pattern: TopicPattern
    codec: codec.Codec

    def channel(self, match: Match, field: str) -> Channel:
        """What a matching topic, and a field of its payload ("" = its own value), is called."""
        name = f"{match.channel}/{_UNFIT.sub('_', field)}" if field else match.channel
        asset, member = None, ""
        if self.stream.group_by:
            group = self.stream.group_by
            asset = f"{self.index}:" + "/".join(match.labels[label] for label in group)
            rest = [value for label, value in match.labels.items() if label not in group]
            member = "/".join([*rest, field] if field else rest)
        return Channel(name, match.labels, self.index, self.stream.unit, asset, member)


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
        pattern = TopicPattern(stream.topic, stream.channel)
        if stream.inputs and not stream.group_by:
            raise ConfigError(f"inputs of topic {stream.topic!r}: they need a group_by")
        missing = set(stream.group_by) - set(pattern.names)
        if missing:
            raise ConfigError(
                f"group_by of topic {stream.topic!r}: {min(missing)!r} is none of its wildcards"
            )
        try:
            decoder = codec.for_stream(stream.value, stream.time)
        except ConfigError as error:
            raise ConfigError(f"topic {stream.topic!r}: {error}") from error
        readers.append(StreamReader(index, stream, pattern, decoder))
    return readers
