"""Sparkplug nodes that are to announce themselves again, and how often they may be asked.

Owned by the intake, on the pipeline's thread. A node that doesn't answer is asked again after a
while; all of them together are asked so seldom that forged ones cause no flood.
"""

from __future__ import annotations

_AGAIN_S = 60.0
_MOST_AT_ONCE = 100


class Rebirths:
    """Topics of commands to publish."""

    def __init__(self) -> None:
        self._asked_at: dict[str, float] = {}
        """the last minute's; a topic -> monotonic seconds"""
        self._waiting: list[str] = []

    def ask(self, topic: str, now_s: float) -> None:
        """`topic`: the node's NCMD."""
        if topic in self._asked_at and now_s - self._asked_at[topic] < _AGAIN_S:
            return
        self._asked_at.pop(topic, None)
        # They are in the order in which they were asked.
        while self._asked_at and now_s - next(iter(self._asked_at.values())) >= _AGAIN_S:
            del self._asked_at[next(iter(self._asked_at))]
        if len(self._asked_at) < _MOST_AT_ONCE:
            self._asked_at[topic] = now_s
            self._waiting.append(topic)

    def take(self) -> list[str]:
        """Those to be published now."""
        taken, self._waiting = self._waiting, []
        return taken
