"""Transitions that wait to be published, in order for each channel.

Owned by the courier, on its thread: no locks. A document that can be had from the database again
need not be held here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self

from anomalyd.adapters.outbox import Transition


@dataclass(frozen=True, slots=True)
class Post:
    """What is published for one transition, or to repair what is retained (`seq` 0)."""

    seq: int
    id: str
    channel: str
    topic: str
    what: str
    document: bytes | None
    """None: the database has it"""
    event: bool = True
    """it is told as an event too"""

    @classmethod
    def of(cls, each: Transition, keep_document: bool) -> Self:
        document = each.document if keep_document else None
        return cls(each.seq, each.id, each.channel, each.topic, each.what, document)


class Lanes:
    """One lane a channel."""

    def __init__(self) -> None:
        self.superseded: list[int] = []
        """`seq` of updates that a newer one took the place of"""
        self._lanes: dict[str, deque[Post]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, post: Post, supersede: bool = True) -> None:
        """At the end of its channel's lane; an update takes the place of the one before it.
        `supersede`: even where that one is the head of the lane, as it is not on its way."""
        lane = self._lanes.setdefault(post.channel, deque())
        last = lane[-1] if len(lane) > (0 if supersede else 1) else None
        if last and last.id == post.id and last.what == post.what == "updated":
            self.superseded.append(lane.pop().seq)
            self._size -= 1
        lane.append(post)
        self._size += 1

    def sort(self, flying: Container[str]) -> None:
        """Older ones have been found: bring them before the others, but not before what is on its
        way."""
        for channel, lane in self._lanes.items():
            first = [lane.popleft()] if channel in flying else []
            self._lanes[channel] = deque([*first, *sorted(lane, key=lambda post: post.seq)])

    def waits(self, channel: str, topic: str) -> bool:
        """Something for `topic` is on its way, or will be."""
        return any(post.topic == topic for post in self._lanes.get(channel, ()))

    def seqs(self) -> Iterator[int]:
        """Of all that wait."""
        return (post.seq for lane in self._lanes.values() for post in lane)

    def free(self, flying: Container[str], most: int) -> list[str]:
        """Channels with something to send and nothing on its way, the longest waiting first."""
        waiting: Iterator[str] = (each for each in self._lanes if each not in flying)
        return list(islice(waiting, max(most, 0)))

    def head(self, channel: str) -> Post:
        return self._lanes[channel][0]

    def pop(self, channel: str) -> None:
        """The head of that lane is done; what is behind it goes to the end of the queue."""
        lane = self._lanes.pop(channel)
        lane.popleft()
        self._size -= 1
        if lane:
            self._lanes[channel] = lane
