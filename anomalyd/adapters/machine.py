"""What the machine leaves to the daemon: memory and disk; and memory given back to it.

`service.py` asks, once at its start and with every scrape; an answer that isn't
to be had is the next best: the machine's memory where no control group limits it.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import NamedTuple

_CGROUP = Path("/sys/fs/cgroup")


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
    own = _unified(membership)
    for group in () if own is None else (own, *own.parents):
        limits += _limit(cgroups / group.relative_to("/") / "memory.max")
    return min(limits)


def memory_available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """What could be used without swapping; None where the kernel doesn't say."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None


def give_back_memory() -> None:
    """What the C library keeps of what was freed, after something large: glibc keeps most of it for
    each thread, and a process seems to grow with every training. Elsewhere nothing happens."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _unified(membership: Path) -> Path | None:
    """`0::/system.slice/anomalyd.service` names the group in the one hierarchy of version 2."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    return next((Path(line[3:]) for line in lines if line.startswith("0::/")), None)


def _limit(file: Path) -> list[int]:
    try:
        return [int(file.read_text())]
    except (OSError, ValueError):  # no such controller; "max"
        return []
