"""The registry on disk: versions of models, which one of each role serves, and what happened.

`<state.directory>/models/` has a directory for each version (`model.safetensors`, `manifest.json`),
a file `current-<role>.json` for each role, and `journal.jsonl`. Called by the service at start, by
whoever trains, and by `anomalyd models`, which is another process: whatever changes something
holds `flock` on `.lock`. Readers need no lock, because everything appears by one rename.

What serves is said by the role's file alone: the versions that served, the newest last. Promotion
and roll-back replace it, so a power cut leaves the one before or the one after. A version is there
once its directory has its name; before, it is unfinished, and swept at start. The journal is for
people: it may lack what happened in the last moment before a power cut.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import msgspec

from anomalyd.adapters.models.journal import Event, Journal
from anomalyd.adapters.models.manifest import FORMAT, NEXT_STEP, SHIPPED, Manifest, Status
from anomalyd.errors import ModelError
from anomalyd.files import UNFINISHED, give_to_owner, keep_names, write_through, write_whole

log = logging.getLogger(__name__)

_MODEL, _MANIFEST = "model.safetensors", "manifest.json"
_REQUEST = "retrain.request"
_SERVED_REMEMBERED = 16


class _Served(msgspec.Struct, frozen=True):
    """A role's file: the versions that served, the newest, which serves now, last."""

    versions: Sequence[str]


