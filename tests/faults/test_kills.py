"""A short form of the campaign: kill -9 loses no alert, tells none twice, and alarms nobody."""

from pathlib import Path

from tests.faults import kills
from tests.programs import Mosquitto


def test_an_alert_keeps_its_id_through_kills(tmp_path: Path, mosquitto: Mosquitto) -> None:
    row = kills.kills(tmp_path, mosquitto, 3)
    assert row.harmless, row
