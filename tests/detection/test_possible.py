"""What can't be is no data, and each such reading is counted for one reason."""

import numpy as np

from anomalyd.detection.possible import Possible
from anomalyd.detection.reading import Kind

ROWS = np.arange(6)
NO = np.zeros(6, dtype=np.bool_)


def bounded() -> Possible:
    """From -5 to 5, and no faster than 2 a second."""
    possible = Possible(6)
    for row in ROWS.tolist():
        possible.reset(np.array([row]), (-5.0, 5.0), 2.0)
    return possible


def test_without_bounds_every_number_can_be() -> None:
    possible = Possible(6)
    possible.reset(np.array([0]), None, None)
    values = np.array([0.0, 1e35, -1e35, 1e37, np.nan, -np.inf])
    expected = [True, True, True, False, False, False]
    assert not possible.bounded
    assert expected == possible.judge(ROWS, values, np.zeros(6), np.ones(6)).tolist()


def test_bounds_hold_with_their_ends() -> None:
    """A first value has none to move from."""
    values = np.array([5.0, 5.1, -5.0, -5.1, 4.0, 4.0])
    last = np.array([4.0, 4.0, np.nan, np.nan, 2.0, 1.9])
    possible = bounded()
    assert possible.bounded
    judged = possible.judge(ROWS, values, last, np.ones(6))
    assert [True, False, True, False, True, False] == judged.tolist()
    assert possible.judge(ROWS, values, last, np.full(6, 10.0))[5], "slowly it may"


def test_each_has_one_reason() -> None:
    """Late before impossible, no number before all, and the same again is a duplicate."""
    values = np.array([np.nan, 1.0, 1.0, 9.0, 3.0, 9.0])
    late = np.array([True, True, True, False, False, True])
    again = np.array([False, True, False, False, False, False])
    kinds, found = bounded().explain(ROWS, values, late, again)
    expected = [Kind.VALUE, Kind.LATE, Kind.LATE, Kind.RANGE, Kind.RANGE, Kind.LATE]
    assert expected == kinds.tolist()
    counts = {reason: rows.size for reason, rows in found.items()}
    assert {"value": 1, "duplicate": 1, "late": 2, "range": 1, "rate": 1} == counts
    assert sorted(ROWS.tolist()) == sorted(np.concatenate(list(found.values())).tolist())


def test_a_row_has_the_bounds_of_its_new_channel() -> None:
    possible = bounded()
    possible.reset(np.array([1]), None, None)
    values = np.full(6, 9.0)
    assert [1] == np.flatnonzero(possible.judge(ROWS, values, values, np.ones(6))).tolist()
    assert NO.tolist() == possible.judge(ROWS, np.full(6, np.nan), values, np.ones(6)).tolist()
