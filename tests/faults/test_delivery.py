"""The short form of the campaigns: no alert is lost or made up, and each channel's order holds."""

from pathlib import Path

import pytest

from tests.faults.delivery import broker_killed, network_cut
from tests.programs import require


@pytest.mark.parametrize("campaign", [broker_killed, network_cut])
def test_no_alert_is_lost(tmp_path: Path, campaign: object) -> None:
    require("mosquitto", "mosquitto")
    assert callable(campaign)
    row = campaign(tmp_path, 5)
    assert row.harmless, f"{row}"
    assert not row.note.startswith("0 ")
