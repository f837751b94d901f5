"""Files that are there whole or not at all, whenever the power fails.

Called by the adapters that keep something on disk, each on its own thread. Nothing here catches an
error: a full disk is the caller's to report.
"""

from __future__ import annotations

import os
from pathlib import Path

UNFINISHED = ".unfinished"
"""suffix of what was being written; whoever owns the directory sweeps it at start"""


def write_whole(path: Path, content: bytes) -> None:
    """Write beside `path`, then take its place: a reader finds the old content or the new one."""
    beside = path.with_name(f".{path.name}{UNFINISHED}")
    try:
        write_through(beside, content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    keep_names(path.parent)


def write_through(path: Path, content: bytes) -> None:
    """Returns when the disk has the content; the name is kept by `keep_names` on its directory."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    give_to_owner(path)


def keep_names(directory: Path) -> None:
    """Returns when the disk has the names of the files in `directory`."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def give_to_owner(path: Path) -> None:
    """What an administrator writes as root must stay writable for the daemon's own user."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
