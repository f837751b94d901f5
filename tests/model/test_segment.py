"""Splitting at a time loses no reading and doubles none."""

from __future__ import annotations

import numpy as np

from anomalyd.model.segment import Cut, split


def _cut(channel: str, begin: float) -> Cut:
    values = begin + np.arange(10.0)
    return Cut(channel, values, values * 2.0, np.arange(10) % 2 == 0)


def test_what_lies_across_the_time_is_cut() -> None:
    """The reading at the time itself is held out; all columns are cut alike."""
    before, after = split([_cut("a", 0.0)], 4.0)
    assert ([0.0, 1.0, 2.0, 3.0], 6) == (before[0].times.tolist(), after[0].times.size)
    assert np.array_equal(after[0].values, after[0].times * 2.0)
    assert np.array_equal(after[0].learnt, after[0].times % 2 == 0)


def test_what_lies_on_one_side_stays_whole() -> None:
    """And leaves nothing empty on the other."""
    before, after = split([_cut("a", 0.0), _cut("b", 100.0)], 50.0)
    assert (["a"], ["b"]) == ([each.channel for each in before], [each.channel for each in after])
