"""A chunk of the history as a file: readings of many channels in columns, each compressed.

Written by the thread `history`, read by whoever trains. A file is its magic, the SHA-256 of all
that follows, the length of the header, the header (JSON, deflated), and the columns one after the
other. Channels are told by name, so a file outlives the rows of the daemon that wrote it.

Readings are sorted by channel and time; times and values come back bit for bit. Neighbouring times
differ by little in their bits, so these are written as differences. Most instruments send a few
decimals: where all values of a channel are whole in units of 10^-d, they are written as differences
of whole numbers, otherwise as bits. Bytes of equal weight lie together, which is what deflate can
use: 3 to 4 bytes a reading for a sensor with two decimals at 1 Hz, 10 where the values have none.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyd.errors import ChunkError
from anomalyd.files import UNFINISHED, write_whole

VERSION = 1
SUFFIX = ".chunk"
_MAGIC = b"anomalyd-history\n"
_DIGEST = 32
_MOST_DECIMALS = 6
_WHOLE_LIMIT = 2.0**53  # whole numbers up to here are exact in a 64-bit float
_BITS = -1
_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Chunk:
    """R readings of C channels, by channel and then by time."""

    channels: Sequence[str]
    """(C,)"""
    counts: NDArray[np.int64]
    """(C,) readings of each"""
    sequence: NDArray[np.int64]
    """(R,) number of the reading within its channel: neighbours in time follow each other"""
    times: NDArray[np.float64]
    """(R,) seconds since 1970"""
    values: NDArray[np.float64]
    score: NDArray[np.float16]
    state: NDArray[np.int8]
    kind: NDArray[np.int8]
    learnt: NDArray[np.bool_]

    def __len__(self) -> int:
        return self.times.size

    def channel_index(self) -> NDArray[np.int64]:
        """(R,) place of each reading's channel in `channels`."""
        return np.repeat(np.arange(len(self.channels)), self.counts)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a file holds, without its columns."""

    path: Path
    first_s: float
    last_s: float
    counts: Mapping[str, int]
    """channel -> readings"""


def write(folder: Path, chunk: Chunk) -> Path:
    """Store a chunk of at least one reading under a name that tells its times. Raises OSError."""
    first, last = (max(int(each), 0) for each in (chunk.times.min(), chunk.times.max()))
    number = 0
    # The last time comes first: in the order of their names, the oldest file is the first.
    while (path := folder / f"{last:012d}-{first:012d}-{number}{SUFFIX}").exists():
        number += 1
    write_whole(path, encode(chunk))
    return path


def read(path: Path) -> Chunk:
    """Raises ChunkError naming the file and what is wrong."""
    return decode(_content(path), path)


def summary(path: Path) -> Summary:
    """What a file holds; its columns are checked, but not unpacked. Raises ChunkError."""
    header, _ = _open(_content(path), path)
    try:
        counts = dict(zip(header["channels"], header["counts"], strict=True))
        return Summary(path, header["first_s"], header["last_s"], counts)
    except (KeyError, TypeError, ValueError) as error:
        raise ChunkError(f"{path}: its header is not complete ({error})") from error


def listing(folder: Path) -> list[Path]:
    """All chunk files, the oldest first; none where there is no folder yet."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def seconds_of(path: Path) -> tuple[float, float]:
    """First and last time in a file, by its name, to the second. Raises ChunkError."""
    try:
        last, first, _ = path.stem.split("-")
        return float(first), float(last) + 1.0
    except ValueError as error:
        raise ChunkError(f"{path}: not the name of a chunk") from error


def prune(folder: Path, most_bytes: float) -> int:
    """Remove the oldest files until the rest is no larger; how many went. Raises OSError."""
    sizes = [(path, path.stat().st_size) for path in listing(folder)]
    excess, gone = sum(size for _, size in sizes) - most_bytes, 0
    for path, size in sizes:
        if excess <= 0:
            break
        path.unlink(missing_ok=True)
        excess -= size
        gone += 1
    return gone


def sweep(folder: Path) -> None:
    """Remove what was being written when the power failed."""
    for path in folder.glob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


# --- bytes ------------------------------------------------------------------------------------


def encode(chunk: Chunk) -> bytes:
    """The file's bytes; equal chunks give equal bytes."""
    starts = np.cumsum(chunk.counts) - chunk.counts
    decimals, values = _whole(chunk.values, chunk.counts, starts)
    marks = (chunk.state | chunk.kind << 3).astype(np.uint8) | chunk.learnt.astype(np.uint8) << 7
    columns = [
        _pack(_differences(each, starts))
        for each in (chunk.sequence, chunk.times.view(np.int64), values)
    ]
    columns += [zlib.compress(each.tobytes(), _LEVEL) for each in (chunk.score, marks)]
    header = {
        "version": VERSION,
        "channels": list(chunk.channels),
        "counts": chunk.counts.tolist(),
        "decimals": decimals.tolist(),
        "first_s": float(chunk.times.min()),
        "last_s": float(chunk.times.max()),
        "columns": [len(each) for each in columns],
    }
    text = zlib.compress(json.dumps(header).encode(), _LEVEL)
    body = b"".join([len(text).to_bytes(4, "little"), text, *columns])
    return _MAGIC + hashlib.sha256(body).digest() + body


