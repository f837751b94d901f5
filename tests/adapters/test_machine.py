"""What the machine leaves is found, and the narrowest limit is the one that holds."""

import os
import shutil
from pathlib import Path

from anomalyd.adapters.machine import disk_usage, give_back_memory, memory_limit_bytes


def test_a_directory_that_is_not_made_yet_has_the_disk_of_its_parent(tmp_path: Path) -> None:
    found = disk_usage(tmp_path / "not" / "yet")
    assert shutil.disk_usage(tmp_path).total == found.size
    assert 0 < found.free <= found.size


def test_memory_that_was_freed_is_given_back() -> None:
    """Many small pieces with some between them that stay: what glibc keeps by itself."""
    pieces = [bytes(2000) for _ in range(50_000)]
    kept = pieces[::1000]
    full = _resident_bytes()
    del pieces
    give_back_memory()
    assert full - _resident_bytes() > 50_000_000
    assert len(kept) == 50


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def test_the_narrowest_limit_of_the_groups_holds(tmp_path: Path) -> None:
    service = tmp_path / "system.slice" / "anomalyd.service"
    service.mkdir(parents=True)
    (service / "memory.max").write_text("max\n")
    (service.parent / "memory.max").write_text("1048576\n")
    membership = tmp_path / "cgroup"
    membership.write_text("4:memory:/old\n0::/system.slice/anomalyd.service\n")
    assert 1_048_576 == memory_limit_bytes(tmp_path, membership)


def test_without_a_limit_it_is_the_machine(tmp_path: Path) -> None:
    assert 2**20 < memory_limit_bytes(tmp_path, tmp_path / "none")
