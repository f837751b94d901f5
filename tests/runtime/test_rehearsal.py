"""A rehearsal is what the pipeline would have said, in order of time."""

from __future__ import annotations

import numpy as np
import pytest

from anomalyd.detection.channels import Channel
from anomalyd.model.checkpoint import shipped_network
from anomalyd.model.segment import Cut
from anomalyd.runtime.rehearsal import Plant, rehearse
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
