"""The rule of older states: what an older version kept in another shape is read, bit for bit."""

from __future__ import annotations

import numpy as np

from anomalyd.detection.square import MEMBERS, Squares
from anomalyd.detection.window import Windows
from anomalyd.runtime.older_state import renewed

ASSETS = 3


def test_square_matrices_get_their_corner() -> None:
    """As they were, (assets, MEMBERS, MEMBERS); those of this version stay as they are."""
    whole = np.random.default_rng(1).normal(size=(ASSETS, MEMBERS, MEMBERS))
    found = renewed({"asset/covariance": whole, "asset/mean": whole[:, 0]})
    assert {"asset/covariance.corner", "asset/covariance.rest", "asset/mean"} == set(found)
    squares = Squares(ASSETS, np.float64)
    for part, name in zip(squares.parts, ("corner", "rest"), strict=True):
        part[:] = found[f"asset/covariance.{name}"]
    assert np.array_equal(whole, squares.take(np.arange(ASSETS), MEMBERS))
    assert found == renewed(found)


def test_times_become_seconds_since_the_one_before() -> None:
    """Of windows that have gone round, that are half full, and that are empty."""
    length, counts, step_s = 4, np.array([6, 2, 0]), 0.25
    before = np.zeros((counts.size, length))
    for row, count in enumerate(counts.tolist()):
        for at in range(count):
            before[row, at % length] = 1.7e9 + step_s * at * at
    found = renewed({"channel/windows.times": before, "channel/windows.count": counts})
    windows = Windows(counts.size, length)
    windows._since[:], windows._newest[:], windows._count[:] = (
        found[f"channel/windows.{name}"] for name in ("since", "newest", "count")
    )
    for row, count in enumerate(counts.tolist()):
        told = [1.7e9 + step_s * at * at for at in range(max(count - length, 0), count)]
        assert told == windows.recent(row, length).times.tolist()


def test_profiles_come_apart() -> None:
    """(channels, 2, slots): working days and weekends."""
    slots = np.arange(24.0, dtype=np.float32).reshape(3, 2, 4)
    found = renewed({"bank/profiles.slots": slots})
    assert slots[:, 0].tolist() == found["bank/profiles.workdays"].tolist()
    assert slots[:, 1].tolist() == found["bank/profiles.weekends"].tolist()
    assert 2 == len(found)
