"""The benchmark's score: silence is 0, perfection is 100, and examples by hand."""

import numpy as np
import pytest

from tests.benchmarks.detection.series import Series, univariate
from tests.benchmarks.detection.windows import PROFILES, best, fixed, gather, probation


def one_window() -> Series:
    """100 rows, 15 of them probation, a window of rows 50 to 59."""
    return univariate("one", np.arange(100.0), np.zeros(100), [(50, 59)])


def alarms(*rows: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    score = np.zeros(100)
    score[list(rows)] = 1.0
    return score


def score_of(*rows: int, profile: str = "standard") -> float:
    return fixed(gather([one_window()], [alarms(*rows)]), PROFILES[profile], 0.5)


def sigmoid(place: float) -> float:
    return float(2.0 / (1.0 + np.exp(5.0 * place)) - 1.0)


def test_probation_is_a_share_of_the_file_with_a_limit() -> None:
    assert [15, 750, 750] == [probation(rows) for rows in (100, 5000, 20_000)]


def test_silence_is_nothing_and_the_first_row_of_each_window_is_all() -> None:
    assert 0.0 == score_of()
    assert pytest.approx(100.0) == score_of(50)


def test_a_window_counts_once_by_its_first_alarm() -> None:
    late = sigmoid(-0.5) / sigmoid(-1.0)
    assert pytest.approx(100.0 * (late + 1.0) / 2.0) == score_of(55)
    assert score_of(55) == score_of(55, 57, 59)


def test_a_false_alarm_costs_more_far_from_a_window_than_right_behind_it() -> None:
    assert pytest.approx(100.0 * -0.11 / 2.0) == score_of(20)
    assert pytest.approx(100.0 * 0.11 * sigmoid(1 / 9) / 2.0) == score_of(60)
    assert pytest.approx(100.0 * -0.22 / 2.0) == score_of(95, profile="low FP")


def test_probation_costs_nothing() -> None:
    assert 0.0 == score_of(3)


def test_the_best_threshold_stands_above_a_false_alarm_that_costs_more_than_it_brings() -> None:
    score = np.zeros(100)
    score[[50, 20]] = [0.8, 0.6]
    rows = gather([one_window()], [score])
    assert pytest.approx((100.0, 0.8)) == best(rows, PROFILES["standard"])


def test_the_best_threshold_and_the_fixed_one_agree_there() -> None:
    rng = np.random.default_rng(1)
    series = [
        one_window(),
        univariate("two", np.arange(100.0), np.zeros(100), [(20, 24), (70, 99)]),
    ]
    rows = gather(series, [rng.random(100).round(1), rng.random(100).round(1)])
    for profile in PROFILES.values():
        score, threshold = best(rows, profile)
        assert pytest.approx(score) == fixed(rows, profile, threshold)
        others = [fixed(rows, profile, at) for at in np.arange(0.0, 1.2, 0.1)]
        assert score >= max(others) - 1e-9
