"""Power cuts while a generation is written, and bytes that flip on the disk.

The model of a disk: what a file holds is safe once it is synced, and torn anywhere before; what a
folder holds is safe once the folder is synced, and before that any of its changes may be there or
not. Every cut of the write sequence of a save, with every such outcome, is laid on a real disk and
loaded: it must be the newest generation or the one before, whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyd.adapters.store import Files, Generation, Store
from tests.faults.table import Row

_TORN = 16
"""places at which a file is torn, at most"""

Disk = Mapping[str, bytes]
"""name -> content"""
Change = tuple[str | None, str | None, bytes]
"""of a folder: the name that goes, the name that comes, and with which content"""


class Recorded(Files):
    """What a save does, done and noted."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, Change]] = []

    def write(self, path: Path, parts: bytes) -> None:
        super().write(path, parts)
        self.steps.append(("write", (None, path.name, parts)))

    def rename(self, path: Path, to: Path) -> None:
        content = path.read_bytes()
        super().rename(path, to)
        self.steps.append(("rename", (path.name, to.name, content)))

    def remove(self, path: Path) -> None:
        super().remove(path)
        self.steps.append(("remove", (path.name, None, b"")))

    def sync(self, folder: Path) -> None:
        super().sync(folder)
        self.steps.append(("sync", (None, None, b"")))


def generation(number: int) -> dict[str, NDArray[Any]]:
    """Arrays that tell which generation they are of."""
    return {"a": np.full((5, 3), float(number)), "b": np.arange(number, number + 40)}


def save(store: Store, number: int) -> None:
    store.save(generation(number), b'{"of":%d}' % number, "test", float(number))


def number_of(found: Generation) -> int:
    """Which one it is; an AssertionError where it is not whole."""
    number = int(found.manifest.created_s)
    assert b'{"of":%d}' % number == bytes(found.manifest.about)
    for name, array in generation(number).items():
        assert np.array_equal(array, found.arrays[name])
    return number


def restored(store: Store) -> int:
    """The newest that can be used; 0 where there is none."""
    usable = (each for each in store.generations() if isinstance(each, Generation))
    found = next(usable, None)
    return number_of(found) if found else 0


def after_cuts(disk: Disk, steps: Sequence[tuple[str, Change]]) -> Iterator[tuple[int, Disk]]:
    """Every disk that a power cut may leave, and how many of the steps were done."""
    safe, pending = dict(disk), list[Change]()
    for done, (what, change) in enumerate(steps):
        if what == "write":
            # Not synced yet: as much of it as the disk has got round to, or only its length.
            content = change[2]
            places = np.linspace(0, len(content), _TORN).astype(int).tolist()
            for torn in [*(content[:at] for at in places), bytes(len(content))]:
                for left in outcomes(safe, [*pending, (None, change[1], torn)]):
                    yield done, left
        if what == "sync":
            safe, pending = applied(safe, pending), []
        else:
            pending.append(change)
        for left in outcomes(safe, pending):
            yield done + 1, left


def outcomes(safe: Disk, pending: Sequence[Change]) -> Iterator[Disk]:
    """Each change that is not safe is there, or not."""
    for there in itertools.product((False, True), repeat=len(pending)):
        yield applied(safe, itertools.compress(pending, there))


def applied(disk: Disk, changes: Any) -> dict[str, bytes]:
    after = dict(disk)
    for gone, come, content in changes:
        if gone:
            after.pop(gone, None)
        if come:
            after[come] = content
    return after


def lay(folder: Path, disk: Disk) -> None:
    """Make a folder hold exactly this."""
    for path in folder.iterdir():
        path.unlink()
    for name, content in disk.items():
        (folder / name).write_bytes(content)


def cuts(directory: Path, seed: int) -> Row:
    """Cut the third save of three everywhere: each cut there is, so there is nothing to draw."""
    files = Recorded()
    folder, store = directory / "state", Store(directory, files)
    for number in (1, 2):
        save(store, number)
    disk = {path.name: path.read_bytes() for path in folder.iterdir()}
    files.steps.clear()
    save(store, 3)
    synced = [what for what, _ in files.steps].index("sync")
    times = lost = 0
    for done, left in after_cuts(disk, list(files.steps)):
        lay(folder, left)
        found = restored(Store(directory))
        times += 1
        lost += found not in ((3,) if done > synced else (2, 3))
        # And the next start of the daemon saves on, whatever was left.
        save(Store(directory), 4)
        lost += restored(Store(directory)) != 4
    return Row("power cut within a save", times, lost)


def flips(directory: Path, times: int) -> Row:
    """One byte of the newest generation is another."""
    store, rng = Store(directory), np.random.default_rng(1)
    for number in (1, 2):
        save(store, number)
    newest = sorted((directory / "state").iterdir())[-2:]
    sizes = [path.stat().st_size for path in newest]
    lost = 0
    for _ in range(times):
        at = int(rng.integers(sum(sizes)))
        path, place = (newest[0], at) if at < sizes[0] else (newest[1], at - sizes[0])
        content = path.read_bytes()
        wrong = bytearray(content)
        wrong[place] ^= int(rng.integers(1, 256))
        path.write_bytes(wrong)
        lost += restored(store) != 1
        path.write_bytes(content)
    assert restored(store) == 2
    return Row("one byte of a generation flipped", times, lost)
