"""What a replay says of itself: one line, with what was raised."""

from pathlib import Path

import pytest

from anomalyd import terminal
from anomalyd.settings import Settings


def test_a_replay_ends_with_what_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many readings, which alerts, and where the verdicts are."""
    source, out = tmp_path / "day.csv", tmp_path / "out.csv"
    source.write_text("timestamp,l/m/x\n1700000000,1\n1700000001,2\n")
    assert 0 == terminal.replay(Settings(), tmp_path, source, out, None)
    said = capsys.readouterr().err
    assert f"2 readings, alerts raised: none; verdicts in {out}\n" == said
