"""The closing lines' rule: each is one line, for whoever reads it through a pipe."""

import subprocess
import sys
from pathlib import Path

from tests.broker.daemon import own_environment


def test_a_closing_line_is_not_broken_in_a_pipe(tmp_path: Path) -> None:
    """However long it is, and whatever characters the path has."""
    folder = tmp_path / ("verdicts " * 10) / "[red]"
    folder.mkdir(parents=True)
    source, out = folder / "day.csv", folder / "out.csv"
    source.write_text("timestamp,l/m/x\n1700000000,1\n1700000001,2\n")
    command = (sys.executable, "-m", "anomalyd", "replay", str(source), "--out", str(out))
    piped = subprocess.run(
        ("timeout", "60", *command), env=own_environment({}), capture_output=True, text=True
    )
    said = f"2 readings, alerts raised: none; verdicts in {out}\n"
    assert (0, "", said) == (piped.returncode, piped.stdout, piped.stderr)
