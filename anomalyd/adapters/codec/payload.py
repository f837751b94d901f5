"""What every codec returns, and what it raises."""

from __future__ import annotations

from typing import NamedTuple, Protocol

LARGEST_PAYLOAD = 256 * 1024
"""bytes; a reading is not that long"""


class Decoded(NamedTuple):
    """One payload: its values by field ("" = the topic's own value), and its time as written."""

    fields: tuple[tuple[str, float], ...]
    time: float | str | None


class Refused(Exception):
    """The payload can't be read. `reason` is a label of `anomalyd_rejected_total`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Codec(Protocol):
    """How one stream's payloads are read."""

    def decode(self, payload: bytes) -> Decoded:
        """Raises Refused, and nothing else, whatever the bytes are."""
