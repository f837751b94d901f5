"""The chunk file's rules: what goes in comes out bit for bit, small; and what is damaged, foreign,
of another version or gone is refused by name."""

from __future__ import annotations

import errno
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.adapters import chunk as files
from anomalyd.adapters.chunk import Chunk
from anomalyd.errors import ChunkError
from anomalyd.files import UNFINISHED

START_S = 1_748_772_000.0

_values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-1_000, 1_000, places=2).map(float),
    st.sampled_from([0.0, -0.0, 1e36, -1e36, 5e-324, 0.1, 2.0**53]),
)


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    counts = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    size = sum(counts)
    steps = draw(st.lists(st.floats(0.0, 1e5), min_size=size, max_size=size))
    values = draw(st.lists(_values, min_size=size, max_size=size))
    score = draw(
        st.lists(st.floats(0.0, 1e3, width=16) | st.just(np.nan), min_size=size, max_size=size)
    )
    codes = draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 8), st.booleans()),
            min_size=size,
            max_size=size,
        )
    )
    state, kind, learnt = zip(*codes, strict=True)
    return Chunk(
        [f"line/µ{number}" for number in range(len(counts))],
        np.array(counts, dtype=np.int64),
        np.concatenate([np.arange(count) + draw(st.integers(0, 2**40)) for count in counts]),
        START_S + np.cumsum(steps),
        np.array(values),
        np.array(score, dtype=np.float16),
        np.array(state, dtype=np.int8),
        np.array(kind, dtype=np.int8),
        np.array(learnt),
    )


def same(ours: Chunk, theirs: Chunk) -> bool:
    return list(ours.channels) == list(theirs.channels) and all(
        np.asarray(getattr(ours, field.name)).tobytes()
        == np.asarray(getattr(theirs, field.name)).tobytes()
        for field in fields(Chunk)[1:]
    )


def plain(channels: int = 3, readings: int = 200, first_s: float = START_S) -> Chunk:
    """Sensors with two decimals, a reading a second."""
    rng, size = np.random.default_rng(1), channels * readings
    return Chunk(
        [f"line1/pump{number}/flow" for number in range(channels)],
        np.full(channels, readings),
        np.tile(np.arange(readings), channels),
        np.tile(first_s + np.arange(float(readings)), channels),
        np.round(rng.normal(20.0, 0.5, size), 2),
        rng.uniform(0.0, 0.9, size).astype(np.float16),
        np.ones(size, dtype=np.int8),
        np.zeros(size, dtype=np.int8),
        np.ones(size, dtype=np.bool_),
    )


@settings(max_examples=60, deadline=None)
@given(chunks())
def test_what_goes_in_comes_out(chunk: Chunk) -> None:
    assert same(chunk, files.decode(files.encode(chunk), Path("x")))
    assert files.encode(chunk) == files.encode(chunk)


def test_a_reading_is_a_few_bytes() -> None:
    """Two decimals at 1 Hz: 3 bytes, of which half are the score's."""
    chunk = plain(channels=100, readings=1000)
    assert len(files.encode(chunk)) / len(chunk) < 3.5


def test_a_file_tells_what_it_holds_before_it_is_read(tmp_path: Path) -> None:
    chunk = plain()
    path = files.write(tmp_path / "", chunk)
    found = files.summary(path)
    assert dict.fromkeys(chunk.channels, 200) == found.counts
    assert (START_S, START_S + 199.0) == (found.first_s, found.last_s)
    assert (START_S, START_S + 200.0) == files.seconds_of(path)
    assert same(chunk, files.read(path))


def test_two_chunks_of_the_same_seconds_are_two_files(tmp_path: Path) -> None:
    files.write(tmp_path, plain())
    files.write(tmp_path, plain())
    assert 2 == len(files.listing(tmp_path))


def test_the_oldest_files_go_first(tmp_path: Path) -> None:
    """Until the rest has room; by the readings' times, not by when they were written."""
    paths = [files.write(tmp_path, plain(first_s=START_S + day * 86400.0)) for day in (2, 0, 1)]
    size = paths[0].stat().st_size
    assert 1 == files.prune(tmp_path, 2.5 * size)
    assert [paths[2], paths[0]] == files.listing(tmp_path)
    assert 0 == files.prune(tmp_path, 2.5 * size)


def test_what_was_being_written_is_swept(tmp_path: Path) -> None:
    path = files.write(tmp_path, plain())
    (tmp_path / f".x{UNFINISHED}").write_bytes(b"half")
    files.sweep(tmp_path)
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("at", [0, 5, 20, 60, 61, 400, -1])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, at: int) -> None:
    path = files.write(tmp_path, plain())
    content = bytearray(path.read_bytes())
    content[at] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(ChunkError, match=str(path)):
        files.read(path)
    with pytest.raises(ChunkError, match=str(path)):
        files.summary(path)


@pytest.mark.parametrize("content", [b"", b"anomalyd-history\n", b"\x00" * 100, b"foreign" * 50])
def test_a_foreign_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.chunk"
    path.write_bytes(content)
    with pytest.raises(ChunkError, match=str(path)):
        files.read(path)
    with pytest.raises(ChunkError, match=str(path)):
        files.seconds_of(path)


def test_a_file_cut_off_or_gone_is_refused_by_name(tmp_path: Path) -> None:
    path = files.write(tmp_path, plain())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ChunkError, match="damaged"):
        files.read(path)
    path.unlink()
    with pytest.raises(ChunkError, match="No such file"):
        files.read(path)


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "VERSION", 2)
    path = files.write(tmp_path, plain())
    monkeypatch.undo()
    with pytest.raises(ChunkError, match="version 2, but this program reads 1"):
        files.read(path)


def test_a_folder_that_is_missing_is_the_callers_to_report(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised:
        files.write(tmp_path / "nowhere", plain())
    assert errno.ENOENT == raised.value.errno
