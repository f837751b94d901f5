"""Drift is found where residuals move, and seldom where they don't."""

from __future__ import annotations

import numpy as np
import pytest

from anomalyd.detection.drift import Drift
from anomalyd.detection.reading import Floats

_CHANNELS, _READINGS = 200, 20_000
_ROWS = np.arange(_CHANNELS)


def _run(growth: Floats | float, correlated: float = 0.0) -> Drift:
    """Residuals with heavy tails whose loudness goes as `growth` (readings,) over time."""
    rng = np.random.default_rng(3)
    loud = np.broadcast_to(growth, (_READINGS,))
    drift, wander = Drift(_CHANNELS), np.zeros(_CHANNELS)
    for at in range(_READINGS):
        wander = correlated * wander + rng.standard_t(4.0, _CHANNELS)
        drift.learn(_ROWS, loud[at] * wander, np.ones(_CHANNELS))
    return drift


def test_stationary_residuals_seldom_drift() -> None:
    """At most one channel in fifty after twenty thousand readings, and the plant doesn't."""
    drift = _run(1.0)
    assert drift.drifted(_ROWS).mean() <= 0.02
    assert not drift.plant_drifted(_ROWS)


@pytest.mark.parametrize("correlated", [0.5, 0.9])
def test_residuals_that_hang_together_seldom_drift(correlated: float) -> None:
    """An imperfect forecast leaves autocorrelated residuals; they aren't drift."""
    drift = _run(1.0, correlated)
    assert drift.drifted(_ROWS).mean() <= 0.02
    assert not drift.plant_drifted(_ROWS)


def test_wear_that_makes_residuals_half_as_large_again_is_found() -> None:
    """On nineteen channels of twenty at least."""
    drift = _run(np.linspace(1.0, 1.5, _READINGS))
    assert drift.drifted(_ROWS).mean() >= 0.95
    assert drift.plant_drifted(_ROWS)


def test_a_season_is_found_at_its_height() -> None:
    """A slow wave: residuals twice as large at the end."""
    wave = 1.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, _READINGS))
    assert _run(wave).plant_drifted(_ROWS)


def test_a_reset_takes_a_new_standard() -> None:
    """Nothing has drifted, and nothing is ready."""
    drift = _run(np.linspace(1.0, 1.5, _READINGS))
    drift.reset(_ROWS)
    assert not drift.plant_drifted(_ROWS)
    assert not drift.ready(_ROWS).any()


def test_unknown_residuals_are_left_out() -> None:
    """Not a number says nothing."""
    drift = Drift(1)
    for _ in range(2000):
        drift.learn(np.array([0]), np.array([np.nan]), np.ones(1))
    assert not drift.ready(np.array([0])).any()
