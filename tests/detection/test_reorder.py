"""Reorder's rules: whatever order readings come in, within their tolerance they go on sorted, each
once; nothing waits longer than the tolerance, on the stream's clock or the listener's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.detection.channels import Channel, ChannelTable
from anomalyd.detection.reading import NOTHING, Readings
from anomalyd.detection.reorder import Reorder

TOLERANCE_S = 10.0


def build(*tolerance_s: float, together: bool = False, most: int = 1000) -> Reorder:
    """Three channels of each stream: rows 0, 1, 2 are the first's; and one of none, the last."""
    table = ChannelTable(64)
    for stream in range(len(tolerance_s)):
        for sensor in "abc":
            table.add(Channel(f"{stream}/{sensor}", {}, stream))
    table.add(Channel("none", {}, -1))
    return Reorder(table, tolerance_s, together, most)


def readings(*said: tuple[int, float]) -> Readings:
    """(row, second) of each; the value is the second."""
    rows = np.array([row for row, _ in said], dtype=np.intp)
    times = np.array([at for _, at in said], dtype=np.float64)
    return Readings(rows, times, times.copy())


def on(found: Readings) -> list[tuple[int, float]]:
    assert found.times.tolist() == found.values.tolist()
    return list(zip(found.rows.tolist(), found.times.tolist(), strict=True))


def take(reorder: Reorder, *said: tuple[int, float], now_s: float = 0.0) -> list[tuple[int, float]]:
    return on(reorder.order(readings(*said), now_s)[0])


def test_a_reading_waits_until_the_stream_is_so_much_further() -> None:
    """All channels of it: an asset's are compared with each other."""
    reorder = build(TOLERANCE_S)
    assert [] == take(reorder, (0, 100.0), (1, 99.0))
    assert [] == take(reorder, (0, 95.0))
    assert [(0, 95.0), (1, 99.0)] == take(reorder, (1, 109.0))
    assert [(0, 100.0), (1, 109.0)] == take(reorder, (1, 119.5), (2, 112.0))
    assert 2 == len(reorder)


def test_streams_without_a_tolerance_keep_their_order() -> None:
    """Also the late ones among them, which the cadence will find; and so do channels of none."""
    reorder = build(0.0, TOLERANCE_S)
    said = [(0, 5.0), (1, 5.0), (0, 3.0), (6, 1.0)]
    assert said == sorted(take(reorder, *said, (3, 9.0)), key=said.index)
    assert 1 == len(reorder)


def test_what_is_too_late_goes_behind_what_has_gone() -> None:
    reorder = build(TOLERANCE_S)
    assert [(0, 100.0)] == take(reorder, (0, 100.0), (0, 110.0))
    assert [(0, 50.0)] == take(reorder, (0, 50.0))
    assert [(0, 60.0), (0, 101.0)] == take(reorder, (0, 101.0), (0, 60.0), (0, 111.0))


def test_a_silent_stream_is_let_go_by_the_listeners_clock() -> None:
    """Another stream's silence is its own."""
    reorder = build(TOLERANCE_S, TOLERANCE_S)
    assert [] == take(reorder, (0, 101.0), (0, 100.0), (3, 100.0), now_s=50.0)
    assert [] == take(reorder, (3, 102.0), now_s=55.0)
    assert [] == on(reorder.order(NOTHING, 59.9)[0])
    assert [(0, 100.0), (0, 101.0)] == on(reorder.order(NOTHING, 60.0)[0])
    assert [(3, 100.0), (3, 102.0)] == on(reorder.order(NOTHING, 65.0)[0])


def test_too_many_are_not_held() -> None:
    """The oldest go on early, sorted, and are counted."""
    reorder = build(TOLERANCE_S, most=16)
    assert [] == take(reorder, *((0, 100.0 - second / 4) for second in range(16)))
    early = take(reorder, (0, 98.1))
    assert [(0, 96.25), (0, 96.5), (0, 96.75)] == early
    assert (3, 14) == (reorder.hurried, len(reorder))


def test_the_dead_and_the_retired_are_not_waited_for() -> None:
    """The row of who is retired may be another's, of another stream."""
    reorder = build(TOLERANCE_S)
    take(reorder, (0, 101.0), (0, 100.0), (1, 100.0), (2, 100.0))
    assert [(0, 100.0), (0, 101.0)] == on(reorder.release(np.array([0])))
    reorder.forget(1)
    assert [[(2, 100.0)]] == [on(held) for _, held in reorder.held()]
    assert [(2, 100.0)] == on(reorder.flush()[0])
    assert 0 == len(reorder)


def test_what_is_held_can_be_taken_again() -> None:
    """Elsewhere, after a restart: it is let go when it would have been, whatever the clock did."""
    reorder, again = (build(TOLERANCE_S, TOLERANCE_S) for _ in range(2))
    for now_s, said in ((3.0, (0, 101.0)), (1.0, (3, 7.0)), (4.0, (0, 100.5))):
        reorder.order(readings(said), now_s)
    for heard_s, held in reorder.held():
        assert not len(again.order(held, heard_s)[0])
    for one in (reorder, again):
        one.shift(1000.0)
        assert [(3, 7.0)] == on(one.order(NOTHING, 1001.0 + TOLERANCE_S)[0])
        assert [(0, 100.5), (0, 101.0)] == on(one.order(NOTHING, 1004.0 + TOLERANCE_S)[0])


READING = st.tuples(st.integers(0, 5), st.integers(0, 400), st.floats(0.0, 0.99))


@settings(deadline=None, max_examples=200)
@given(st.lists(READING, max_size=60), st.integers(1, 20), st.booleans())
def test_any_order_within_the_tolerance_is_as_good_as_sorted(
    drawn: list[tuple[int, int, float]], most_at_once: int, together: bool
) -> None:
    """Each stream's readings go on sorted, each once, with the number of its arrival."""
    reorder = build(TOLERANCE_S, 2 * TOLERANCE_S, together=together)
    said = sorted(
        {(row, at / 4): delay for row, at, delay in drawn}.items(),
        key=lambda each: each[0][1] + each[1] * (TOLERANCE_S if each[0][0] < 3 else 20.0),
    )
    arrived = [each for each, _ in said]
    went: list[tuple[int, float]] = []
    numbers: list[int] = []
    clock_s = np.array([-np.inf])
    for begin in range(0, len(arrived), most_at_once):
        batch = readings(*arrived[begin : begin + most_at_once])
        clock_s = np.maximum.accumulate(np.append(clock_s[-1], batch.times))[1:]
        found, which = reorder.order(batch, clock_s if together else 0.0)
        went += on(found)
        numbers += which.tolist()
    found, which = reorder.flush()
    went, numbers = went + on(found), numbers + which.tolist()
    assert [arrived[number] for number in numbers] == went
    assert sorted(numbers) == list(range(len(arrived)))
    for stream in (range(3), range(3, 6)):
        of_stream = [each for each in went if each[0] in stream]
        assert sorted(of_stream, key=lambda each: (each[1], each[0])) == of_stream
    if together:
        assert [at for _, at in went] == sorted(at for _, at in went)


@pytest.mark.parametrize(("together", "times"), [(False, 1), (True, 3)])
def test_nothing_waits_longer_than_the_tolerance(together: bool, times: int) -> None:
    """A reading a second, and one behind: those of the last ten seconds wait, no more; where
    streams wait for each other, three times as many."""
    reorder = build(TOLERANCE_S, together=together)
    for second in range(100):
        take(reorder, (0, float(second)), (1, second - 1.0), now_s=float(second))
        assert len(reorder) <= 2 * times * TOLERANCE_S
