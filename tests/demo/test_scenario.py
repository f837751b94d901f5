"""The script's rules: six faults, one of each kind, in the last two thirds, with quiet between."""

from itertools import pairwise

import pytest

from anomalyd.demo.plant import Plant
from anomalyd.demo.scenario import describe, grace, script

# 60 to 600 seconds at the demo's pace, and some far shorter.
LENGTHS = [300, 1200, 6000, 9000, 60_000]


@pytest.mark.parametrize("steps", LENGTHS)
def test_one_fault_of_each_kind_with_quiet_between(steps: int) -> None:
    faults = script(steps)
    kinds = ["spike", "shift", "drift", "noise", "stuck", "decoupled"]
    assert [fault.kind for fault in faults] == kinds
    assert faults[0].start >= steps // 3
    assert faults[-1].end + grace(steps) <= steps
    for fault, following in pairwise(faults):
        assert fault.end + grace(steps) < following.start


def test_faults_keep_their_length_where_there_is_room() -> None:
    assert [f.duration for f in script(9000)] == [f.duration for f in script(60_000)]
    assert all(fault.duration >= 1 for fault in script(60))


def test_faults_are_on_different_channels_of_three_machines() -> None:
    channels = [fault.channel for fault in script(9000)]
    assert set(channels) <= set(Plant(1).names)
    assert len(set(channels)) == 6
    machines = [channel.rpartition("/")[0] for channel in channels]
    assert len(set(machines)) == 3
    assert all(one != other for one, other in pairwise(machines))


def test_every_fault_is_described_in_a_few_words() -> None:
    assert [describe(fault) for fault in script(9000)] == [
        "one reading off by 15 sigma of its noise",
        "down by 6 standard deviations for 150 s",
        "away by 5 standard deviations in 240 s",
        "5 times its usual noise for 150 s",
        "repeats one value for 180 s",
        "normal looks, but leaves its machine, 300 s",
    ]
