"""A short form of the soak: it reconnects and retrains meanwhile; too short to tell of growth."""

from pathlib import Path

from tests.faults import soak


def test_it_stands_reconnects_and_retraining(tmp_path: Path) -> None:
    row = soak.soak(tmp_path, 30.0, channels=200)
    assert row.times >= 6, row
    assert "grows" in row.note or "indistinguishable" in row.note
    assert "'shadow'" in row.note or "'rejected'" in row.note, row
    assert row.figure.count("*") > 20
