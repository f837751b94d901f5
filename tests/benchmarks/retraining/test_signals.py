"""The plant is the seed's, and each machine changes in its own way alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.retraining.signals import CHANGES, MEMBERS, WEEK, signals


def test_the_same_seed_gives_the_same_plant() -> None:
    """And more machines leave the others as they are."""
    few, many = (signals(3, ["none"] * count, 0.1) for count in (1, 2))
    assert np.array_equal(few, many[:, :MEMBERS])
    assert not np.array_equal(few, signals(4, ["none"], 0.1))


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_makes_a_plant_of_its_own(change: str) -> None:
    """Finite, and like no other."""
    values = signals(3, [change], 2.2)
    assert (round(2.2 * WEEK), MEMBERS) == values.shape
    assert np.isfinite(values).all()
    assert (change == "none") == np.array_equal(values, signals(3, ["none"], 2.2))


def test_wear_makes_it_louder_and_without_it_nothing_changes() -> None:
    """Twice as loud in the end."""
    for change, least, most in (("wear", 1.7, 2.1), ("none", 0.9, 1.1)):
        values = signals(3, [change], 1.0)
        spread = [np.diff(part, axis=0).std(axis=0) for part in (values[:500], values[-500:])]
        assert least < float(np.median(spread[1] / spread[0])) < most


def test_cleaning_begins_in_the_third_week() -> None:
    """Before, the machine is like one that stays as it is."""
    cleaned, steady = (signals(3, [change], 3.0) for change in ("cleaning", "none"))
    differs = np.flatnonzero((cleaned != steady).any(axis=1))
    assert 2 * WEEK <= differs[0] < 3 * WEEK