def decode(content: bytes, path: Path) -> Chunk:
    """The chunk in a file's bytes. Raises ChunkError naming `path`."""
    header, packed = _open(content, path)
    try:
        counts = np.array(header["counts"], dtype=np.int64)
        starts = np.cumsum(counts) - counts
        sequence, times, values = (_sums(_unpack(each), starts, counts) for each in packed[:3])
        marks = np.frombuffer(zlib.decompress(packed[4]), dtype=np.uint8)
        return Chunk(
            header["channels"],
            counts,
            sequence,
            times.view(np.float64),
            _values(values, np.repeat(np.array(header["decimals"], dtype=np.int64), counts)),
            np.frombuffer(zlib.decompress(packed[3]), dtype=np.float16),
            (marks & 7).astype(np.int8),
            (marks >> 3 & 15).astype(np.int8),
            marks >= 128,
        )
    except (KeyError, TypeError, ValueError, IndexError, zlib.error) as error:
        raise ChunkError(f"{path}: its columns don't fit its header ({error})") from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ChunkError(f"{path}: {error.strerror}") from error


def _open(content: bytes, path: Path) -> tuple[dict[str, Any], list[bytes]]:
    """Header and packed columns of a file whose checksum is right."""
    if not content.startswith(_MAGIC):
        raise ChunkError(f"{path}: not a file of the history")
    at = len(_MAGIC) + _DIGEST
    body = content[at:]
    if hashlib.sha256(body).digest() != content[len(_MAGIC) : at]:
        raise ChunkError(f"{path}: damaged, its content differs from its checksum")
    size = 4 + int.from_bytes(body[:4], "little")
    try:
        header: dict[str, Any] = json.loads(zlib.decompress(body[4:size]))
        found, lengths = header["version"], header["columns"]
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ChunkError(f"{path}: its header is not complete ({error})") from error
    if found != VERSION:
        raise ChunkError(f"{path}: version {found!r}, but this program reads {VERSION}")
    ends = size + np.cumsum(lengths)
    return header, [body[end - length : end] for end, length in zip(ends, lengths, strict=True)]


# --- columns ----------------------------------------------------------------------------------


def _whole(
    values: NDArray[np.float64], counts: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(C,) the fewest decimals in which all values of a channel are whole, or `_BITS`; (R,) the
    values as whole numbers, or as bits."""
    decimals = np.full(counts.size, _BITS, dtype=np.int64)
    whole = values.view(np.int64).copy()
    for digits in range(_MOST_DECIMALS + 1):
        unit = 10.0**digits
        with np.errstate(over="ignore"):
            rounded = np.rint(values * unit)
        same = (np.abs(rounded) < _WHOLE_LIMIT) & (rounded / unit == values)
        # -0.0 equals 0.0, but has other bits.
        same &= ~(np.signbit(values) & (values == 0.0))
        fits = np.logical_and.reduceat(same, starts) & (decimals == _BITS)
        decimals[fits] = digits
        chosen = np.repeat(fits, counts)
        whole[chosen] = rounded[chosen].astype(np.int64)
    return decimals, whole


def _values(whole: NDArray[np.int64], decimals: NDArray[np.int64]) -> NDArray[np.float64]:
    scaled = whole / 10.0 ** np.maximum(decimals, 0)
    return np.where(decimals == _BITS, whole.view(np.float64), scaled)


def _differences(column: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each from the one before; the first of a channel from 0. What overflows comes back right."""
    differences = np.diff(column, prepend=0)
    differences[starts] = column[starts]
    return differences


def _sums(
    differences: NDArray[np.int64], starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    total = np.cumsum(differences)
    return total - np.repeat(total[starts] - differences[starts], counts)


def _pack(column: NDArray[np.int64]) -> bytes:
    """Signs into the lowest bit, so that small numbers of either sign have leading zeros; then all
    first bytes, all second bytes, and so on."""
    zigzag = (column << 1) ^ (column >> 63)
    return zlib.compress(zigzag.view(np.uint8).reshape(-1, 8).T.tobytes(), _LEVEL)


def _unpack(packed: bytes) -> NDArray[np.int64]:
    planes = np.frombuffer(zlib.decompress(packed), dtype=np.uint8).reshape(8, -1)
    zigzag = np.ascontiguousarray(planes.T).view(np.uint64).ravel()
    return (zigzag >> np.uint64(1)).astype(np.int64) ^ -(zigzag & np.uint64(1)).astype(np.int64)
