"""What a training says of itself: how the model did on what was held out, and where it is."""

from pathlib import Path

import numpy as np
import pytest

from anomalyd import terminal_train
from anomalyd.model import checkpoint


def test_a_training_ends_with_how_the_model_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two lines; the file is a model."""
    source, out = tmp_path / "day.csv", tmp_path / "own.safetensors"
    values = np.random.default_rng(1).normal(5.0, 1.0, 1500)
    rows = (f"{1_700_000_000 + at},{value}\n" for at, value in enumerate(values))
    source.write_text("timestamp,l/m/x\n" + "".join(rows))
    assert 0 == terminal_train.train([source], out, 1, 2, None)
    held_out, where = capsys.readouterr().err.splitlines()
    assert held_out.startswith("held out: ")
    assert f"model in {out}" == where
    assert {"recordings": ["day.csv"], "pieces": 4} == checkpoint.load(out).card["data"]
