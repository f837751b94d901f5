"""kill -9 on a process that adds, promotes, rolls back, rejects and prunes models without a pause.

After every kill exactly one version of each role serves and can be loaded, and none is half there.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from anomalyd.adapters.models.manifest import FORECAST, NEXT_STEP, SHIPPED, Manifest
from anomalyd.adapters.models.store import ModelStore
from tests.faults.table import Row

ROLES = (NEXT_STEP, FORECAST, "asset:pumps")
KEEP = 3
_LONGEST_S = 0.15


@dataclass(frozen=True, slots=True)
class Found:
    """What all the kills left behind."""

    kills: int = 0
    wrong: int = 0
    """kills after which not exactly one valid version of each role served"""
    unfinished: int = 0
    """directories and files that were being written, and were swept"""
    events: Counter[str] = field(default_factory=Counter)
    """steps that are in the journal"""


def open_store(folder: Path) -> ModelStore:
    shipped = folder / "shipped"
    if not shipped.exists():
        shipped.write_bytes(b"shipped")
    return ModelStore(folder / "models", KEEP, dict.fromkeys(ROLES, shipped))


def campaign(directory: Path, times: int) -> Row:
    """Kill `times` processes."""
    found = kill(directory, times, 1)
    steps = ", ".join(f"{count} {name}" for name, count in sorted(found.events.items()))
    note = f"{found.unfinished} times something unfinished was swept; journal: {steps}"
    return Row("kill -9 of the registry's steps", found.kills, found.wrong, note=note)


def kill(folder: Path, times: int, seed: int) -> Found:
    """Kill `times` processes, each at a random moment."""
    draw, found = random.Random(seed), Found()  # noqa: S311 - a plan, not a secret
    models = open_store(folder)
    for number in range(times):
        _kill(folder, seed * 100_000 + number, draw.uniform(0.0, _LONGEST_S))
        unfinished = len(list((folder / "models").glob("**/.*.unfinished")))
        right = _right(models)
        models.sweep()
        right &= _right(models) and not list((folder / "models").glob("**/.*.unfinished"))
        found = Found(number + 1, found.wrong + (not right), found.unfinished + unfinished)
    found.events.update(event.event for event in models.events())
    return found


def _kill(folder: Path, seed: int, after_s: float) -> None:
    command = [sys.executable, "-m", "tests.faults.model_store", folder, seed]
    with subprocess.Popen([str(each) for each in command], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"at work\n" == process.stdout.readline()
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.kill()
        assert -9 == process.wait()


def _right(models: ModelStore) -> bool:
    """Exactly one version of each role serves and can be loaded."""
    manifests = models.list()
    right = len(manifests) == len({(each.role, each.version) for each in manifests})
    for role in ROLES:
        serving = [
            each.version for each in manifests if (each.role, each.status) == (role, "current")
        ]
        right &= serving == [models.current(role)]
    loaded = (each for each in manifests if each.version != SHIPPED)
    return right and all(
        models.load(each.version).startswith(each.role.encode()) for each in loaded
    )


def _work(folder: Path, seed: int) -> None:
    """Until killed."""
    draw, models = random.Random(seed), open_store(folder)  # noqa: S311 - a plan, not a secret
    sys.stdout.write("at work\n")
    sys.stdout.flush()
    for number in range(sys.maxsize):
        role = draw.choice(ROLES)
        own = [each for each in models.list() if each.role == role and each.version != SHIPPED]
        step = draw.choice(["add", "add", "promote", "promote", "rollback", "reject"])
        now_s = 1e9 + (seed % 100_000) * 1000.0 + number
        chosen = draw.choice(own) if own else None
        if step == "add":
            content = role.encode() + draw.randbytes(60_000)
            about = Manifest(role=role, created_s=now_s, seed=seed, code_version="0")
            models.add(content, about)
        elif step == "rollback" and models.current(role) != SHIPPED:
            models.rollback(role, "floods", now_s)
        elif step == "promote" and chosen:
            models.promote(chosen.version, "better", now_s)
        elif step == "reject" and chosen and chosen.status != "current":
            models.reject(chosen.version, "worse", now_s)


if __name__ == "__main__":
    _work(Path(sys.argv[1]), int(sys.argv[2]))
