"""What happened to the models: a line of JSON for each step, for people.

Written by the store, under its lock. It may lack what happened in the last moment before a power
cut: what serves is said elsewhere.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from anomalyd.files import give_to_owner, write_whole

log = logging.getLogger(__name__)

_MOST_LINES = 1_000


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the journal."""

    time_s: float
    event: str
    role: str
    version: str
    previous: str = ""
    reason: str = ""


class Journal:
    """The file; nothing is kept in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, event: Event) -> None:
        """Append; where that fails, the log has it."""
        try:
            # Behind a line that was cut off, this one begins anew.
            begin = b"\n" if self._is_cut_off() else b""
            with self._path.open("ab") as file:
                file.write(begin + msgspec.json.encode(event) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            give_to_owner(self._path)
        except OSError as error:
            log.warning("models: %s can't be written (%s): %s", self._path, error.strerror, event)

    def events(self) -> Sequence[Event]:
        """The oldest first; a line that was cut off is left out."""
        return [event for line in self._lines() if (event := _event(line)) is not None]

    def shorten(self) -> None:
        """Forget the oldest of too many lines."""
        lines = self._lines()
        if len(lines) > _MOST_LINES:
            write_whole(self._path, b"\n".join([*lines[-_MOST_LINES:], b""]))

    def _lines(self) -> Sequence[bytes]:
        return self._path.read_bytes().splitlines() if self._path.is_file() else []

    def _is_cut_off(self) -> bool:
        if not self._path.is_file() or not self._path.stat().st_size:
            return False
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"


def _event(line: bytes) -> Event | None:
    try:
        return msgspec.json.decode(line, type=Event)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
