"""Segments of the journal on disk: files of checked records, appended to and removed whole.

`<number>.journal` begins with `HEAD`; a record is its length and its CRC-32 (32 bits each, little
endian), then the body. Whatever was being written at a crash is the end of its file: reading stops
there. `runtime/journal.py` calls it, one thread at a time, and knows what the bodies mean.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from anomalyd.files import keep_names

HEAD = b"anomalyd-journal-1\n"
_RECORD = struct.Struct("<II")
_NAME = re.compile(r"(\d{12})\.journal")


def record(*pieces: bytes) -> bytes:
    """A body, in pieces, as it is appended."""
    body = b"".join(pieces)
    return _RECORD.pack(len(body), zlib.crc32(body)) + body


class Segments:
    """The segments in one folder; the one that is open is appended to. Every method but `read` may
    raise OSError, and `append` has then appended nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor: int | None = None
        self._number = 0
        self._sizes: dict[int, int] = {}

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(self._sizes.values())

    @property
    def is_open(self) -> bool:
        """There is one to append to."""
        return self._descriptor is not None

    def find(self) -> Sequence[int]:
        """Numbers of what is there, oldest first."""
        self._sizes = {}
        with suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                if name := _NAME.fullmatch(path.name):
                    self._sizes[int(name[1])] = path.stat().st_size
        return sorted(self._sizes)

    def open(self, number: int) -> None:
        """Begin a segment, which is appended to from now on."""
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(self._path(number), flags, 0o640)
        self._descriptor, self._number, self._sizes[number] = descriptor, number, 0
        try:
            self.append(HEAD)
            keep_names(self.folder)
        except OSError:
            self.close()
            raise

    def append(self, records: bytes) -> None:
        """All of it, or nothing: what was written by half is written over by the next."""
        if self._descriptor is None:
            raise OSError("no segment is open")
        at, rest = self._sizes[self._number], memoryview(records)
        while rest:
            written = os.pwrite(self._descriptor, rest, at)
            at, rest = at + written, rest[written:]
        self._sizes[self._number] = at

    def sync(self) -> None:
        """Returns when the disk has what was appended."""
        if self._descriptor is not None:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove_before(self, number: int) -> None:
        """Forget older segments."""
        for old in [each for each in self._sizes if each < number]:
            self._path(old).unlink(missing_ok=True)
            del self._sizes[old]

    def read(self, number: int) -> Iterator[bytes]:
        """Bodies, up to the first that is not whole. Raises OSError."""
        content = self._path(number).read_bytes()
        at = len(HEAD) if content.startswith(HEAD) else len(content)
        while at + _RECORD.size <= len(content):
            length, crc = _RECORD.unpack_from(content, at)
            at += _RECORD.size
            body = content[at : at + length]
            if len(body) < length or zlib.crc32(body) != crc:
                return
            yield body
            at += length

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012}.journal"
