"""Topics with named wildcards: subscription, labels and channel name.

`plant/{line}/{machine}/{sensor}` subscribes to `plant/+/+/+`; a topic that matches gives the
labels line, machine and sensor. `{path*}`, at the end, is all further levels. Plain `+` and `#`
match too, without a label. Pure functions of strings; the intake caches what they answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from anomalyd.errors import ConfigError

_NAMED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\*?)\}")


@dataclass(frozen=True, slots=True)
class Match:
    """A topic that belongs to a stream."""

    channel: str
    labels: dict[str, str]


class TopicPattern:
    """One stream's `topic`, and the template of its channels' names."""

    def __init__(
        self, topic: str, channel: str | None = None, leave_out: int | None = None
    ) -> None:
        """Raises ConfigError naming the topic and what is wrong with it.

        `leave_out`: level that is neither in the channel's name nor a label.
        """
        self.topic = topic
        levels = topic.split("/")
        wild = [index for index, level in enumerate(levels) if _is_wild(level)]
        self._leave_out = leave_out
        named = levels if leave_out is None else levels[:leave_out] + levels[leave_out + 1 :]
        self.names = tuple(match[1] for match in map(_NAMED.fullmatch, named) if match)
        self._unlabelled = any(each in named for each in "+#")
        self._check(levels)
        self.subscription = "/".join(_subscription(level) for level in levels)
        self._expression = re.compile(_expression(levels), re.DOTALL)
        self._first_wild = wild[0] if wild else 0
        self._template = channel
        if channel is not None:
            self._check_template(channel)

    @property
    def prefix(self) -> str:
        """The levels before the first wildcard, with a slash behind; "" where there are none."""
        return "".join(f"{level}/" for level in self.topic.split("/")[: self._first_wild])

    def match(self, topic: str) -> Match | None:
        """The channel and labels of a topic, or None where it belongs to another stream."""
        found = self._expression.fullmatch(topic)
        if not found:
            return None
        said = found.groupdict()
        labels = {name: shared(said[name] or "") for name in self.names}
        if self._template is not None:
            return Match(_NAMED.sub(lambda name: labels[name[1]], self._template), labels)
        levels = topic.split("/")
        if self._leave_out is not None:
            del levels[self._leave_out]
        return Match("/".join(levels[self._first_wild :]), labels)

    def _check(self, levels: list[str]) -> None:
        for index, level in enumerate(levels):
            whole = bool(_NAMED.fullmatch(level)) or level in ("+", "#")
            if not whole and re.search(r"[{}+#]", level):
                raise ConfigError(f"topic {self.topic!r}: {level!r} is no {{name}}, + or #")
            if _takes_rest(level) and index != len(levels) - 1:
                raise ConfigError(f"topic {self.topic!r}: {level!r} must be the last level")
        if len(set(self.names)) != len(self.names):
            raise ConfigError(f"topic {self.topic!r}: a wildcard's name occurs twice")

    def _check_template(self, channel: str) -> None:
        if re.search(r"[+#\x00-\x1f]", channel):
            raise ConfigError(f"channel {channel!r} can't be in a topic: it has + or # in it")
        used = {match[1] for match in _NAMED.finditer(channel)}
        if used != set(self.names) or self._unlabelled:
            raise ConfigError(
                f"channel {channel!r} of topic {self.topic!r} must name every wildcard of the "
                "topic, or two topics would be one channel"
            )


@lru_cache(maxsize=4096)
def shared(word: str) -> str:
    """`word`, as the one string that all channels hold of whose lines and machines it is the name.
    Of the newest words alone: names that come and go leave nothing behind."""
    return word


def _is_wild(level: str) -> bool:
    return level in ("+", "#") or bool(_NAMED.fullmatch(level))


def _takes_rest(level: str) -> bool:
    return level == "#" or level.endswith("*}")


def _subscription(level: str) -> str:
    if not _is_wild(level):
        return level
    return "#" if _takes_rest(level) else "+"


def _expression(levels: list[str]) -> str:
    expression = ""
    for index, level in enumerate(levels):
        slash = "/" if index else ""
        named = _NAMED.fullmatch(level)
        group = f"?P<{named[1]}>" if named else ""
        if not _is_wild(level):
            expression += slash + re.escape(level)
        elif _takes_rest(level):
            # "a/#" matches "a" as well: the slash before it belongs to what it stands for.
            expression += f"(?:{slash}({group}.*))?"
        else:
            expression += f"{slash}({group}[^/]*)"
    return expression
