"""What raises an early warning and what ends it; the budget; and what is beyond a limit."""

from __future__ import annotations

import numpy as np
import pytest

from anomalyd.detection.approach import (
    HIGH,
    LOW,
    SURE,
    WEEK_S,
    Approach,
    Changes,
    Crossing,
    Standing,
)

ROWS = np.array([1])
NO, YES = np.array([False]), np.array([True])
LIMIT = 10.0


def approach(budget: float = 1.0, pending: int = 1) -> Approach:
    columns = Approach(3, budget, pending, clear_readings=3, update_every_s=60.0)
    columns.reset(ROWS, -LIMIT, LIMIT)
    return columns


def forecast(
    columns: Approach, chance: float, now: float = 0.0, level: int = 2, side: int = HIGH
) -> None:
    """In 100 seconds, give or take 50; unknown until when, where it is not sure."""
    latest = now + 150.0 if chance >= SURE else np.inf
    figures = (chance, now + 50.0, now + 100.0, latest)
    columns.learn(ROWS, side, level, Crossing(*(np.array([each]) for each in figures)))


def read(columns: Approach, value: float, time_s: float = 0.0, warming: bool = False) -> str:
    """What one reading changes, in words."""
    changes: Changes = columns.advance(
        ROWS, np.array([time_s]), np.array([value]), YES if warming else NO
    )
    return " ".join(name for name in changes._fields if getattr(changes, name)[0])


def warned(columns: Approach, now: float = 0.0) -> str:
    """What comes of two sure forecasts."""
    forecast(columns, 0.97, now)
    forecast(columns, 0.97, now)
    return read(columns, 0.0, now)


def test_two_sure_forecasts_in_a_row_are_a_warning() -> None:
    """One is not, nor are two with doubt between them."""
    columns = approach()
    for chance in (0.97, 0.8, 0.97):
        forecast(columns, chance)
        assert "" == read(columns, 0.0)
    forecast(columns, 0.97)
    assert "warned" == read(columns, 0.0)
    assert [Standing.FORECAST] == columns.standing(ROWS).tolist()


def test_two_doubtful_ones_in_a_row_end_it() -> None:
    """In between lies hysteresis: neither sure nor doubtful leaves it open."""
    columns = approach()
    assert "warned" == warned(columns)
    for chance in (0.4, 0.6, 0.4):
        forecast(columns, chance)
        assert "ended" not in read(columns, 0.0)
    forecast(columns, 0.4)
    assert "ended" == read(columns, 0.0)


def test_the_finest_level_that_contains_the_crossing_tells_it() -> None:
    """Once it is as sure."""
    columns = approach()
    warned(columns)
    for _ in range(2):
        forecast(columns, 0.97, now=20.0, level=1)
    assert [120.0] == columns.crossing(ROWS, np.array([20.0])).likely.tolist()


def test_reaching_the_limit_ends_the_warning_and_raises_the_alert() -> None:
    """Both at the reading that reaches it."""
    columns = approach()
    warned(columns)
    assert "ended reached exceeded" == read(columns, LIMIT)
    assert [Standing.BEYOND] == columns.standing(ROWS).tolist()


@pytest.mark.parametrize(("value", "side"), [(LIMIT, HIGH), (-LIMIT, LOW)])
def test_out_of_limits_is_an_alert_until_it_is_back_for_a_while(value: float, side: int) -> None:
    """At once, and not again for every reading that is back for a moment."""
    columns = approach()
    told = [read(columns, each) for each in (value, 0.0, 0.0, value, 0.0, 0.0, 0.0)]
    assert ["exceeded", "", "", "", "", "", "ended"] == told
    assert [side] == columns.side(ROWS).tolist()


def test_pending_readings_are_waited_for() -> None:
    """A single wild reading is then no alert."""
    columns = approach(pending=2)
    told = [read(columns, each) for each in (LIMIT, 0.0, LIMIT, LIMIT)]
    assert ["", "", "", "exceeded"] == told


def test_a_channel_that_warms_up_raises_nothing() -> None:
    """Neither one nor the other; afterwards both."""
    columns = approach()
    forecast(columns, 0.97)
    forecast(columns, 0.97)
    assert "" == read(columns, 0.0, warming=True)
    assert "" == read(columns, LIMIT, warming=True)
    assert "exceeded" == read(columns, LIMIT)


def test_a_warning_that_came_to_nothing_is_paid_for() -> None:
    """One a week; no other until the credit has grown again."""
    columns = approach(budget=1.0)
    assert "warned" == warned(columns)
    for _ in range(2):
        forecast(columns, 0.1)
    assert "ended" == read(columns, 0.0)
    assert "" == warned(columns, 0.5 * WEEK_S)
    assert "warned" == warned(columns, 1.01 * WEEK_S)


def test_a_warning_that_came_true_costs_nothing() -> None:
    """A machine that reaches its limit every day is warned of every day."""
    columns = approach(budget=1.0)
    for day in range(5):
        now = day * 86400.0
        assert "warned" == warned(columns, now)
        assert "ended reached exceeded" == read(columns, LIMIT, now)
        assert ["", "", "ended"] == [read(columns, 0.0, now) for _ in range(3)]


def test_updates_come_with_new_forecasts_and_not_too_often() -> None:
    """A reading alone changes nothing in what is foreseen."""
    columns = approach()
    warned(columns)
    assert "" == read(columns, 0.0, 61.0)
    forecast(columns, 0.97, 61.0)
    assert "updated" == read(columns, 0.0, 61.0)
    forecast(columns, 0.97, 65.0)
    assert "" == read(columns, 0.0, 65.0)


def test_a_forecast_whose_time_is_over_warns_of_nothing() -> None:
    """A coarse level's last word may be old."""
    columns = approach()
    forecast(columns, 0.97, 0.0)
    forecast(columns, 0.97, 0.0)
    assert "" == read(columns, 0.0, 151.0)
