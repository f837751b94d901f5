"""A short form of the campaign: what time, a death and a held reading raised outlives a kill."""

from pathlib import Path

from tests.faults import standing
from tests.programs import Mosquitto


def test_alerts_that_stand_keep_standing_through_kills(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    row = standing.kills(tmp_path, mosquitto, 2)
    assert row.harmless, row
