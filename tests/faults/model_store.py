"""kill -9 on a process that adds, promotes, rolls back, rejects and prunes models without a pause.

`python -m tests.faults.model_store [--times N] [--seed S]` prints what was found: after every kill
exactly one version of each role serves and can be loaded, and none is half there.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from anomalyd.adapters.models.manifest import FORECAST, NEXT_STEP, SHIPPED, Manifest
from anomalyd.adapters.models.store import ModelStore

ROLES = (NEXT_STEP, FORECAST, "asset:pumps")
KEEP = 3
_LONGEST_S = 0.15


@dataclass(frozen=True, slots=True)
class Found:
    """What all the kills left behind."""

    kills: int = 0
    unfinished: int = 0
    """directories and files that were being written, and were swept"""
    events: Counter[str] = field(default_factory=Counter)
    """steps that are in the journal"""


def open_store(folder: Path) -> ModelStore:
    shipped = folder / "shipped"
    if not shipped.exists():
        shipped.write_bytes(b"shipped")
    return ModelStore(folder / "models", KEEP, {NEXT_STEP: shipped, FORECAST: shipped})


def campaign(folder: Path, times: int, seed: int) -> Found:
    """Kill `times` processes; raises AssertionError where one left something wrong."""
    draw, found = random.Random(seed), Found()  # noqa: S311 - a plan, not a secret
    models = open_store(folder)
    for number in range(times):
        _kill(folder, seed * 100_000 + number, draw.uniform(0.0, _LONGEST_S))
        unfinished = len(list((folder / "models").glob("**/.*.unfinished")))
        _check(models)
        models.sweep()
        assert not list((folder / "models").glob("**/.*.unfinished"))
        _check(models)
        found = Found(number + 1, found.unfinished + unfinished)
    found.events.update(event.event for event in models.events())
    return found


def _kill(folder: Path, seed: int, after_s: float) -> None:
    command = [sys.executable, "-m", "tests.faults.model_store", "--work", folder, "--seed", seed]
    with subprocess.Popen([str(each) for each in command], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"at work\n" == process.stdout.readline()
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.kill()
        assert -9 == process.wait()


def _check(models: ModelStore) -> None:
    manifests = models.list()
    assert len(manifests) == len({(each.role, each.version) for each in manifests})
    for role in ROLES:
        serving = [
            each.version for each in manifests if (each.role, each.status) == (role, "current")
        ]
        now = models.current(role)
        assert serving == [now] or (now == SHIPPED and not serving and role.startswith("asset:"))
    for each in manifests:
        assert each.version == SHIPPED or models.load(each.version).startswith(each.role.encode())


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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.model_store", description=__doc__)
    parser.add_argument("--times", type=int, default=50, help="kills; default 50")
    parser.add_argument("--seed", type=int, default=1, help="default 1")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        _work(options.work, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder), options.times, options.seed)
    steps = ", ".join(f"{count} {name}" for name, count in sorted(found.events.items()))
    print(
        f"{found.kills} kills, {found.unfinished} times something was unfinished and swept; "
        f"one valid version of each of {len(ROLES)} roles served after each; journal: {steps}"
    )


if __name__ == "__main__":
    main()
