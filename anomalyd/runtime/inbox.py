"""The bounded queue between the broker's thread and the pipeline's.

The broker's thread puts, the pipeline's thread takes everything at once. A full inbox drops the
newest message and counts it: the broker's thread never waits.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple


class Message(NamedTuple):
    """One message as it came from the broker."""

    topic: str
    payload: bytes
    arrived: float
    """monotonic seconds"""
    retained: bool = False


class Inbox:
    """Messages in order of arrival."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.received = 0
        self.dropped = 0
        # No lock: append, popleft and len of a deque are atomic, one thread puts, one takes.
        self._messages: deque[Message] = deque()
        self._arrived = threading.Event()
        self._closed = False
        self._discards = False

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def closed(self) -> bool:
        """Nothing more will be put."""
        return self._closed

    def put(self, message: Message) -> None:
        """Called on the broker's thread; never waits."""
        self.received += 1
        if self._closed or len(self._messages) >= self.capacity:
            self.dropped += 1
            return
        self._messages.append(message)
        if not self._arrived.is_set():
            self._arrived.set()

    def wait(self, timeout_s: float) -> None:
        """Return when there is a message, when the inbox is closed, or after `timeout_s`."""
        self._arrived.wait(timeout_s)

    def take(self, most: int) -> list[Message]:
        """Up to `most` messages, oldest first."""
        if self._discards:
            self.dropped += len(self._messages)
            self._messages.clear()
        if not self._closed:
            self._arrived.clear()
        count = min(len(self._messages), most)
        taken = [self._messages.popleft() for _ in range(count)]
        if self._messages:
            self._arrived.set()
        return taken

    def discard(self) -> int:
        """After `close`: nothing more is taken. How many messages that leaves."""
        self._discards = True
        return len(self._messages)

    def close(self) -> None:
        """Nothing more is put after this; what is there can still be taken."""
        self._closed = True
        self._arrived.set()
