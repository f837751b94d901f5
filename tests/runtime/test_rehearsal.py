"""A rehearsal is what the pipeline would have said, in order of time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anomalyd.detection.channels import Channel
from anomalyd.model.checkpoint import shipped_network
from anomalyd.model.segment import Cut
from anomalyd.runtime.rehearsal import Plant, Rehearsed, rehearse, rehearse_each
from anomalyd.settings import Alerts, Channels

_START_S = 1_748_772_000.0
_NAMES = ("a", "b")


def _plant() -> Plant:
    channels = {name: Channel(name, {"sensor": name}, -1, "", None) for name in _NAMES}
    return Plant(channels, (), Channels(), Alerts())


def _cuts(fault: float) -> list[Cut]:
    """Two channels of 1000 readings; the last 100 of the second are `fault` off."""
    found = []
    for seed, name in enumerate(_NAMES):
        values = np.random.default_rng(seed).normal(20.0, 1.0, 1000)
        values[900:] += fault * seed
        learnt = np.ones(1000, dtype=np.bool_)
        found.append(Cut(name, _START_S + np.arange(1000.0), values, learnt))
    return found


def test_it_raises_where_the_fault_is() -> None:
    """On its channel, soon after it begins; the readings come in order of time."""
    run = rehearse(shipped_network(), _plant(), _cuts(fault=30.0))
    (channel, at), *_ = run.raised
    assert ("b", True) == (channel, 900.0 <= at - _START_S <= 910.0)
    assert (np.diff(run.times) >= 0.0).all()
    assert run.times.size == run.score.size == run.rows.size == 2000


def test_the_order_of_the_segments_does_not_matter() -> None:
    """Nor does a rehearsal before."""
    one, other = (
        rehearse(shipped_network(), _plant(), cuts)
        for cuts in (_cuts(fault=30.0), _cuts(fault=30.0)[::-1])
    )
    assert one.raised == other.raised
    assert np.nanmax(one.score) == np.nanmax(other.score)


def test_the_budget_grows_with_time_and_channels() -> None:
    """Two channels of 999 seconds each: that share of what they may raise a week."""
    both, alone = (
        rehearse(shipped_network(), _plant(), cuts) for cuts in (_cuts(0.0), _cuts(0.0)[:1])
    )
    assert [] == list(both.raised)
    assert both.promised >= alone.promised > 0.0


def test_it_stops_where_it_is_asked_to() -> None:
    """Before a batch."""

    def each() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        rehearse(shipped_network(), _plant(), _cuts(0.0), each)


def _same(one: Rehearsed, other: Rehearsed) -> bool:
    assert (one.raised, one.channels) == (other.raised, other.channels)
    assert np.isclose(one.promised, other.promised)
    assert np.array_equal(one.rows, other.rows)
    assert np.array_equal(one.times, other.times)
    return np.allclose(one.score, other.score, rtol=1e-3, atol=1e-6, equal_nan=True)


def test_cases_side_by_side_are_cases_one_by_one() -> None:
    """Of two channels of an asset or of one, at other times, of other lengths, with an alert or
    without: the same alerts at the same moments, the same scores, the same budget."""
    plant = _plant()
    owned = {name: replace(each, asset="pump") for name, each in plant.channels.items()}
    plant = replace(plant, channels=owned)
    cases = [_cuts(30.0), _cuts(0.0)[:1], _cuts(20.0)[1:], _cuts(0.0), _later(_cuts(40.0))]
    alone = [rehearse(shipped_network(), plant, case) for case in cases]
    together = rehearse_each(shipped_network(), plant, cases)
    assert all(map(_same, alone, together))
    assert [True, False, True, False, True] == [bool(each.raised) for each in together]
    assert [] == rehearse_each(shipped_network(), plant, [])


def _later(cuts: list[Cut]) -> list[Cut]:
    """Weeks after the others, and without the first readings of one channel."""
    first, second = (Cut(c.channel, c.times + 3e6, c.values, c.learnt) for c in cuts)
    part = slice(150, None)
    return [
        first,
        Cut(second.channel, second.times[part], second.values[part], second.learnt[part]),
    ]
