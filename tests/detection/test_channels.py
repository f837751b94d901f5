"""The channel table's rules: a name has one row, a row has one channel, and rows are used again."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.detection.channels import Channel, ChannelTable

CAPACITY = 4
NAMES = st.sampled_from("abcdef")


def channel(name: str) -> Channel:
    return Channel(name, {}, -1)


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.tuples(st.booleans(), NAMES), max_size=40))
def test_a_name_has_one_row_whatever_comes_and_goes(moves: list[tuple[bool, str]]) -> None:
    """After any additions and removals the table holds just the channels that are there, each in a
    row of its own below the capacity, in the order in which they were found."""
    table, there = ChannelTable(CAPACITY), list[str]()
    for comes, name in moves:
        if comes and name not in there:
            row = table.add(channel(name))
            assert (row is None) == (len(there) == CAPACITY)
            there += [name] if row is not None else []
        elif not comes and name in there:
            found = table.find(name)
            assert found is not None
            table.remove(found)
            there.remove(name)
    rows = table.rows().tolist()
    assert [table.find(name) for name in there] == rows
    assert [table[row].name for row in rows] == there
    assert len(table) == len(there) == len(set(rows))
    assert all(0 <= row < CAPACITY for row in rows)


def test_an_unknown_channel_has_no_row() -> None:
    """A name that isn't there, or is there no more, is not found."""
    table = ChannelTable(CAPACITY)
    assert table.find("a") is None
    row = table.add(channel("a"))
    assert row is not None
    table.remove(row)
    assert table.find("a") is None
    with pytest.raises(KeyError):
        table[row]


def test_one_channel_too_many_has_no_row() -> None:
    """A full table refuses, and takes the next one as soon as a channel has gone."""
    table = ChannelTable(1)
    assert table.add(channel("a")) == 0
    assert table.add(channel("b")) is None
    table.remove(0)
    assert table.add(channel("b")) == 0


def test_a_channel_may_retire_while_another_thread_lists() -> None:
    """A scrape that meets a retirement halfway leaves that channel out, and doesn't fail."""

    class Retiring(dict[str, int]):
        """What the other thread sees: the channel goes after its row was read."""

        def values(self) -> Any:
            rows = list(super().values())
            table.remove(1)
            return rows

    table = ChannelTable(CAPACITY)
    for name in "abc":
        table.add(channel(name))
    table._row_of = Retiring(table._row_of)
    assert [(0, channel("a")), (2, channel("c"))] == table.listing()


def test_a_listing_is_a_copy() -> None:
    """What other threads read doesn't change under their hands."""
    table = ChannelTable(CAPACITY)
    table.add(channel("a"))
    listing = table.listing()
    table.add(channel("b"))
    table.remove(0)
    assert [(0, channel("a"))] == listing
    assert [(1, channel("b"))] == table.listing()