class ModelStore:
    """Owner of the directory `models`. It keeps nothing in memory, so any thread may use it."""

    def __init__(
        self,
        folder: Path,
        keep: int,
        shipped: Mapping[str, Path],
        inspect: Callable[[Path, str], object] = lambda path, role: None,
    ) -> None:
        """`keep`: versions of each role; `shipped`: role -> the file that came with the program, or
        that a stream names. `inspect`: reads a file as whoever serves that role would; raises
        ModelError."""
        self._folder = folder
        self._keep = keep
        self._shipped = shipped
        self._inspect = inspect
        self._journal = Journal(folder / "journal.jsonl")

    # --- looking ----------------------------------------------------------------------------

    def list(self) -> Sequence[Manifest]:
        """All versions, the shipped ones first, then the oldest; what serves is `current`."""
        found = [self._shipped_manifest(role) for role in self._shipped]
        return found + sorted(self._own(), key=lambda each: (each.created_s, each.version))

    def show(self, version: str, role: str = NEXT_STEP) -> Manifest:
        """Raises ModelError where there is no such version. `role` matters for `shipped` only."""
        if version == SHIPPED:
            self._path_of_shipped(role)
            return self._shipped_manifest(role)
        return self._with_status(self._manifest(version))

    def current(self, role: str) -> str:
        """The version that serves; "" where none does."""
        return next(iter(self.served(role)), "")

    def stamp(self, role: str) -> int:
        """Another number whenever another version may serve; cheap to ask."""
        try:
            return self._pointer(role).stat().st_mtime_ns
        except OSError:
            return 0

    def served(self, role: str) -> Sequence[str]:
        """The version that serves, then those to go back to; `shipped` last, where it exists."""
        versions = [each for each in reversed(self._served(role)) if self._serves(each, role)]
        more = SHIPPED not in versions and role in self._shipped
        return [*versions, *([SHIPPED] if more else [])]

    def path(self, version: str, role: str = NEXT_STEP) -> Path:
        """The model's file, after its checksum was compared. Raises ModelError."""
        if version == SHIPPED:
            return self._path_of_shipped(role)
        self._checked(self._manifest(version))
        return self._folder / version / _MODEL

    def load(self, version: str, role: str = NEXT_STEP) -> bytes:
        """The model's bytes, as they were added. Raises ModelError."""
        if version == SHIPPED:
            return self._path_of_shipped(role).read_bytes()
        return self._checked(self._manifest(version))

    def check(self, version: str, role: str) -> None:
        """Read it as whoever serves the role would. Raises ModelError."""
        self._inspect(self.path(version, role), role)

    def events(self) -> Sequence[Event]:
        """The journal, the oldest first."""
        return self._journal.events()

    # --- changing ---------------------------------------------------------------------------

    def add(self, content: bytes, manifest: Manifest) -> str:
        """Store a model; its version. Raises ModelError where that fails."""
        digest = hashlib.sha256(content).hexdigest()
        stamp = datetime.fromtimestamp(manifest.created_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        version = f"{stamp}-{digest[:8]}"
        whole = msgspec.structs.replace(manifest, version=version, sha256=digest)
        with self._changing():
            if not self._exists(version):
                self._place(version, content, whole)
                self._note("add", whole, manifest.created_s, manifest.parent, manifest.reason)
                self._prune(manifest.role)
        return version

    def promote(self, version: str, reason: str, now_s: float, role: str = NEXT_STEP) -> None:
        """Let it serve; nothing else of its role stays in shadow, as that was to follow another. A
        damaged file is refused. `role` matters for `shipped` only."""
        with self._changing():
            chosen = self.show(version, role)
            before = self.current(chosen.role)
            if version != SHIPPED:
                self._checked(chosen)
            if version == before:
                return
            served = [each for each in self._served(chosen.role) if each != version]
            first = [SHIPPED] if chosen.role in self._shipped else []
            self._point(chosen.role, [*(served or first), version])
            self._mark(version, "current", reason)
            self._mark(before, "retired")
            self._note("promote", chosen, now_s, before, reason)
            self._dismiss(chosen.role, f"{version} was promoted meanwhile", now_s)
            self._prune(chosen.role)

    def rollback(self, role: str, reason: str, now_s: float) -> str:
        """Let the version serve that did before; which one that is. Those that can't be read are
        passed by, and nothing of the role stays in shadow. Raises ModelError where none is left."""
        with self._changing():
            now, *before = self.served(role) or [""]
            back = next((each for each in before if self._usable(each, role)), None)
            if back is None:
                raise ModelError(f"{role}: nothing served before {now!r}, there is no way back")
            self._point(role, [*reversed(before[before.index(back) :])])
            self._mark(now, "rolled-back", reason)
            self._mark(back, "current")
            self._note("rollback", Manifest.named(back, role), now_s, now, reason)
            self._dismiss(role, f"{now} was rolled back meanwhile", now_s)
        return back

    def reject(self, version: str, reason: str, now_s: float) -> None:
        """It is not to serve; what serves can't be rejected."""
        with self._changing():
            chosen = self._with_status(self._manifest(version))
            if chosen.status == "current":
                raise ModelError(f"{version}: is what serves; roll back instead")
            self._mark(version, "rejected", reason)
            self._note("reject", chosen, now_s, "", reason)

    def shadow(self, version: str, reason: str, now_s: float) -> None:
        """It begins to score beside what serves."""
        with self._changing():
            chosen = self._with_status(self._manifest(version))
            if chosen.status == "current":
                raise ModelError(f"{version}: is what serves")
            self._mark(version, "shadow", reason)
            self._note("shadow", chosen, now_s, "", reason)

    def dismiss(self, role: str, reason: str, now_s: float) -> None:
        """Nothing of `role` scores in shadow any more."""
        with self._changing():
            self._dismiss(role, reason, now_s)

    def request(self) -> None:
        """Ask whoever trains to do so now. Raises ModelError."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._folder / _REQUEST, b"")
        except OSError as error:
            raise ModelError(f"{self._folder}: {error.strerror}") from error

    def take_request(self) -> bool:
        """Somebody has asked; said once."""
        try:
            (self._folder / _REQUEST).unlink()
        except OSError:
            return False
        return True

    def sweep(self) -> None:
        """Remove what a power cut left unfinished, and directories without a valid manifest, each
        with one line. Called once, at the daemon's start."""
        if not self._folder.is_dir():
            return
        with self._changing():
            for path in sorted(self._folder.iterdir()):
                if path.name.startswith(".") and path.name.endswith(UNFINISHED):
                    _remove(path)
                elif path.is_dir():
                    self._sweep_version(path)
            self._journal.shorten()

    # --- versions ---------------------------------------------------------------------------

    def _own(self) -> Iterator[Manifest]:
        for path in self._folder.glob(f"[!.]*/{_MANIFEST}"):
            try:
                yield self._with_status(self._manifest(path.parent.name))
            except ModelError as error:
                log.warning("models: left out %s", error)

    def _shipped_manifest(self, role: str) -> Manifest:
        return msgspec.structs.replace(
            Manifest.named(SHIPPED, role),
            reason="came with the program",
            status="current" if self.current(role) == SHIPPED else "shipped",
            sha256=hashlib.sha256(self._shipped[role].read_bytes()).hexdigest(),
        )

    def _manifest(self, version: str) -> Manifest:
        path = self._folder / version / _MANIFEST
        if not version or version.startswith(".") or Path(version).name != version:
            raise ModelError(f"{version!r} is not the name of a version")
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError as error:
            raise ModelError(f"{version}: no such version in {self._folder}") from error
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ModelError(f"{path}: not a readable manifest ({error})") from error
        if (found.format, found.version) != (FORMAT, version):
            raise ModelError(f"{path}: the manifest of another version or format")
        return found

    def _with_status(self, manifest: Manifest) -> Manifest:
        """A role's file says what serves; a manifest may be older than that."""
        if self.current(manifest.role) == manifest.version:
            return msgspec.structs.replace(manifest, status="current")
        if manifest.status == "current":
            return msgspec.structs.replace(manifest, status="retired")
        return manifest

    def _checked(self, manifest: Manifest) -> bytes:
        path = self._folder / manifest.version / _MODEL
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != manifest.sha256:
            raise ModelError(f"{path}: damaged, it differs from the checksum in its manifest")
        return content

    def _usable(self, version: str, role: str) -> bool:
        try:
            if version != SHIPPED:
                self.check(version, role)
        except ModelError as error:
            log.error("models: passed by %s", error)
            return False
        return True

    def _exists(self, version: str) -> bool:
        try:
            return version == SHIPPED or bool(self._manifest(version))
        except ModelError:
            return False

    def _serves(self, version: str, role: str) -> bool:
        return role in self._shipped if version == SHIPPED else self._exists(version)

    def _path_of_shipped(self, role: str) -> Path:
        if role not in self._shipped:
            raise ModelError(
                f"{role}: no model of this role came with the program, and no stream names one"
            )
        return self._shipped[role]

    def _place(self, version: str, content: bytes, manifest: Manifest) -> None:
        beside = self._folder / f".{version}{UNFINISHED}"
        _remove(beside)
        try:
            beside.mkdir()
            give_to_owner(beside)
            write_through(beside / _MODEL, content)
            write_through(beside / _MANIFEST, _json(manifest))
            keep_names(beside)
            _remove(self._folder / version)  # damaged: a version has a manifest
            beside.rename(self._folder / version)
            keep_names(self._folder)
        except OSError:
            _remove(beside)
            raise

    def _mark(self, version: str, status: Status, reason: str | None = None) -> None:
        if version in (SHIPPED, ""):
            return
        manifest = self._manifest(version)
        why = manifest.reason if reason is None else reason
        changed = msgspec.structs.replace(manifest, status=status, reason=why)
        write_whole(self._folder / version / _MANIFEST, _json(changed))

    def _dismiss(self, role: str, reason: str, now_s: float) -> None:
        for each in self.list():
            if (each.role, each.status) == (role, "shadow"):
                self._mark(each.version, "rejected", reason)
                self._note("reject", each, now_s, "", reason)

    def _prune(self, role: str) -> None:
        """The newest of a role stay, and what serves, what it would go back to, what scores in
        shadow; and what any of these was made from."""
        own = [each for each in self.list() if each.role == role and each.version != SHIPPED]
        needed = set(self.served(role)[:2])
        needed |= {each.version for each in own if each.status == "shadow"}
        needed |= {each.version for each in own[-self._keep :]}
        needed |= {each.parent for each in own if each.version in needed}
        for each in own[: -self._keep]:
            if each.version not in needed:
                # First the name goes, so that no half of a version is ever seen.
                gone = self._folder / f".{each.version}{UNFINISHED}"
                (self._folder / each.version).rename(gone)
                _remove(gone)

    def _sweep_version(self, path: Path) -> None:
        for leftover in path.glob(f".*{UNFINISHED}"):
            _remove(leftover)
        try:
            # Of another format is another release's: that stays.
            msgspec.json.decode((path / _MANIFEST).read_bytes())
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("models: removed %s, it has no valid manifest (%s)", path, error)
            _remove(path)

    # --- what serves ------------------------------------------------------------------------

    def _pointer(self, role: str) -> Path:
        return self._folder / f"current-{quote(role, safe='')}.json"

    def _served(self, role: str) -> Sequence[str]:
        path = self._pointer(role)
        try:
            return [*msgspec.json.decode(path.read_bytes(), type=_Served).versions]
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.error("models: %s is not readable, %s serves (%s)", path, SHIPPED, error)
            return []

    def _point(self, role: str, versions: Sequence[str]) -> None:
        write_whole(self._pointer(role), _json(_Served(versions[-_SERVED_REMEMBERED:])))

    # --- changing one thing at a time ---------------------------------------------------------

    def _note(self, event: str, of: Manifest, now_s: float, previous: str, reason: str) -> None:
        self._journal.note(
            Event(
                time_s=now_s,
                event=event,
                role=of.role,
                version=of.version,
                previous=previous,
                reason=reason,
            )
        )

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One change at a time, of all threads and processes; a full disk is a ModelError."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._folder / ".lock", os.O_RDONLY | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)
        except OSError as error:
            name = error.filename or self._folder
            raise ModelError(f"{name}: {error.strerror}") from error


def _json(thing: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(thing)) + b"\n"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
