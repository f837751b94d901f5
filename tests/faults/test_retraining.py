"""A short form of the campaign: a kill in any stage leaves one valid model, and it serves."""

from pathlib import Path

from tests.faults.retraining import kill
from tests.programs import Mosquitto


def test_a_kill_in_retraining_leaves_one_valid_model(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """In training, after a promotion, and while another is taken back."""
    row, _ = kill(tmp_path, mosquitto, 3)
    assert row.harmless, row
