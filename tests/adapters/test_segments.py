"""Segments: whole records come back in order, whatever a crash cut off, or damage lies between."""

import os
from pathlib import Path

import pytest

from anomalyd.adapters.segments import HEAD, Segments, record

BODIES = [b"one", b"", b"three" * 100]


def written(folder: Path) -> tuple[Segments, Path]:
    segments = Segments(folder)
    segments.open(3)
    for body in BODIES:
        segments.append(record(body[:2], body[2:]))
    segments.sync()
    segments.close()
    return segments, folder / "000000000003.journal"


def test_records_come_back_in_order(tmp_path: Path) -> None:
    segments, path = written(tmp_path / "journal")
    again = Segments(tmp_path / "journal")
    assert ([3], BODIES) == (again.find(), list(again.read(3)))
    assert path.stat().st_size == segments.size == again.size


def test_every_prefix_gives_whole_records_only(tmp_path: Path) -> None:
    """The model of a power cut, or a kill in the middle of a write."""
    segments, path = written(tmp_path)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        found = list(segments.read(3))
        assert BODIES[: len(found)] == found
        assert len(found) < len(BODIES) or size == len(content)


@pytest.mark.parametrize("flip", [1, 0xFF])
def test_a_flipped_byte_costs_one_record(tmp_path: Path, flip: int) -> None:
    """And is told: as damage, or as what is cut off, where it is the last that is hit."""
    segments, path = written(tmp_path)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
        before = segments.damaged + segments.cut_off
        if flip == 1 and content[at : at + 1] == b"2" and at < len(HEAD):
            with pytest.raises(ValueError, match="journal-3, but this version reads"):
                list(segments.read(3))
            continue
        found = list(segments.read(3))
        missing = [body for body in BODIES if body not in found]
        assert len(missing) == (at >= len(HEAD))
        assert [body for body in BODIES if body in found] == found
        assert segments.damaged + segments.cut_off > before


def test_what_is_written_by_half_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk takes a part, and then nothing."""
    segments, whole = Segments(tmp_path), os.pwrite
    segments.open(1)

    def full(descriptor: int, content: bytes, at: int) -> int:
        if len(content) < 5:
            raise OSError(28, "No space left on device")
        return whole(descriptor, content[: len(content) // 2], at)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        segments.append(record(b"x" * 50))
    monkeypatch.undo()
    segments.append(record(b"y"))
    assert [b"y"] == list(segments.read(1))


def test_older_segments_are_forgotten(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    for number in (1, 2, 5):
        segments.open(number)
    segments.remove_before(5)
    assert ([5], len(HEAD)) == (segments.find(), segments.size)
