"""The poisoned week is faulty 60 % of the time, and free days follow it."""

from __future__ import annotations

from tests.benchmarks.retraining.poison import after, often
from tests.benchmarks.retraining.signals import MEMBERS, WEEK_S


def test_one_machine_is_faulty_three_fifths_of_one_week() -> None:
    """All of its channels, at the same time."""
    faults = often()
    seconds = sum(fault[0].end_s - fault[0].start_s for fault in faults)
    assert 0.58 <= seconds / WEEK_S <= 0.6
    assert {2} == {int(fault[0].start_s // WEEK_S) for fault in faults}
    assert all(MEMBERS == len({each.channel for each in fault}) for fault in faults)
    assert all(1 == len({(each.start_s, each.end_s) for each in fault}) for fault in faults)


def test_the_same_fault_comes_again_in_the_week_after() -> None:
    """A round of retraining and a day in shadow fit in between."""
    assert all(fault[0].start_s >= 3 * WEEK_S + 2 * 86400.0 for fault in after())
    assert {each.size for fault in after() for each in fault} == {often()[0][0].size}
