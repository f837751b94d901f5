"""A short form of the campaign: a kill leaves a registry that is whole."""

from pathlib import Path

from tests.faults.model_store import kill


def test_a_kill_leaves_one_version_that_serves_and_none_that_is_half(tmp_path: Path) -> None:
    found = kill(tmp_path, times=8, seed=3)
    assert (8, 0) == (found.kills, found.wrong)
    assert {"add", "promote"} <= set(found.events)
