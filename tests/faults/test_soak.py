"""A short form of the soak: it reconnects, and is due to retrain, meanwhile. It is too short to
tell of growth, and for a history to train from: that is `test_retraining.py`'s."""

from pathlib import Path

from tests.faults import soak


def test_it_stands_reconnects_and_retraining(tmp_path: Path) -> None:
    row = soak.soak(tmp_path, 30.0, channels=200)
    assert row.times >= 6, row
    assert "grows" in row.note or "indistinguishable" in row.note
    assert "'failed'" not in row.note, row
    assert "'too-little'" in row.note, row
    assert row.figure.count("*") > 20
