"""What the machine leaves to the daemon: memory and disk; and memory given back to it.

`service.py` asks, once at its start, with every scrape and while it watches; an answer that isn't
to be had is the next best: the machine's memory where no control group limits it.
"""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path
from typing import NamedTuple

_CGROUP = Path("/sys/fs/cgroup")
_STATM = Path("/proc/self/statm")


class Disk(NamedTuple):
    """A file system, in bytes."""

    free: int
    """of it, what an ordinary user may write"""
    size: int


def disk_usage(directory: Path) -> Disk:
    """Of the file system that `directory` is on, or will be when it is made."""
    there = next((each for each in (directory, *directory.parents) if each.exists()), Path("/"))
    found = os.statvfs(there)
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def memory_limit_bytes(
    cgroups: Path = _CGROUP, membership: Path = Path("/proc/self/cgroup")
) -> int:
    """The least of the machine's memory and the limits (cgroups(7), version 2) of this process's
    group and those above it."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for group in _groups(cgroups, membership):
        limits += _number(group / "memory.max")
    return min(limits)


def memory_available_bytes(
    meminfo: Path = Path("/proc/meminfo"),
    cgroups: Path = _CGROUP,
    membership: Path = Path("/proc/self/cgroup"),
) -> int | None:
    """What could be used without swapping: of the machine, of each group that limits this process
    (with what the kernel would drop of files), and of its address space; the least of them. None
    where the kernel says none."""
    found = [kilobytes * 1024 for kilobytes in _named(meminfo, "MemAvailable:")]
    for group in _groups(cgroups, membership):
        files = sum(_named(group / "memory.stat", "inactive_file"))
        for limit, used in zip(
            _number(group / "memory.max"), _number(group / "memory.current"), strict=False
        ):
            found.append(limit - used + files)
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        pages = int(_STATM.read_text().split()[0])
        found.append(most - pages * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)


def give_back_memory() -> None:
    """What the C library keeps of what was freed, after something large: glibc keeps most of it for
    each thread, and a process seems to grow with every training. Elsewhere nothing happens."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _groups(cgroups: Path, membership: Path) -> list[Path]:
    """Folders of this process's group and of those above it, in the one hierarchy of version 2:
    `0::/system.slice/anomalyd.service` names it."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    own = next((Path(line[3:]) for line in lines if line.startswith("0::/")), None)
    return [] if own is None else [cgroups / each.relative_to("/") for each in (own, *own.parents)]


def _number(file: Path) -> list[int]:
    try:
        return [int(file.read_text())]
    except (OSError, ValueError):  # no such controller; "max"
        return []


def _named(file: Path, name: str) -> list[int]:
    """The number behind `name`, in a file of names and numbers."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return []
    return [int(line.split()[1]) for line in lines if line.split()[:1] == [name]]
