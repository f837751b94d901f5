"""The short form: every reading that the broker confirmed is scored, once, whatever is cut, and
what stalls is no sensor's silence."""

from pathlib import Path

import pytest

from tests.faults.sessions import broker_killed, network_cut, stalled
from tests.programs import require


@pytest.mark.parametrize("campaign", [broker_killed, network_cut])
def test_no_reading_is_lost(tmp_path: Path, campaign: object) -> None:
    require("mosquitto", "mosquitto")
    assert callable(campaign)
    row = campaign(tmp_path, 3)
    assert row.harmless, f"{row}"


def test_what_stalls_is_no_silence(tmp_path: Path) -> None:
    require("mosquitto", "mosquitto")
    row = stalled(tmp_path, 1)
    assert row.harmless, f"{row}"
