"""The rounds' rule: cut an asset's readings where a channel would occur twice, and nowhere else."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.detection.rounds import rounds

ASSETS, CHANNELS = 3, 9
BATCHES = st.lists(st.integers(0, CHANNELS - 1), min_size=1, max_size=40)


def cut(rows: list[int], groups: list[int]) -> list[list[int]]:
    return [chosen.tolist() for chosen in rounds(np.array(rows), np.array(groups))]


def group_of(row: int) -> int:
    """Rows 0-2 are an asset, 3-5 another; the others are alone."""
    return row // 3 if row < 6 else -1 - row


def cut_one_asset(rows: list[int], places: list[int]) -> list[list[int]]:
    """The rule, said plainly: take readings until a channel comes again."""
    cuts: list[list[int]] = []
    for place in places:
        if not cuts or rows[place] in {rows[other] for other in cuts[-1]}:
            cuts.append([])
        cuts[-1].append(place)
    return cuts


@settings(derandomize=True, database=None, deadline=None)
@given(BATCHES)
def test_every_asset_is_cut_where_a_channel_comes_again(rows: list[int]) -> None:
    """Whatever else is in the batch, an asset's n-th round is its n-th stretch without a repeat,
    in order of arrival; a channel alone is an asset of one."""
    groups = [group_of(row) for row in rows]
    expected: list[set[int]] = []
    for group in set(groups):
        places = [place for place, other in enumerate(groups) if other == group]
        for nth, stretch in enumerate(cut_one_asset(rows, places)):
            expected += [set()] if nth == len(expected) else []
            expected[nth] |= set(stretch)
    assert [sorted(each) for each in expected] == cut(rows, groups)


def test_a_batch_without_repeats_is_one_round() -> None:
    """Nothing is cut where nothing comes twice."""
    assert [[0, 1, 2]] == cut([5, 0, 7], [0, 0, -8])


def test_a_channel_alone_makes_as_many_rounds_as_it_has_readings() -> None:
    """k readings of one channel make k rounds; other channels need not wait for them."""
    assert [[0, 2], [1, 4], [3]] == cut([6, 6, 7, 6, 7], [-7, -7, -8, -7, -8])


def test_the_order_of_arrival_holds_within_an_asset() -> None:
    """After a cut, what came later in the asset is in a later round, repeat or not."""
    assert [[0], [1, 2]] == cut([0, 0, 1], [0, 0, 0])
    assert [[0, 2], [1]] == cut([0, 0, 1], [-1, -1, -2])
