"""What the machine leaves is found, and the narrowest limit is the one that holds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from anomalyd.adapters.machine import (
    disk_usage,
    give_back_memory,
    memory_available_bytes,
    memory_limit_bytes,
)


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


def test_what_is_left_is_the_least_that_anything_leaves(tmp_path: Path) -> None:
    """The machine; a group, where files that the kernel would drop are free; nobody who says."""
    meminfo, membership = tmp_path / "meminfo", tmp_path / "cgroup"
    meminfo.write_text("MemTotal:  9000 kB\nMemAvailable:   5000 kB\n")
    membership.write_text("0::/anomalyd\n")
    assert 5_120_000 == memory_available_bytes(meminfo, tmp_path, membership)
    group = tmp_path / "anomalyd"
    group.mkdir()
    (group / "memory.max").write_text("3000000\n")
    (group / "memory.current").write_text("2500000\n")
    (group / "memory.stat").write_text("anon 2000000\ninactive_file 400000\n")
    assert 900_000 == memory_available_bytes(meminfo, tmp_path, membership)
    assert memory_available_bytes(tmp_path / "no", tmp_path, tmp_path / "no") is None


def test_a_limit_of_the_address_space_leaves_less() -> None:
    """In a process of its own: what it has, and 50 MB."""
    program = """
import os, resource
from anomalyd.adapters.machine import memory_available_bytes
used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000, resource.RLIM_INFINITY))
print(memory_available_bytes())
"""
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert 45_000_000 < int(found.stdout) <= 50_000_000
