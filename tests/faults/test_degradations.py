"""A short form of the campaign: two of the faults; all of them take minutes."""

from pathlib import Path

import pytest

from tests.faults import degradations
from tests.faults.degradations import DEGRADATIONS


@pytest.mark.parametrize("name", ["database locked", "state directory slow"])
def test_it_scores_on_and_says_what_is_wrong(tmp_path: Path, name: str) -> None:
    (what,) = (each for each in DEGRADATIONS if each.name == name)
    row = degradations.degrade(tmp_path, what)
    assert row.harmless, row


def test_a_damaged_model_is_told_and_passed_by(tmp_path: Path) -> None:
    row = degradations.model_damaged(tmp_path)
    assert row.harmless, row
