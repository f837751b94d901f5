"""Generations are whole or not there; what is damaged, foreign or of another version is skipped by
name; one process has the directory."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from anomalyd.adapters import store
from anomalyd.adapters.store import Files, Generation, Store
from anomalyd.errors import ServiceFailed, StateError

ARRAYS = {
    "flags": np.array([True, False]),
    "codes": np.array([[1, -2]], dtype=np.int8),
    "figures": np.array([np.nan, 1e-300, -0.0]),
    "singles": np.zeros((0, 3), dtype=np.float32),
}


def saved(directory: Path, times: int = 1) -> Store:
    kept = Store(directory)
    for number in range(times):
        kept.save(ARRAYS, b'{"number":%d}' % number, "1.2", 1e9 + number)
    return kept


def newest(kept: Store) -> Generation:
    found = next(kept.generations())
    assert isinstance(found, Generation)
    return found


def test_what_is_saved_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    found = newest(saved(tmp_path))
    assert (1, "1.2", 1e9) == (found.number, found.manifest.version, found.manifest.created_s)
    assert b'{"number":0}' == bytes(found.manifest.about)
    assert set(ARRAYS) == set(found.arrays)
    for name, array in ARRAYS.items():
        theirs = found.arrays[name]
        assert (array.dtype, array.shape) == (theirs.dtype, theirs.shape)
        assert array.tobytes() == theirs.tobytes()


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    kept = saved(tmp_path, 5)
    assert [5, 4] == [each.number for each in kept.generations() if isinstance(each, Generation)]
    assert 4 == len(list((tmp_path / "state").iterdir()))


def test_a_damaged_one_is_not_kept_in_the_place_of_a_whole_one(tmp_path: Path) -> None:
    """The next save may be damaged too."""
    path = saved(tmp_path, 2)._path(2, "safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    kept = Store(tmp_path)
    assert [2, 1] == [found.number if isinstance(found, Generation) else 2
                      for found in kept.generations()]  # fmt: skip
    kept.save(ARRAYS, b"{}", "1.2", 1e9)
    assert [3, 1] == [each.number for each in kept.generations() if isinstance(each, Generation)]


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    assert [] == list(Store(tmp_path / "none").generations())


@pytest.mark.parametrize(
    ("suffix", "content", "why"),
    [
        ("json", b"", "cut off"),
        ("json", b"{}\n{}\n", "differs from its checksum"),
        ("safetensors", b"", "the arrays differ from their checksum"),
        ("safetensors", None, "No such file"),
    ],
)
def test_a_damaged_one_is_skipped_and_says_why(
    tmp_path: Path, suffix: str, content: bytes | None, why: str
) -> None:
    """One line, with the file's name; the one before serves."""
    kept = saved(tmp_path, 2)
    path = tmp_path / "state" / f"000000000002.{suffix}"
    path.unlink() if content is None else path.write_bytes(content)
    damaged, before = kept.generations()
    assert isinstance(damaged, StateError)
    assert "000000000002.json" in str(damaged)
    assert why in str(damaged)
    assert isinstance(before, Generation)


def test_another_format_is_refused_by_name(tmp_path: Path) -> None:
    kept = saved(tmp_path)
    line = msgspec.json.encode({"format": "anomalyd-state-0"})
    digest = hashlib.sha256(line).hexdigest().encode()
    (tmp_path / "state" / "000000000001.json").write_bytes(digest + b"\n" + line + b"\n")
    (refused,) = kept.generations()
    assert "format 'anomalyd-state-0', but this version reads anomalyd-state-1" in str(refused)


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    kept = saved(tmp_path, 3)
    other = tmp_path / "state" / "notes.txt"
    other.write_text("mine")
    kept.save(ARRAYS, b"{}", "1.2", 0.0)
    assert "mine" == other.read_text()


class Full(Files):
    """A disk that has no room from the second file on."""

    def write(self, path: Path, parts: bytes) -> None:
        path.write_bytes(parts[:10])
        if path.name.endswith(".json.part"):
            raise OSError(28, "No space left on device")


def test_a_save_that_fails_leaves_those_before_and_no_litter(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    before = sorted((tmp_path / "state").iterdir())
    with pytest.raises(OSError, match="No space left"):
        Store(tmp_path, Full()).save(ARRAYS, b"{}", "1.2", 0.0)
    assert before == sorted((tmp_path / "state").iterdir())
    assert 2 == newest(Store(tmp_path)).number


def test_a_folder_that_cannot_be_listed_is_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save would begin again at 1, and be older than all that is there."""
    kept = saved(tmp_path, 3)

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", refuse)
        with pytest.raises(PermissionError):
            kept.save(ARRAYS, b"{}", "1.2", 1e9)
        (found,) = kept.generations()
        assert "state: Permission denied" in str(found)
    assert 3 == newest(kept).number


def test_one_process_has_the_directory(tmp_path: Path) -> None:
    """The second is refused by name; a process that is gone has let go."""
    mine = store.lock(tmp_path / "new")
    with pytest.raises(ServiceFailed, match="another anomalyd uses this state directory"):
        store.lock(tmp_path / "new")
    mine.close()
    other = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys, pathlib; from anomalyd.adapters import store; "
            "kept = store.lock(pathlib.Path(sys.argv[1])); os._exit(3)",
            tmp_path / "new",
        ],
        check=False,
    )
    assert 3 == other.returncode
    store.lock(tmp_path / "new").close()


def test_a_directory_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        store.lock(tmp_path / "file" / "state")
