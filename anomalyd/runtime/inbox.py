"""The bounded queue between the broker's thread and the pipeline's.

The broker's thread puts, the pipeline's thread takes everything at once. Where more waits than may,
in messages or in bytes, the oldest messages of the topics with most of them go: one that floods
costs the others nothing. The broker's thread never waits for the pipeline.

A message with a ticket is the broker's until it is acknowledged, and never goes: where such
messages fill half of the inbox it is `full`, and who puts reads no more from the broker until they
are scored. The other half is for those without one.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple

_SHED = 0.125  # of the capacity at once: a flood isn't sorted message by message
_OWED = 0.5  # of the capacity, for messages that the broker keeps until they are scored
_MESSAGE_BYTES = 300  # of a message beside its topic and payload, in memory


class Message(NamedTuple):
    """One message as it came from the broker."""

    topic: str
    payload: bytes
    arrived: float
    """monotonic seconds"""
    retained: bool = False
    ticket: int = 0
    """to acknowledge it with, once it is scored; 0: there is nothing to acknowledge"""


class Inbox:
    """Messages in order of arrival."""

    def __init__(self, capacity: int, capacity_bytes: int = 1 << 28) -> None:
        self.capacity = capacity
        self.received = 0
        self.dropped = 0
        """came after it was closed"""
        self.shed = 0
        """waited, and were one too many"""
        self._capacity_bytes = capacity_bytes
        # Append, popleft and len of a deque are atomic, and only one thread puts.
        self._messages: deque[Message] = deque()
        # Each is written by one thread, or under the lock.
        self._came_bytes, self._went_bytes = 0, 0
        self._came_owed, self._went_owed = 0, 0
        self._came_owed_bytes, self._went_owed_bytes = 0, 0
        # Guards the order of the messages while some go: putting one needs no lock.
        self._going = threading.Lock()
        self._arrived = threading.Event()
        self._wanted = 1
        """so many set `_arrived`; who waits says it, and looks before it waits"""
        self._closed = False
        self._discards = False

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def bytes(self) -> int:
        """What waits, about."""
        return self._came_bytes - self._went_bytes

    @property
    def closed(self) -> bool:
        """Nothing more will be put."""
        return self._closed

    @property
    def full(self) -> bool:
        """Of messages that have a ticket: put no more until this is False."""
        if self._closed:
            return False
        owed_bytes = self._came_owed_bytes - self._went_owed_bytes
        most, most_bytes = self.capacity * _OWED, self._capacity_bytes * _OWED
        return self._came_owed - self._went_owed >= most or owed_bytes >= most_bytes

    def put(self, message: Message) -> None:
        """Called on the broker's thread; never waits for a batch to be scored. What comes too late
        and has a ticket isn't lost: the broker keeps it."""
        self.received += 1
        if self._closed:
            self.dropped += not message.ticket
            return
        size = len(message[1]) + _MESSAGE_BYTES
        self._messages.append(message)
        self._came_bytes += size
        if message[4]:
            self._came_owed += 1
            self._came_owed_bytes += size
        over = self._came_bytes - self._went_bytes > self._capacity_bytes
        waiting = len(self._messages)
        if over or waiting > self.capacity:
            self._shed()
        if waiting >= self._wanted and not self._arrived.is_set():
            self._arrived.set()

    def wait(self, timeout_s: float, wanted: int = 1) -> None:
        """Return when so many messages are there, when the inbox is closed, or after
        `timeout_s`."""
        self._wanted = wanted
        self._arrived.clear()
        if len(self._messages) < wanted and not self._closed:
            self._arrived.wait(timeout_s)

    def waits_since(self) -> float:
        """Monotonic second at which the oldest message came; now, where there is none."""
        with self._going:
            return self._messages[0].arrived if self._messages else time.monotonic()

    def take(self, most: int) -> list[Message]:
        """Up to `most` messages, oldest first."""
        if self._discards:
            self.dropped += sum(not each.ticket for each in self._messages)
            self._messages.clear()
        with self._going:
            count = min(len(self._messages), most)
            taken = [self._messages.popleft() for _ in range(count)]
            self._went_bytes += _size(taken)
            owed = [each for each in taken if each[4]]
            self._went_owed += len(owed)
            self._went_owed_bytes += _size(owed)
        return taken

    def discard(self) -> int:
        """After `close`: nothing more is taken. How many messages that leaves."""
        self._discards = True
        return len(self._messages)

    def close(self) -> None:
        """Nothing more is put after this; what is there can still be taken."""
        self._closed = True
        self._arrived.set()

    def _shed(self) -> None:
        with self._going:
            waiting = list(self._messages)
            free = [each for each in waiting if not each.ticket]
            owed_bytes = self._came_owed_bytes - self._went_owed_bytes
            room = int(self.capacity * (1.0 - _SHED)) - (len(waiting) - len(free))
            kept = _kept(free, [1] * len(free), max(room, 1))
            weights = [len(each.payload) + _MESSAGE_BYTES for each in kept]
            if sum(weights) + owed_bytes > self._capacity_bytes:
                room = int(self._capacity_bytes * (1.0 - _SHED)) - owed_bytes
                kept = _kept(kept, weights, max(room, 1))
            staying = {id(each) for each in kept}
            self._messages.clear()
            self._messages.extend([each for each in waiting if each.ticket or id(each) in staying])
            self.shed += len(free) - len(kept)
            self._went_bytes += _size(free) - _size(kept)


def _size(messages: list[Message]) -> int:
    return sum([len(each[1]) for each in messages]) + _MESSAGE_BYTES * len(messages)


def _kept(messages: list[Message], weights: list[int], most: int) -> list[Message]:
    """What is left where all topics may have the same, and together weigh `most` or less: the
    newest of those that have more."""
    if sum(weights) <= most:
        return messages
    topics: Counter[str] = Counter()
    for message, weight in zip(messages, weights, strict=True):
        topics[message.topic] += weight
    share = _fair(topics.values(), most)
    kept = []
    for message, weight in zip(messages, weights, strict=True):
        if topics[message.topic] > share:
            topics[message.topic] -= weight
        else:
            kept.append(message)
    return kept


def _fair(loads: Iterable[int], most: int) -> float:
    """The highest share such that all loads, cut to it, sum up to `most` or less."""
    ordered = sorted(loads)
    left = most
    for place, load in enumerate(ordered):
        share = left / (len(ordered) - place)
        if load > share:
            return share
        left -= load
    return float("inf")
