"""Segments of the journal on disk: files of checked records, appended to and removed whole.

`<number>.journal` begins with `HEAD`; a record is a mark, its length and its CRC-32 (32 bits each,
little endian), then the body. What was being written at a crash is the end of its file. Where bytes
were damaged later, the marks lead to the next whole record, so that no others are lost with them.
`runtime/journal.py` calls it, one thread at a time, and knows what the bodies mean.
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

HEAD = b"anomalyd-journal-2\n"
_ANY_HEAD = re.compile(rb"anomalyd-journal-\d+\n")
_MARK = b"\xa5\x00\xffR"
_RECORD = struct.Struct("<4sII")
_NAME = re.compile(r"(\d{12})\.journal")


def record(*pieces: bytes) -> bytes:
    """A body, in pieces, as it is appended."""
    body = b"".join(pieces)
    return _RECORD.pack(_MARK, len(body), zlib.crc32(body)) + body


class Segments:
    """The segments in one folder; the one that is open is appended to. Every method but `read` may
    raise OSError; of what `append` was then given, nothing is read back, unless the disk refuses to
    cut it off too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged = 0
        """bytes that `read` has passed over, up to the next whole record"""
        self.cut_off = 0
        """bytes at the ends of what was read: no whole record came after them"""
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
        """Begin a segment, which is appended to from now on; the disk has the one before."""
        try:
            self.sync()
        finally:
            # Whatever the disk said: what comes now is looked for in the new one.
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
        """All of it, or nothing."""
        if self._descriptor is None:
            raise OSError("no segment is open")
        begin, rest = self._sizes[self._number], memoryview(records)
        at = begin
        try:
            while rest:
                written = os.pwrite(self._descriptor, rest, at)
                at, rest = at + written, rest[written:]
        except OSError:
            # Whole records of it would stand behind a shorter one that is written over it.
            os.ftruncate(self._descriptor, begin)
            raise
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
        """The bodies that are whole, in order. Raises OSError, and ValueError for a segment of
        another version."""
        content = self._path(number).read_bytes()
        head = _ANY_HEAD.match(content)
        if head and head[0] != HEAD:
            form = head[0].decode().strip()
            raise ValueError(f"format {form}, but this version reads {HEAD.decode().strip()}")
        at = begin = len(HEAD) if head else 0
        while (begin := content.find(_MARK, begin)) >= 0:
            body = _body(content, begin)
            if body is None:
                begin += 1
                continue
            self.damaged += begin - at
            yield body
            at = begin = begin + _RECORD.size + len(body)
        self.cut_off += len(content) - at

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012}.journal"


def _body(content: bytes, at: int) -> bytes | None:
    """Of the record that begins there; None where it isn't whole."""
    begin = at + _RECORD.size
    if begin > len(content):
        return None
    _, length, crc = _RECORD.unpack_from(content, at)
    body = content[begin : begin + length]
    return body if len(body) == length and zlib.crc32(body) == crc else None
