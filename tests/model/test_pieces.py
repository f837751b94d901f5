"""The sample is bounded, seeded, fair to channels, and takes nothing from what was quarantined."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from anomalyd.model.pieces import SHORTEST, lessons, sample
from anomalyd.model.segment import Cut


def _cut(channel: str, readings: int, learnt: float = 1.0) -> Cut:
    values = np.random.default_rng(readings).normal(size=readings)
    flags = np.arange(readings) < learnt * readings
    return Cut(channel, np.arange(float(readings)), values, flags)


def test_a_channel_with_much_history_does_not_rule() -> None:
    """Each gives in turn, as far as it has."""
    found = sample([_cut("long", 20_000), _cut("short", 600)], 200, 6, seed=1)
    assert {"long": 3, "short": 3} == Counter(piece.channel for piece in found)
    assert all(piece.values.size == 200 for piece in found)


def test_the_same_seed_draws_the_same() -> None:
    """Whatever the order in which the history comes; another seed draws otherwise."""
    parts = [_cut("a", 5000), _cut("b", 4000)]

    def begins(parts: list[Cut], seed: int) -> list[float]:
        return [float(piece.times[0]) for piece in sample(parts, 200, 10, seed)]

    assert begins(parts, 1) == begins(parts[::-1], 1) != begins(parts, 2)


def test_what_is_too_short_or_quarantined_gives_nothing() -> None:
    """One reading more is enough, and so is a fifth that counted as normal."""
    assert [] == sample([_cut("a", SHORTEST - 1), _cut("b", 500, learnt=0.1)], 500, 9, seed=1)
    assert 2 == len(sample([_cut("a", SHORTEST), _cut("b", 500, learnt=0.25)], 500, 9, seed=1))


def test_a_shorter_piece_is_filled_up_with_what_is_not_asked() -> None:
    """Its own readings have targets, the filling has none."""
    found = lessons([_cut("a", 300), _cut("b", 200)])
    known = ~torch.isnan(found.target[:, :, 0])
    assert [299, 199] == known.sum(dim=1).tolist()
    assert not bool(known[1, 199:].any())


def test_it_stops_where_it_is_asked_to() -> None:
    """What `each` raises comes out."""

    def each() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        lessons([_cut("a", 300)], each)
