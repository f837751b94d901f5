"""The profile's rules: a day is learnt in a day, weekends have a day of their own, and what is read
less than hourly has none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyd.detection.profile import DAY_S, Profiles

ONE = np.array([0])
MONDAY = 4 * DAY_S  # 1970-01-05
SATURDAY = MONDAY + 5 * DAY_S
STEP_S = 300.0

Array = NDArray[np.float64]


def daily(times: Array) -> Array:
    """A pattern that comes again every day."""
    return np.asarray(10.0 * np.sin(2.0 * np.pi * times / DAY_S))


def live(profiles: Profiles, start: float, days: float, level: float = 0.0) -> None:
    """One channel, read every five minutes."""
    for at in start + np.arange(0.0, days * DAY_S, STEP_S):
        times = np.array([at])
        profiles.learn(ONE, times, daily(times) + level, np.array([STEP_S]))


def day(profiles: Profiles, start: float) -> tuple[Array, Array]:
    """What the channel usually reads in the hours of a day, and their times."""
    times = start + np.arange(0.0, DAY_S, 3600.0)
    return profiles.at(ONE, times[:, None])[:, 0], times


def test_a_day_is_learnt_in_a_day() -> None:
    """What was read on Monday is expected on Tuesday; until the day is full nothing is known."""
    profiles = Profiles(1)
    live(profiles, MONDAY, 0.5)
    assert [False] == profiles.known(ONE).tolist()
    live(profiles, MONDAY + 0.5 * DAY_S, 0.5)
    assert [True] == profiles.known(ONE).tolist()
    said, times = day(profiles, MONDAY + DAY_S)
    assert said == pytest.approx(daily(times), abs=1.0)


def test_later_days_are_learnt_gently() -> None:
    """One day unlike the others moves the profile a part of the way; many move it all the way."""
    profiles = Profiles(1)
    live(profiles, MONDAY, 1.0)
    live(profiles, MONDAY + DAY_S, 1.0, level=8.0)
    said, times = day(profiles, MONDAY)
    assert 0.5 < (said - daily(times)).mean() < 4.0
    for week in range(5):
        live(profiles, MONDAY + 7.0 * week * DAY_S, 5.0, level=8.0)
    assert day(profiles, MONDAY)[0] == pytest.approx(daily(times) + 8.0, abs=1.0)


def test_a_weekend_is_read_from_working_days_until_one_is_seen() -> None:
    """And is then another day, which working days don't follow."""
    profiles = Profiles(1)
    live(profiles, MONDAY, 1.0)
    assert day(profiles, SATURDAY)[0].tolist() == day(profiles, MONDAY)[0].tolist()
    live(profiles, SATURDAY, 1.0, level=50.0)
    for start, level in ((SATURDAY + DAY_S, 50.0), (MONDAY, 0.0), (MONDAY + 7.0 * DAY_S, 0.0)):
        said, times = day(profiles, start)
        # One pass brings a slot most of the way; at midnight, where the pass begins and ends, less.
        assert said[1:-1] == pytest.approx(daily(times[1:-1]) + level, abs=3.0)


def test_a_working_day_is_read_from_a_weekend_until_one_is_seen() -> None:
    """It is the other way round for a channel that begins on a Saturday."""
    profiles = Profiles(1)
    live(profiles, SATURDAY, 1.0)
    assert [True] == profiles.known(ONE).tolist()
    assert day(profiles, MONDAY)[0].tolist() == day(profiles, SATURDAY)[0].tolist()


@pytest.mark.parametrize(("interval_s", "expected"), [(3600.0, True), (3601.0, False)])
def test_what_is_read_less_than_hourly_has_no_profile(interval_s: float, expected: bool) -> None:
    """A slot would have too few readings."""
    profiles = Profiles(1)
    for at in MONDAY + interval_s * np.arange(48.0):
        times = np.array([at])
        profiles.learn(ONE, times, daily(times), np.array([interval_s]))
    assert [expected] == profiles.known(ONE).tolist()


def test_what_is_no_number_teaches_nothing() -> None:
    """NaN leaves its channel as it is; its neighbours in the batch learn."""
    profiles, rows = Profiles(2), np.arange(2)
    for at in MONDAY + np.arange(0.0, DAY_S, STEP_S):
        profiles.learn(rows, np.full(2, at), np.array([np.nan, 5.0]), np.full(2, STEP_S))
    assert [False, True] == profiles.known(rows).tolist()
    assert profiles.at(rows, np.full((1, 2), MONDAY))[0] == pytest.approx([0.0, 5.0], abs=0.6)


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    """A reset leaves no profile, and leaves the others alone."""
    profiles, rows = Profiles(2), np.arange(2)
    for at in MONDAY + np.arange(0.0, DAY_S, STEP_S):
        profiles.learn(rows, np.full(2, at), np.array([3.0, 5.0]), np.full(2, STEP_S))
    profiles.reset(ONE)
    assert [False, True] == profiles.known(rows).tolist()
    assert profiles.at(rows, np.full((1, 2), MONDAY))[0] == pytest.approx([0.0, 5.0], abs=0.6)


def test_working_days_leave_weekends_untouched() -> None:
    """Forgotten or not: until the first weekend they weigh nothing, and afterwards are zeros."""
    profiles, two = Profiles(2), np.array([0, 1])
    profiles.reset(two)
    times, interval_s = np.array([MONDAY, SATURDAY]), np.full(2, STEP_S)
    profiles.learn(two, times, np.ones(2), interval_s)
    assert [True, False] == profiles._workdays.any(axis=1).tolist()
    assert [False, True] == profiles._weekends.any(axis=1).tolist()
    profiles.reset(two)
    assert not (profiles._workdays.any() or profiles._weekends.any())
