"""Whose clock is wrong: one sensor's, or the host's; most channels are right."""

import numpy as np
import pytest

from anomalyd.runtime.skew import Skew

YEAR_S = 3.2e7


def ahead(skew: Skew, *told: tuple[int, float]) -> list[bool]:
    """Readings of channels that are so far ahead: which are from the future."""
    rows, ahead_s = zip(*told, strict=True)
    found: list[bool] = skew.judge(np.array(rows), np.array(ahead_s, dtype=np.float64)).tolist()
    return found


def test_one_sensor_ahead_is_wrong() -> None:
    skew = Skew(10, 60.0)
    assert [False] * 4 == ahead(skew, (0, 0.5), (1, -0.2), (2, 59.0), (3, 0.0))
    assert [True, False, False] == ahead(skew, (4, YEAR_S), (0, 1.0), (5, np.nan))
    assert 0.0 == skew.behind_s


def test_a_host_behind_all_is_wrong_until_it_is_set_right() -> None:
    """As one that starts before its time server answers; what is timed on arrival says nothing."""
    skew = Skew(10, 60.0)
    told = ahead(skew, (0, YEAR_S), (1, YEAR_S + 1), (2, YEAR_S + 2), (3, 2 * YEAR_S), (4, 0.0))
    assert [False, False, False, True, False] == told
    assert YEAR_S < skew.behind_s < 1.1 * YEAR_S
    skew.shift(YEAR_S)
    assert [True, False] == ahead(skew, (3, YEAR_S), (0, 0.1))
    assert 0.0 == skew.behind_s


def test_a_clock_set_back_costs_nothing_even_where_few_speak() -> None:
    skew = Skew(10, 60.0)
    assert [False] == ahead(skew, (0, 0.1))
    skew.shift(-YEAR_S)
    assert [False] == ahead(skew, (0, YEAR_S))
    skew.look()
    assert skew.behind_s > 0.0


def test_who_speaks_first_after_a_restart_overrules_nobody() -> None:
    """Nor need most speak again before a host that is behind is known to be."""
    before, rows = Skew(10, 60.0), np.arange(10)
    ahead(before, *((row, 0.1) for row in range(10)))
    after = Skew(10, 60.0)
    after.recall(rows, before.told(rows), before.behind_s)
    assert [True] * 2 == ahead(after, (0, YEAR_S), (1, YEAR_S))
    before.shift(-YEAR_S)
    again = Skew(10, 60.0)
    again.recall(rows, before.told(rows), before.behind_s)
    assert [False] == ahead(again, (0, YEAR_S))


def test_what_was_told_before_a_start_does_not_outvote_who_speaks_now() -> None:
    """A host without a clock of its own comes back two hours behind, and most channels speak once
    a day: three that have all moved alike are enough. One that was ahead before moves nothing."""
    skew, rows = Skew(100, 60.0), np.arange(100)
    skew.recall(rows, np.append(np.zeros(99), YEAR_S), 0.0)
    assert [True] * 2 == ahead(skew, (0, 7200.0), (1, 7200.1))
    assert [False] == ahead(skew, (2, 7199.9))
    assert [False] * 3 == ahead(skew, (0, 7200.0), (1, 7200.1), (50, 7200.0))
    assert skew.behind_s == pytest.approx(7200.0, abs=0.2)
    later = Skew(100, 60.0)
    later.recall(rows, np.append(np.zeros(97), [YEAR_S] * 3), 0.0)
    assert [True] * 3 == ahead(later, (97, YEAR_S), (98, YEAR_S), (99, YEAR_S))


@pytest.mark.parametrize("count", [1, 2])
def test_a_restart_believes_a_few_sensors_no_more_than_before(count: int) -> None:
    """Nor does a clock that is set a little; what the host's clock itself has told stays known."""
    before, rows = Skew(10, 60.0), np.arange(count)
    assert [True] * count == ahead(before, *((row, 3600.0) for row in range(count)))
    before.shift(-1.0)
    for behind_s in (0.0, 1000.0):
        after = Skew(10, 60.0)
        after.recall(rows, before.told(rows), behind_s)
        assert behind_s == after.behind_s
        assert [True] == ahead(after, (0, 3601.0))


def test_one_sensor_alone_does_not_overrule_the_host() -> None:
    skew = Skew(10, 60.0)
    assert [True, True] == ahead(skew, (0, YEAR_S), (1, YEAR_S))
    skew.forget(0)
    skew.look()
    assert 0.0 == skew.behind_s
