"""The baselines do what their names say: small examples by hand."""

import numpy as np
import pytest

from tests.benchmarks.detection.baselines import Commissioned, Ranked, rarity, weekly_risk
from tests.benchmarks.detection.judged import Promise
from tests.benchmarks.detection.rules import day_profile, deviation, ewma, persistence
from tests.benchmarks.detection.series import univariate


def test_a_mean_is_plain_at_first_and_then_forgets() -> None:
    means = ewma(np.array([[2.0], [4.0], [6.0], [6.0]]), 2.0)
    assert [2.0, 3.0, 4.5, 5.25] == means[:, 0].tolist()


def test_rarity_counts_what_was_as_high_before() -> None:
    view = np.concatenate([np.arange(1.0, 101.0), [100.0, 50.0, 1000.0]])
    found = rarity(view)
    assert np.all(found[:100] == 0.0)
    assert pytest.approx(-np.log10(2 / 101)) == found[100]
    assert pytest.approx(-np.log10(53 / 102)) == found[101]
    assert pytest.approx(-np.log10(1 / 103) + 3.0) == found[102]


def test_the_profile_knows_yesterday() -> None:
    rows = 3 * 24
    times = 1.4e9 // 86400 * 86400 + 3600.0 * np.arange(float(rows))
    values = np.asarray(np.arange(rows) % 24, dtype=float)
    series = univariate("day", times, values)
    assert values[48:].tolist() == day_profile(series, 0)[48:, 0].tolist()
    assert values[30:40].tolist() == day_profile(series, 2)[28:38, 0].tolist()


def test_a_jump_is_raised_once() -> None:
    rng = np.random.default_rng(1)
    values = np.asarray(rng.standard_normal(1000), dtype=float)
    values[700:705] += 600.0
    series = univariate("jump", 1.4e9 + 300.0 * np.arange(1000.0), values)
    for view, latest in ((persistence, 706), (deviation, 700)):
        (judged,) = Ranked(view)([series], Promise.READINGS)
        assert 700 <= int(np.argmax(judged.raised[:, 0])) <= latest
        assert judged.raised[700:].sum() <= 3


def test_the_risk_of_a_reading_follows_the_stricter_budget() -> None:
    series = univariate("five minutes", 300.0 * np.arange(9.0), np.zeros(9))
    assert pytest.approx(1 / 2016) == weekly_risk(series, 1)
    assert pytest.approx(0.84 / 2016) == weekly_risk(series, 200)


def test_an_asset_is_measured_by_its_first_rows() -> None:
    rng = np.random.default_rng(1)
    values = np.asarray(rng.standard_normal(600), dtype=float)
    values[500:] += 10.0
    (judged,) = Commissioned(lambda series: series.values, 400)(
        [univariate("pump", np.arange(600.0), values)], Promise.WEEK
    )
    assert judged.firing[40:500].mean() < 0.05
    assert judged.firing[508:].all()
