"""A short form of the campaign: `python -m tests.faults.model_store` is the long one."""

from pathlib import Path

from tests.faults.model_store import campaign


def test_a_kill_leaves_one_version_that_serves_and_none_that_is_half(tmp_path: Path) -> None:
    found = campaign(tmp_path, times=8, seed=3)
    assert 8 == found.kills
    assert {"add", "promote"} <= set(found.events)
