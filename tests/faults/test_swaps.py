"""A short form of the campaign: promotions under load lose no reading and alarm nobody."""

from pathlib import Path

from tests.faults import swaps
from tests.faults.swaps import BROKER
from tests.programs import Mosquitto, running


def test_promotions_under_load_cost_nothing(tmp_path: Path) -> None:
    """Every reading is scored once, every fault is told once, and nothing else is."""
    with running(Mosquitto(tmp_path, BROKER)) as broker:
        row = swaps.swaps(tmp_path, broker, 4, rate=500.0)
    assert row.harmless, row
