"""What learning must still know after a restart: when a round is due, which one was cut off, and
who is on trial for how long.

A small JSON file and, of a round that was stopped in the midst, its progress. Owned by whoever
retrains, on its thread alone. Where it can't be written, that is a condition, and a restart begins
from what was written last; what serves is said by the registry, never here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from anomalyd.adapters.models.manifest import SHIPPED
from anomalyd.files import write_whole
from anomalyd.runtime.conditions import Conditions

log = logging.getLogger(__name__)

CONDITION = "agenda"
_FILE, _PROGRESS = "retrain.json", "retrain.progress"


class Round(msgspec.Struct, frozen=True):
    """A retraining that has begun and isn't over."""

    champion: str
    since_s: float
    until_s: float
    """the history that it learns from"""
    why: str
    begun: int = 0
    """times; more than one where something ended the daemon in its midst"""


class Tried(msgspec.Struct, frozen=True):
    """A model of a class of assets on trial."""

    version: str
    tried_s: float
    """time that it has had"""
    watched: bool = False
    """it serves, or is just about to; the time is that of the watch"""


class Agenda(msgspec.Struct, frozen=True):
    """Times are seconds since 1970."""

    due_s: float = 0.0
    """of the next round; 0: nobody has said"""
    begun_s: float = 0.0
    """when the last one began"""
    round: Round | None = None
    assets: Round | None = None
    """the same for the asset classes, which learn after the predictor"""
    trial: str = ""
    """the version that scores in shadow, or that serves and is watched since its promotion"""
    tried_s: float = 0.0
    """time that it has had; while the daemon is away none passes"""
    trusted: str = SHIPPED
    """the last version that has served through its watch, or came back"""
    asset_trials: Mapping[str, Tried] = msgspec.field(default_factory=dict)
    """role -> who scores in shadow, or serves and is watched"""


class AgendaFile:
    """Owner of both files in `directory`."""

    def __init__(self, directory: Path, conditions: Conditions) -> None:
        self._path, self._progress = directory / _FILE, directory / _PROGRESS
        self._conditions = conditions
        self.now = self._read()

    def note(self, **changes: Any) -> None:
        """Change these fields; returns when they are on the disk."""
        self.now = msgspec.structs.replace(self.now, **changes)
        self._write(self._path, msgspec.json.encode(self.now) + b"\n")

    def keep_progress(self, progress: bytes) -> None:
        """Of the round that is stopped."""
        self._write(self._progress, progress)

    def take_progress(self) -> bytes | None:
        """Once: what was kept, if anything was."""
        try:
            kept = self._progress.read_bytes()
            self._progress.unlink()
        except OSError:
            return None
        return kept

    def _read(self) -> Agenda:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Agenda)
        except FileNotFoundError:
            return Agenda()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning(
                "models: %s is not readable, the schedule begins anew (%s)", self._path, error
            )
            return Agenda()

    def _write(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
        except OSError as error:
            self._conditions.begin(CONDITION, f"{path}: {error.strerror}; a restart forgets it")
        else:
            self._conditions.end(CONDITION)
