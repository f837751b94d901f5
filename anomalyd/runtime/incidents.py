"""The plant's own incidents: every confirmed alert as a case that later models must still find.

One small safetensors file a case, with the readings before and during. Bounded: the oldest goes,
and a case much like another of the same channel replaces it. Whoever learns of a confirmation
saves, whoever retrains reads; a file is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from anomalyd.errors import DataError
from anomalyd.model.segment import Cut, Segment

log = logging.getLogger(__name__)

MOST = 64
_FORMAT = "anomalyd-incident-1"
_ALIKE = 0.25
"""relative difference of two incidents' sizes and lengths, up to which they are one"""


@dataclass(frozen=True, slots=True)
class Incident:
    """A confirmed alert; the readings of the channels of its asset, or of its channel alone."""

    alert: str
    """id of the alert"""
    channel: str
    kind: str
    start_s: float
    end_s: float
    segments: Sequence[Segment]

    @property
    def signature(self) -> tuple[float, float]:
        """How far off it was, in spreads of the readings before it, and how long it took."""
        own = [each for each in self.segments if each.channel == self.channel]
        values = np.concatenate([each.values for each in own])
        times = np.concatenate([each.times for each in own])
        during = (times >= self.start_s) & (times <= self.end_s)
        if not during.any() or during.all():
            return 0.0, self.end_s - self.start_s
        before = values[~during]
        off = np.median(values[during]) - np.median(before)
        return float(off / (before.std() + 1e-12)), self.end_s - self.start_s

    def like(self, other: Incident) -> bool:
        """The same kind of thing on the same channel, about as large and long."""
        if (self.channel, self.kind) != (other.channel, other.kind):
            return False
        pairs = zip(self.signature, other.signature, strict=True)
        return all(abs(a - b) <= _ALIKE * max(abs(a), abs(b)) for a, b in pairs)


class Incidents:
    """The cases in `folder`."""

    def __init__(self, folder: Path, most: int = MOST) -> None:
        self._folder, self._most = folder, most

    def keep(self, incident: Incident) -> None:
        """Save it; what is much like it goes, then the oldest. Raises DataError."""
        path = self._path(incident.alert)
        part = path.with_suffix(".part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(_dump(incident))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from error
        others = [each for each in self.all() if each.alert != incident.alert]
        alike = [each for each in others if each.like(incident)]
        left = sorted((e for e in others if e not in alike), key=lambda each: each.start_s)
        for each in alike + left[: max(len(left) + 1 - self._most, 0)]:
            self._path(each.alert).unlink(missing_ok=True)

    def all(self) -> list[Incident]:
        """Those that can be read, the oldest first; the others are named in the log."""
        found = []
        for path in sorted(self._folder.glob("*.safetensors")):
            try:
                found.append(_load(path))
            except DataError as error:
                log.warning("incidents: left out %s", error)
        return sorted(found, key=lambda each: (each.start_s, each.alert))

    def _path(self, alert: str) -> Path:
        return self._folder / (hashlib.sha256(alert.encode()).hexdigest()[:24] + ".safetensors")


def _dump(incident: Incident) -> bytes:
    tensors = {}
    for index, each in enumerate(incident.segments):
        tensors[f"{index}.times"] = np.ascontiguousarray(each.times)
        tensors[f"{index}.values"] = np.ascontiguousarray(each.values)
        tensors[f"{index}.learnt"] = np.ascontiguousarray(each.learnt)
    about = {
        "format": _FORMAT,
        "alert": incident.alert,
        "channel": incident.channel,
        "kind": incident.kind,
        "start_s": incident.start_s,
        "end_s": incident.end_s,
        "channels": [each.channel for each in incident.segments],
    }
    return save(tensors, {"anomalyd": json.dumps(about, sort_keys=True)})


def _load(path: Path) -> Incident:
    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {})["anomalyd"])
            if about.pop("format") != _FORMAT:
                raise DataError(f"{path}: not an incident of this version")
            segments = [
                Cut(
                    name, *(file.get_tensor(f"{at}.{key}") for key in ("times", "values", "learnt"))
                )
                for at, name in enumerate(about.pop("channels"))
            ]
        return Incident(**about, segments=segments)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a readable incident ({error})") from error
