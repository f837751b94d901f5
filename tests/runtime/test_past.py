"""The history read back: every stretch once and whole, within what was asked for, and a file that
can't be read is one line."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.adapters import chunk as files
from anomalyd.runtime.past import Past, read_past
from anomalyd.runtime.stretches import Stretches
from tests.runtime.test_stretches import EVERYTHING, START_S, seen

EVER = (0.0, 1e12)


def written(folder: Path, *spans: tuple[int, int], channels: int = 2, a_file: int = 100) -> None:
    """Seconds `first` to `end` of each channel; a new daemon for each span."""
    names = [f"c{number}" for number in range(channels)]
    for first, end in spans:
        stretches = Stretches(EVERYTHING, 0)
        for at in range(first, end, a_file):
            stretches.add(seen(at, min(a_file, end - at), channels), names)
            chunk = stretches.take()
            assert chunk is not None
            files.write(folder, chunk)


def spans(past: Past, channel: str) -> list[tuple[int, int]]:
    found = [each.values for each in past.stretches() if each.channel == channel]
    assert all((np.diff(values) == 1.0).all() for values in found)
    return [(int(values[0]), int(values[-1]) + 1) for values in found]


def test_a_stretch_goes_across_files(tmp_path: Path) -> None:
    """And ends where the daemon was away."""
    written(tmp_path, (0, 450), (1000, 1200))
    past = read_past(tmp_path, *EVER, EVERYTHING)
    assert [(0, 450), (1000, 1200)] == spans(past, "c0") == spans(past, "c1")
    assert 1300 == len(past)
    assert ["c0", "c1"] == [each.channel for each in past.stretches(least_readings=300)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 700), st.integers(0, 700), st.integers(2, 1500))
def test_no_more_than_was_asked_for(
    tmp_path_factory: pytest.TempPathFactory, since: int, until: int, most: int
) -> None:
    """Of the seconds asked for, the newest of each channel, equally many; never more in all."""
    folder = tmp_path_factory.mktemp("history")
    written(folder, (0, 600))
    past = read_past(folder, START_S + since, START_S + until, most)
    assert len(past) <= most
    end = min(until, 600)
    for name in ("c0", "c1"):
        found = spans(past, name)
        assert len(found) <= 1
        for first, last in found:
            assert (end, since <= first) == (last, True)
    if end > since and most >= 1200:
        assert 2 * (end - since) == len(past)


def test_channels_with_little_leave_the_rest_to_others(tmp_path: Path) -> None:
    written(tmp_path, (0, 10), channels=2)
    written(tmp_path, (10, 500), channels=1)
    past = read_past(tmp_path, *EVER, 200)
    assert (200, [(0, 10)]) == (len(past), spans(past, "c1"))
    assert [(310, 500)] == spans(past, "c0")


def test_only_the_channels_that_are_named(tmp_path: Path) -> None:
    written(tmp_path, (0, 100), channels=3)
    past = read_past(tmp_path, *EVER, EVERYTHING, {"c1", "nobody"})
    assert ["c1"] == list(past.channels)


def test_a_silence_ends_a_stretch(tmp_path: Path) -> None:
    """Also where no reading was left out."""
    stretches = Stretches(EVERYTHING, 0)
    for first in (0, 150):
        stretches.add(seen(first, 100), ["c0"])
    chunk = stretches.take()
    assert chunk is not None
    files.write(tmp_path, chunk)
    assert [(0, 100), (150, 250)] == spans(read_past(tmp_path, *EVER, EVERYTHING), "c0")


@pytest.mark.parametrize("content", [b"", b"foreign", None])
def test_a_damaged_file_is_left_out_with_a_line(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """And the others are read."""
    written(tmp_path, (0, 300))
    _, middle, _ = files.listing(tmp_path)
    flipped = middle.read_bytes()[:-1] + b"\x00"
    middle.write_bytes(flipped if content is None else content)
    with caplog.at_level(logging.WARNING):
        past = read_past(tmp_path, *EVER, EVERYTHING)
    assert [(0, 100), (200, 300)] == spans(past, "c0")
    assert caplog.messages
    assert all(line.startswith(f"history: left out {middle}") for line in caplog.messages)


def test_no_history_is_an_empty_past(tmp_path: Path) -> None:
    past = read_past(tmp_path / "nowhere", *EVER, EVERYTHING)
    assert (0, []) == (len(past), list(past.stretches()))
