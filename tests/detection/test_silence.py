"""Silence's rules: stale is saying nothing for far longer than this channel ever did."""

import numpy as np
import pytest

from anomalyd.detection.silence import Silence

ONE = np.array([0])


def speak(silence: Silence, times: list[float]) -> bool:
    """Say something at each time; whether the last one ended a silence that was told."""
    told, before = False, times[0]
    for time_s in times:
        told = bool(silence.learn(ONE, np.array([time_s - before]), time_s)[0])
        before = time_s
    return told


def spoken(interval_s: float, readings: int = 100) -> tuple[Silence, float]:
    """A channel that spoke by the clock, and when it did so last."""
    silence = Silence(1)
    silence.reset(ONE, True)
    speak(silence, [interval_s * at for at in range(readings)])
    return silence, interval_s * (readings - 1)


@pytest.mark.parametrize(("interval_s", "bound_s"), [(0.1, 30.0), (60.0, 240.0), (3600.0, 14400.0)])
def test_four_times_the_longest_silence_is_too_long(interval_s: float, bound_s: float) -> None:
    """But not less than what a network may need to recover; told once."""
    silence, last_s = spoken(interval_s)
    assert pytest.approx(last_s + bound_s) == silence.due_s()
    assert not silence.overdue(last_s + 0.99 * bound_s).size
    assert [0] == silence.overdue(last_s + 1.01 * bound_s).tolist()
    silence.tell(ONE)
    assert not silence.overdue(last_s + 9.0 * bound_s).size
    assert speak(silence, [last_s + 9.0 * bound_s])


def test_who_speaks_at_random_is_not_stale() -> None:
    """Exponential silences, 100 channels with 2000 of them each: not one false alarm."""
    rows, silence = np.arange(100), Silence(100)
    silence.reset(rows, True)
    times = np.cumsum(np.random.default_rng(0).exponential(20.0, (2000, 100)), axis=0)
    before, alarms = np.zeros(100), 0
    for now in times:
        late = silence.due_s() if before.any() else np.inf
        alarms += int(late < now.min())
        silence.learn(rows, now - before, now)
        before = now
    assert 0 == alarms


def test_who_came_back_by_itself_is_given_twice_the_time() -> None:
    """A silence that was told teaches caution, not that it is normal."""
    silence, last_s = spoken(60.0)
    silence.tell(ONE)
    assert speak(silence, [last_s + 10_000.0])
    assert pytest.approx(last_s + 10_480.0) == silence.due_s()


def test_what_is_young_or_excused_is_never_stale() -> None:
    """30 silences make a channel known; where silence means that the value holds, none does."""
    young, _ = spoken(1.0, readings=20)
    excused = Silence(1)
    excused.reset(ONE, False)
    speak(excused, [float(at) for at in range(100)])
    for each in (young, excused):
        assert np.inf == each.due_s()
        assert not each.overdue(1e9).size


def test_while_nobody_listened_is_not_known() -> None:
    """Silence is counted from then on, and what was between is not learnt."""
    silence, _ = spoken(60.0)
    silence.resume(1e6)
    assert pytest.approx(1e6 + 240.0) == silence.due_s()
    speak(silence, [1e6 + 50.0])
    assert pytest.approx(1e6 + 290.0) == silence.due_s()


def test_a_jump_of_the_clock_is_no_silence() -> None:
    """What was heard moves along."""
    silence, last_s = spoken(60.0)
    silence.shift(1e9)
    assert pytest.approx(1e9 + last_s + 240.0) == silence.due_s()


def test_bursts_are_as_long_as_their_pauses() -> None:
    """Sixty readings a minute that come at once: the pause is normal, whatever their own times."""
    silence = Silence(1)
    silence.reset(ONE, True)
    for minute in range(10):
        for _ in range(60):
            silence.learn(ONE, np.array([1.0]), 60.0 * minute)
    assert silence.due_s() > 540.0 + 200.0


def test_who_announced_its_end_is_silent_at_once_and_learns_nothing_of_it() -> None:
    """However little is known of it; who comes back is waited for as before."""
    silence, last_s = spoken(60.0)
    assert [0] == silence.die(ONE, last_s + 1.0).tolist()
    assert not silence.die(ONE, last_s + 2.0).size
    assert [last_s + 1.0] == silence.died_s(ONE).tolist()
    assert np.inf == silence.due_s()
    assert [0] == silence.revive(np.array([0, 0]), last_s + np.array([4000.0, 5000.0])).tolist()
    assert not silence.revive(ONE, np.array([last_s + 5000.0])).size
    assert not speak(silence, [last_s + 5000.0])
    assert pytest.approx(last_s + 5240.0) == silence.due_s()


def test_who_was_told_to_be_silent_dies_no_more() -> None:
    silence, last_s = spoken(60.0)
    silence.tell(ONE)
    assert not silence.die(ONE, last_s + 300.0).size
    assert [np.inf] == silence.died_s(ONE).tolist()
