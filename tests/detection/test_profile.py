"""The profile's rules: a day is learnt in a day, weekends are a day of their own, and what is too
slow has none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyd.detection.profile import DAY_S, Profiles

ONE = np.array([0])
MONDAY_S = 4 * DAY_S  # 1970-01-05
INTERVAL_S = 300.0

Array = NDArray[np.float64]


def day(times: Array) -> Array:
    """A channel that follows the time of day."""
    return np.asarray(5.0 * np.sin(2.0 * np.pi * times / DAY_S))


def live(
    profiles: Profiles, begin_s: float, days: float, factor: float = 1.0, row: int = 0
) -> Profiles:
    """A channel goes on for some days."""
    for time in np.arange(begin_s, begin_s + days * DAY_S, INTERVAL_S):
        times = np.array([time])
        profiles.learn(np.array([row]), times, factor * day(times), np.array([INTERVAL_S]))
    return profiles


def read(profiles: Profiles, begin_s: float, row: int = 0) -> Array:
    """What the profile says of a day, every ten minutes."""
    times = (begin_s + np.arange(0.0, DAY_S, 600.0))[:, None]
    return profiles.at(np.array([row]), times)[:, 0]


def test_a_day_is_learnt_in_a_day() -> None:
    """After one day, and an hour to finish it, all of it is read back to a tenth of its swing;
    before that, there is none."""
    profiles = live(Profiles(1), MONDAY_S, 1.0)
    assert not profiles.known(ONE)[0]
    live(profiles, MONDAY_S + DAY_S, 0.06)
    assert profiles.known(ONE)[0]
    tomorrow = MONDAY_S + DAY_S
    assert read(profiles, tomorrow) == pytest.approx(
        day(tomorrow + np.arange(0.0, DAY_S, 600.0)), abs=0.5
    )


def test_later_days_move_it_gently() -> None:
    """One day unlike the others changes it by less than a third; a week of them, nearly wholly."""
    profiles = live(Profiles(1), MONDAY_S, 2.0)
    before = read(profiles, MONDAY_S)
    live(profiles, MONDAY_S + 2 * DAY_S, 1.0, factor=2.0)
    moved = np.abs(read(profiles, MONDAY_S) - before).max()
    assert 0.5 < moved < 5.0 / 3.0
    live(profiles, MONDAY_S + 7 * DAY_S, 5.0, factor=2.0)
    live(profiles, MONDAY_S + 14 * DAY_S, 5.0, factor=2.0)
    assert read(profiles, MONDAY_S) == pytest.approx(2.0 * before, abs=1.0)


def test_a_weekend_is_like_a_working_day_until_one_was_seen() -> None:
    """Then it is a day of its own, and working days stay as they were."""
    saturday = MONDAY_S + 5 * DAY_S
    profiles = live(Profiles(1), MONDAY_S, 5.0)
    working = read(profiles, MONDAY_S)
    assert working.tolist() == read(profiles, saturday).tolist()
    live(profiles, saturday, 2.0, factor=0.0)
    assert read(profiles, saturday) == pytest.approx(np.zeros(144), abs=0.1)
    assert working.tolist() == read(profiles, MONDAY_S).tolist()


def test_a_working_day_is_like_a_weekend_until_one_was_seen() -> None:
    """A channel that begins on a Saturday doesn't know nothing on Monday."""
    saturday = MONDAY_S + 5 * DAY_S
    profiles = live(Profiles(1), saturday, 2.0)
    assert read(profiles, saturday).tolist() == read(profiles, saturday + 2 * DAY_S).tolist()


@pytest.mark.parametrize(("interval_s", "known"), [(3600.0, True), (3601.0, False)])
def test_slow_channels_have_none(interval_s: float, known: bool) -> None:
    """Readings further apart than an hour leave slots that nothing was read in."""
    profiles = Profiles(1)
    for at in range(60):
        times = np.array([MONDAY_S + at * interval_s])
        profiles.learn(ONE, times, day(times), np.array([interval_s]))
    assert [known] == profiles.known(ONE).tolist()


def test_readings_an_hour_apart_fill_every_slot() -> None:
    """The slots between them are read as what is around them."""
    profiles = Profiles(1)
    for time in np.arange(MONDAY_S, MONDAY_S + 3 * DAY_S, 3600.0):
        profiles.learn(ONE, np.array([time]), np.array([7.0]), np.array([3600.0]))
    assert read(profiles, MONDAY_S) == pytest.approx(np.full(144, 7.0), abs=0.5)


def test_nothing_teaches_nothing() -> None:
    """NaN leaves a channel as it is, whatever its neighbour learns."""
    profiles = live(Profiles(2), MONDAY_S, 2.0)
    live(profiles, MONDAY_S, 2.0, row=1)
    before, other = read(profiles, MONDAY_S), read(profiles, MONDAY_S, row=1)
    for _ in range(20):
        profiles.learn(
            np.arange(2),
            np.full(2, MONDAY_S),
            np.array([np.nan, 3.0]),
            np.full(2, INTERVAL_S),
        )
    assert before.tolist() == read(profiles, MONDAY_S).tolist()
    assert read(profiles, MONDAY_S, row=1)[0] > other[0] + 0.5


def test_channels_are_each_for_themselves_and_can_be_forgotten() -> None:
    """A row that is reset begins anew, its neighbour stays."""
    profiles = live(live(Profiles(2), MONDAY_S, 2.0), MONDAY_S, 2.0, factor=3.0, row=1)
    other = read(profiles, MONDAY_S, row=1)
    profiles.reset(ONE)
    assert [False, True] == profiles.known(np.arange(2)).tolist()
    assert other.tolist() == read(profiles, MONDAY_S, row=1).tolist()
    again, new = live(profiles, MONDAY_S, 2.0), live(Profiles(1), MONDAY_S, 2.0)
    assert read(new, MONDAY_S).tolist() == read(again, MONDAY_S).tolist()
