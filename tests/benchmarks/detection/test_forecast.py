"""Experts speak of the future only, and right where they must."""

import numpy as np
import pytest

from tests.benchmarks.detection.forecast import HORIZONS, _fitted, ahead, experts
from tests.benchmarks.detection.judged import Promise, anomalyd
from tests.benchmarks.detection.series import Series, univariate


def hours(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Series:
    times = 1.4e9 // 86400 * 86400 + 3600.0 * np.arange(float(values.size))
    return univariate("hours", times, values)


@pytest.mark.parametrize("horizon", HORIZONS)
def test_no_expert_sees_the_value_that_it_forecasts(horizon: int) -> None:
    values = np.asarray(np.random.default_rng(1).standard_normal(200), dtype=float)
    altered = values.copy()
    altered[150:] += 100.0
    before, after = experts(hours(values), horizon), experts(hours(altered), horizon)
    for name, forecast in before.items():
        known = slice(horizon, 150 + horizon)
        np.testing.assert_array_equal(forecast[known], after[name][known], err_msg=name)


@pytest.mark.parametrize("horizon", HORIZONS)
def test_each_expert_is_right_about_its_own_kind_of_signal(horizon: int) -> None:
    daily = np.asarray(np.arange(240) % 24, dtype=float)
    found = experts(hours(daily), horizon)
    for name in ("time-of-day profile", "profile + offset"):
        np.testing.assert_allclose(found[name][96:], daily[96:], atol=1e-9)
    ramp = np.arange(4000.0)
    rising = experts(hours(ramp), horizon)["AR on differences"]
    steps = sum(0.95**step for step in range(1, horizon + 1))
    assert pytest.approx(ramp[-1] - horizon + steps) == rising[-1]


def test_forecasts_stand_at_the_reading_that_they_are_of() -> None:
    rng = np.random.default_rng(1)
    values = np.asarray(np.sin(np.arange(300) / 9.0) + 0.1 * rng.standard_normal(300), dtype=float)
    series = hours(values)
    series.times[200] = series.times[150]  # comes late, and is left out
    (expected,) = (each.expected[:, 0] for each in anomalyd([series], Promise.WEEK))
    found = ahead([series])[1][0]
    assert [0, 200] == np.flatnonzero(np.isnan(found)).tolist()
    usual = ~np.isnan(expected) & (np.arange(300) != 200)
    # Where an alert was raised a verdict may name another reference.
    assert np.mean(found[usual] == expected[usual]) > 0.95


def test_who_knows_the_truth_mixes_the_experts_best() -> None:
    """The combination fitted afterwards finds the one that the truth was made with, wild values
    or not."""
    rng = np.random.default_rng(2)
    one, other = rng.standard_normal((2, 400))
    truth = np.asarray(0.3 * one + 0.7 * other + 5.0, dtype=float)
    truth[100::50] += 40.0
    assert _fitted(hours(truth), [one, other]) * truth[60:].std() == pytest.approx(0.8, abs=0.1)
