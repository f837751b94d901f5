"""A short form of the campaign: no power cut and no flipped byte restores garbage."""

from pathlib import Path

from tests.faults import power_cuts


def test_every_cut_leaves_the_newest_generation_or_the_one_before(tmp_path: Path) -> None:
    row = power_cuts.cuts(tmp_path, 1)
    assert row.harmless
    assert row.times > 100


def test_a_flipped_byte_is_noticed_and_the_generation_before_serves(tmp_path: Path) -> None:
    assert power_cuts.flips(tmp_path, 300).harmless
