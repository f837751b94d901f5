"""Rows of an asset: values that were read at about the same time, all of them normal, unbroken."""

from __future__ import annotations

import numpy as np

from anomalyd.model.segment import Cut
from anomalyd.runtime.asset_rows import LONGEST, drawn, rows_of, split_rows

SEATS = {"0:pump": ("flow", "speed")}
START_S = 1.7e9


def segment(name: str, ticks: int, late_s: float = 0.0, first: int = 0) -> Cut:
    """Its values are the numbers of the ticks; one a second."""
    numbers = np.arange(first, first + ticks, dtype=np.float64)
    return Cut(name, START_S + numbers + late_s, numbers, np.ones(ticks, dtype=np.bool_))


def test_values_of_one_tick_are_a_row() -> None:
    """However late each channel is within it, and though one begins a tick earlier."""
    for late_s in (0.0, 0.01, 0.4):
        cuts = [segment("flow", 300), segment("speed", 301, late_s, first=-1)]
        (rows,) = rows_of(cuts, SEATS, 2)
        assert rows.values[:, 0].tolist() == rows.values[:, 1].tolist()
        assert 300 == rows.times.size


def test_the_slowest_channel_is_the_clock() -> None:
    """Its rate is the network's, as in service."""
    slow = segment("speed", 150)
    slow = Cut("speed", START_S + 2.0 * slow.values, slow.values, slow.learnt)
    (rows,) = rows_of([segment("flow", 300), slow], SEATS, 2)
    assert (2.0 * rows.values[:, 1]).tolist() == rows.values[:, 0].tolist()


def test_what_a_member_was_not_learnt_in_is_left_out() -> None:
    """And the rows around it are two parts; of a known input it doesn't matter, nor in an
    incident."""
    cuts = [segment("flow", 600), segment("speed", 600)]
    cuts[1].learnt[300:350] = False
    first, second = rows_of(cuts, SEATS, 2)
    assert [299.0, 350.0] == [first.values[-1, 0], second.values[0, 0]]
    (whole,) = rows_of(cuts, SEATS, 1)
    (incident,) = rows_of(cuts, SEATS, 2, all_learnt=True)
    assert 600 == whole.times.size == incident.times.size


def test_a_gap_ends_a_part_and_a_short_part_is_none() -> None:
    """A lost reading doesn't; an asset that lacks a channel has no rows."""
    flow = [segment("flow", 200), segment("flow", 199, first=201), segment("flow", 100, first=500)]
    (rows,) = rows_of([*flow, segment("speed", 600)], SEATS, 2)
    assert 399 == rows.times.size
    assert not rows_of([segment("speed", 600)], SEATS, 2)


def test_other_stretches_of_one_channel_make_no_rows() -> None:
    """As where two intervals differ so much that thinning keeps other blocks."""
    assert not rows_of([segment("flow", 300), segment("speed", 300, first=400)], SEATS, 2)


def test_long_parts_are_cut_and_drawn_by_the_seed() -> None:
    """Nothing is lost by cutting; the draw keeps the order and its bound."""
    rows = rows_of([segment("flow", 5000), segment("speed", 5000)], SEATS, 2)
    assert 5000 == sum(each.times.size for each in rows)
    assert all(each.times.size <= LONGEST for each in rows)
    some = drawn(rows, 2500, 3)
    assert some == drawn(rows, 2500, 3)
    assert 2 == len(some)
    assert some[0].times[0] < some[1].times[0]


def test_they_are_split_at_a_time() -> None:
    """Nothing held out is learnt."""
    rows = rows_of([segment("flow", 1000), segment("speed", 1000)], SEATS, 2)
    before, after = split_rows(rows, START_S + 700.0)
    assert (699.0, 700.0) == (before[-1].values[-1, 0], after[0].values[0, 0])
