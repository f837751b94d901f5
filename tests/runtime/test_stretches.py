"""Between scoring and file: each reading is taken once, numbered in its channel, and what an alert
was led up to is still there when it comes."""

from __future__ import annotations

import numpy as np

from anomalyd.adapters.chunk import Chunk
from anomalyd.detection.reading import Kind
from anomalyd.runtime.stretches import SEEN, Seen, Stretches
from anomalyd.runtime.thinning import AFTER, BEFORE

START_S = 1_748_772_000.0
EVERYTHING = 10**9


def seen(first: int, count: int, channels: int = 1, learnt: bool = True) -> Seen:
    """A reading a second of each channel, from second `first` on; a value is its second."""
    made = np.zeros(count * channels, SEEN)
    made["channel"] = np.tile(np.arange(channels), count)
    made["value"] = np.repeat(np.arange(first, first + count), channels)
    made["time"] = START_S + made["value"]
    made["state"], made["learnt"] = 1, learnt
    return made


def taken(stretches: Stretches) -> Chunk:
    chunk = stretches.take()
    assert chunk is not None
    return chunk


def test_what_goes_in_comes_out_by_channel() -> None:
    """With a budget for everything, in the order in which it was scored, numbered."""
    stretches = Stretches(EVERYTHING, 0)
    stretches.add(seen(0, 300, channels=2), ["b", "a"])
    stretches.add(seen(300, 300, channels=2), ["b", "a"])
    assert 1200 == len(stretches)
    chunk = taken(stretches)
    assert (["b", "a"], [600, 600]) == (list(chunk.channels), chunk.counts.tolist())
    assert np.tile(np.arange(600), 2).tolist() == chunk.sequence.tolist()
    assert np.tile(np.arange(600.0), 2).tolist() == chunk.values.tolist()
    assert stretches.take() is None


def test_names_not_places_make_a_channel() -> None:
    """The places in a buffer's names are the buffer's own."""
    stretches = Stretches(EVERYTHING, 0)
    stretches.add(seen(0, 10, channels=2), ["a", "b"])
    stretches.add(seen(10, 10, channels=2), ["b", "a"])
    chunk = taken(stretches)
    assert np.tile(np.arange(20), 2).tolist() == chunk.sequence.tolist()
    assert 2 == stretches.names


def test_what_never_reached_the_model_is_left_out() -> None:
    """Late readings and those that are no number."""
    stretches, some = Stretches(EVERYTHING, 0), seen(0, 10)
    some["kind"][[2, 3]] = Kind.LATE, Kind.VALUE
    some["value"][3] = np.nan
    stretches.add(some, ["a"])
    assert [0.0, 1.0, *np.arange(4.0, 10.0)] == taken(stretches).values.tolist()
    stretches.add(some[2:4], ["a"])
    assert stretches.take() is None


def test_what_led_up_to_an_alert_comes_with_it() -> None:
    """Readings that the budget had no room for are held back for a while; none is given twice."""
    stretches = Stretches(512, 0)
    chunks = []
    for first in range(0, 20_000, 100):
        alarm = first == 15_000
        stretches.add(seen(first, 100, learnt=not alarm), ["a"])
        if chunk := stretches.take():
            chunks.append(chunk)
    sequence = np.concatenate([chunk.sequence for chunk in chunks])
    assert sequence.size == np.unique(sequence).size < 4_000
    around = np.arange(15_000 - BEFORE, 15_100 + AFTER)
    assert set(around.tolist()) <= set(sequence.tolist())


def test_a_channel_that_starts_anew_goes_on_being_numbered() -> None:
    """Even where its clock went back."""
    stretches = Stretches(EVERYTHING, 0)
    stretches.add(seen(100, 10), ["a"])
    stretches.add(seen(0, 10), ["a"])
    chunk = taken(stretches)
    assert np.arange(20).tolist() == chunk.sequence.tolist()
    assert [*range(100, 110), *range(10)] == chunk.values.tolist()
