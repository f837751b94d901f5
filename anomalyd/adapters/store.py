"""Generations of the state on disk: whole, or not there; and the lock of the state directory.

A generation is two files in `<state.directory>/state/`, named by its number:
`N.safetensors`, the arrays, and `N.json`: the SHA-256 of its second line, then the manifest, with
the SHA-256 of the arrays in it. Each file is written under another name, synced and renamed; the
manifest comes last, then the directory is synced, and only then are generations before the previous
one removed. So at every moment a power cut leaves the newest generation valid, or the one before.

`runtime/state.py` calls it, on the thread `state` while the daemon runs. It knows nothing of what
the arrays mean.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from anomalyd.errors import ServiceFailed, StateError

FORMAT = "anomalyd-state-1"
KEPT = 2
"""generations"""
_LOCK = "lock"
_FOLDER = "state"
_NUMBER = re.compile(r"(\d{12})\.(json|safetensors)(\.part)?")


class Manifest(msgspec.Struct, frozen=True):
    """What a generation says of itself."""

    format: str
    version: str
    """of anomalyd"""
    created_s: float
    sha256: str
    """of the file of arrays"""
    about: msgspec.Raw
    """JSON, whatever the caller keeps beside the arrays"""


class _Form(msgspec.Struct, frozen=True):
    """What a manifest of any version says."""

    format: Any = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One that is valid."""

    number: int
    manifest: Manifest
    arrays: Mapping[str, NDArray[Any]]


class Files:
    """What a save does to a disk. A test's power cut stands in its place."""

    def write(self, path: Path, parts: bytes) -> None:
        """Write a whole file and sync it."""
        with path.open("wb") as file:
            file.write(parts)
            file.flush()
            os.fsync(file.fileno())

    def rename(self, path: Path, to: Path) -> None:
        path.replace(to)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Store:
    """The generations in one state directory. One thread at a time."""

    def __init__(self, directory: Path, files: Files | None = None) -> None:
        self._folder = directory / _FOLDER
        self._files = files or Files()
        self._unusable: set[int] = set()

    def generations(self) -> Iterator[Generation | StateError]:
        """Newest first; what can't be used as an error of one line."""
        try:
            numbers = self._numbers()
        except OSError as error:
            yield StateError(f"{self._folder}: {error.strerror}")
            return
        for number in numbers:
            try:
                yield self._read(number)
            except StateError as error:
                self._unusable.add(number)
                yield error

    def save(
        self, arrays: Mapping[str, NDArray[Any]], about: bytes, version: str, created_s: float
    ) -> int:
        """Write the next generation; its bytes. Raises OSError, and leaves those before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = self._numbers()
        number = max(numbers, default=0) + 1
        try:
            return self._write(number, arrays, about, version, created_s)
        finally:
            # Also after a failure: what it has left would fill a full disk further.
            with suppress(OSError):
                self._tidy(number)

    def _write(
        self,
        number: int,
        arrays: Mapping[str, NDArray[Any]],
        about: bytes,
        version: str,
        created_s: float,
    ) -> int:
        tensors = save({name: np.ascontiguousarray(each) for name, each in arrays.items()})
        sha256 = hashlib.sha256(tensors).hexdigest()
        manifest = Manifest(FORMAT, version, created_s, sha256, msgspec.Raw(about))
        line = msgspec.json.encode(manifest)
        text = hashlib.sha256(line).hexdigest().encode() + b"\n" + line + b"\n"
        for suffix, content in (("safetensors", tensors), ("json", text)):
            path = self._path(number, suffix)
            part = path.with_name(path.name + ".part")
            self._files.write(part, content)
            self._files.rename(part, path)
        self._files.sync(self._folder)
        return len(tensors) + len(text)

    def _read(self, number: int) -> Generation:
        path = self._path(number, "json")
        try:
            text, tensors = path.read_bytes(), self._path(number, "safetensors").read_bytes()
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}") from error
        manifest = _manifest(path, text)
        if hashlib.sha256(tensors).hexdigest() != manifest.sha256:
            raise StateError(f"{path}: damaged, the arrays differ from their checksum")
        try:
            return Generation(number, manifest, load(tensors))
        except SafetensorError as error:
            raise StateError(f"{path}: the arrays are not readable ({error})") from error

    def _numbers(self) -> list[int]:
        """Of all that has a manifest, newest first."""
        found = (_NUMBER.fullmatch(name) for name in self._names())
        return sorted({int(each[1]) for each in found if each and not each[3]}, reverse=True)

    def _names(self) -> list[str]:
        """Raises OSError: what can't be listed is not empty, its numbers are taken."""
        try:
            return sorted(path.name for path in self._folder.iterdir())
        except FileNotFoundError:
            return []

    def _tidy(self, newest: int) -> None:
        """Remove what a save left unfinished, and all before the previous generation; one that was
        found damaged is none to go back to."""
        whole = [number for number in self._numbers() if self._path(number, "json").exists()]
        keep = set([number for number in whole if number not in self._unusable][:KEPT])
        for name in self._names():
            found = _NUMBER.fullmatch(name)
            if found and (found[3] or int(found[1]) not in keep):
                with suppress(OSError):
                    self._files.remove(self._folder / name)

    def _path(self, number: int, suffix: str) -> Path:
        return self._folder / f"{number:012}.{suffix}"


def _manifest(path: Path, text: bytes) -> Manifest:
    digest, _, line = text.partition(b"\n")
    if not line.endswith(b"\n"):
        raise StateError(f"{path}: damaged, it is cut off")
    if hashlib.sha256(line[:-1]).hexdigest().encode() != digest:
        raise StateError(f"{path}: damaged, it differs from its checksum")
    try:
        form = msgspec.json.decode(line, type=_Form).format
        if form != FORMAT:
            raise StateError(f"{path}: format {form!r}, but this version reads {FORMAT}")
        return msgspec.json.decode(line, type=Manifest)
    except msgspec.MsgspecError as error:
        raise StateError(f"{path}: foreign, its manifest is not one ({error})") from error


def lock(directory: Path) -> IO[str]:
    """Make the state directory this process's own, until the file is closed.

    Raises ServiceFailed where another process has it, OSError where it can't be made or written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # Python's descriptors don't outlive an exec, so no child keeps the lock.
    file = (directory / _LOCK).open("a", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise ServiceFailed(
            f"{directory}: another anomalyd uses this state directory; give each its own "
            "state.directory"
        ) from error
    return file
