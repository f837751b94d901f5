"""A short form of the campaign: kill -9 under QoS 1 loses no reading and scores none twice."""

from pathlib import Path

from tests.faults import readings
from tests.faults.readings import BROKER
from tests.programs import Mosquitto, running


def test_every_reading_is_scored_once(tmp_path: Path) -> None:
    with running(Mosquitto(tmp_path, BROKER)) as broker:
        row = readings.kills(tmp_path, broker, 3)
    assert row.harmless, row
