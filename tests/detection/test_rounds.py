"""The rounds' rule: cut an asset's readings where a channel would occur twice or where they don't
fit together, and nowhere else."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyd.detection.rounds import rounds

Rows = NDArray[np.intp]
Flags = NDArray[np.bool_]

CHANNELS = 9
BATCHES = st.lists(st.integers(0, CHANNELS - 1), min_size=1, max_size=40)


def group_of(row: int) -> int:
    """Rows 0-2 are an asset, 3-5 another; the others are alone."""
    return row // 3 if row < 6 else -1 - row


class FitsAfter:
    """Of every asset its readings up to the first of `last`: as if that ended a comparison."""

    def __init__(self, last: int) -> None:
        self.last = last

    def __call__(self, rows: Rows) -> Flags:
        ended: set[int] = set()
        fits = []
        for row in rows.tolist():
            fits.append(group_of(row) not in ended)
            ended |= {group_of(row)} if row == self.last else set()
        return np.array(fits)


def cut(rows: list[int], last: int = -1) -> list[list[int]]:
    groups = np.array([group_of(row) for row in rows])
    return [chosen.tolist() for chosen in rounds(np.array(rows), groups, FitsAfter(last))]


def cut_one_asset(rows: list[int], places: list[int], last: int) -> list[list[int]]:
    """The rule, said plainly: take readings until a channel comes again, or `last` has come."""
    cuts: list[list[int]] = []
    for place in places:
        here = [rows[other] for other in cuts[-1]] if cuts else []
        if not here or rows[place] in here or last in here:
            cuts.append([])
        cuts[-1].append(place)
    return cuts


@settings(derandomize=True, database=None, deadline=None)
@given(BATCHES, st.integers(-1, CHANNELS - 1))
def test_every_asset_is_cut_where_it_must_be(rows: list[int], last: int) -> None:
    """Whatever else is in the batch, an asset's n-th round is its n-th stretch without a repeat
    that fits together, in order of arrival; a channel alone is an asset of one."""
    expected: list[set[int]] = []
    for group in {group_of(row) for row in rows}:
        places = [place for place, row in enumerate(rows) if group_of(row) == group]
        for nth, stretch in enumerate(cut_one_asset(rows, places, last)):
            expected += [set()] if nth == len(expected) else []
            expected[nth] |= set(stretch)
    assert [sorted(each) for each in expected] == cut(rows, last)


def test_a_batch_without_repeats_is_one_round() -> None:
    """Nothing is cut where nothing comes twice and all fits."""
    assert [[0, 1, 2]] == cut([5, 0, 7])


def test_a_channel_alone_makes_as_many_rounds_as_it_has_readings() -> None:
    """k readings of one channel make k rounds; other channels need not wait for them."""
    assert [[0, 2], [1, 4], [3]] == cut([6, 6, 7, 6, 7])


def test_the_order_of_arrival_holds_within_an_asset() -> None:
    """After a cut, what came later in the asset is in a later round, repeat or not; another asset
    goes its own way."""
    assert [[0], [1, 2]] == cut([0, 0, 1])
    assert [[0, 2], [1]] == cut([6, 6, 0])
    assert [[0, 1, 3], [2]] == cut([0, 1, 2, 3], last=1)


def test_what_fits_is_asked_before_each_round() -> None:
    """The next round may hang on what the last one did."""
    taken: list[list[int]] = []

    def fits(rows: Rows) -> Flags:
        return np.arange(rows.size) < (9 if taken else 1)

    for chosen in rounds(np.arange(3), np.zeros(3, dtype=np.int64), fits):
        taken += [chosen.tolist()]
    assert [[0], [1, 2]] == taken
