"""Which messages of QoS 1 were scored: what the broker sends again is recognised.

A broker sends a message again, marked so and with the packet id it had, where its acknowledgement
was lost: with the connection, or because the daemon was killed. The mark alone means nothing, and
an id is used again: so the newest message seen with each id is remembered by a digest. Called by
the pipeline's thread, and before it runs by who replays the journal.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalyd.adapters.mqtt import TICKET_DUP, TICKET_ID
from anomalyd.runtime.inbox import Message

Ids = NDArray[np.uint16]
Digests = NDArray[np.uint32]
_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Sifted:
    """A batch without what was scored already."""

    messages: Sequence[Message]
    tickets: NDArray[np.int64]
    """of all that came, the repeated ones too; in order"""
    ids: Ids
    """(Q,) packet ids of its messages of QoS 1"""
    digests: Digests
    """(Q,) and what they said"""


NOTHING_SIFTED = Sifted((), _NONE, _NONE.astype(np.uint16), _NONE.astype(np.uint32))


class Receipts:
    """The newest message of each packet id."""

    def __init__(self) -> None:
        self.repeated = 0
        """messages that came again and were left out"""
        self._digests = np.full(TICKET_ID + 1, -1, dtype=np.int64)

    def note(self, ids: Ids, digests: Digests) -> None:
        """These were scored, in this order."""
        self._digests[ids] = digests

    def all(self) -> Sifted:
        """Of every packet id that was seen; for a journal that begins anew."""
        ids = np.flatnonzero(self._digests >= 0)
        return Sifted((), _NONE, ids.astype(np.uint16), self._digests[ids].astype(np.uint32))

    def sift(self, messages: Sequence[Message]) -> Sifted:
        """Leave out what was scored already, and note the rest."""
        tickets = np.fromiter((each.ticket for each in messages), np.int64, len(messages))
        confirmed = tickets > 0
        if not confirmed.any():
            return Sifted(messages, _NONE, _NONE.astype(np.uint16), _NONE.astype(np.uint32))
        digests = np.fromiter(
            (zlib.crc32(each.payload, zlib.crc32(each.topic.encode())) for each in messages),
            np.uint32,
            len(messages),
        )
        ids = (tickets & TICKET_ID).astype(np.uint16)
        kept = np.ones(len(messages), dtype=np.bool_)
        if (tickets & TICKET_DUP).any():
            kept = self._kept(tickets, ids, digests)
            messages = [each for each, keep in zip(messages, kept.tolist(), strict=True) if keep]
            self.repeated += int((~kept).sum())
        chosen = confirmed & kept
        self.note(ids[chosen], digests[chosen])
        return Sifted(messages, tickets[confirmed], ids[chosen], digests[chosen])

    def _kept(self, tickets: NDArray[np.int64], ids: Ids, digests: Digests) -> NDArray[np.bool_]:
        """One by one: the first copy may be in the same batch."""
        kept = np.ones(tickets.size, dtype=np.bool_)
        for at, (ticket, mid, digest) in enumerate(
            zip(tickets.tolist(), ids.tolist(), digests.tolist(), strict=True)
        ):
            if ticket & TICKET_DUP and self._digests[mid] == digest:
                kept[at] = False
            elif ticket:
                self._digests[mid] = digest
        return kept
