"""The cadence's rules: only the readings' own times say what is late, a gap, or a grid's step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.detection.cadence import Beat, Cadence

GAP_INTERVALS = 10.0
START_S = 1_748_772_000.0
ONE = np.array([0])


def told(times: list[float], grid_s: float = 0.0) -> tuple[Cadence, list[Beat]]:
    """A channel that has spoken at `times` (seconds after the start), and how each stood; those
    that are late are left out, as the pipeline does."""
    cadence = Cadence(1, GAP_INTERVALS)
    cadence.reset(ONE, grid_s)
    return cadence, [tell(cadence, time_s) for time_s in times]


def tell(cadence: Cadence, time_s: float) -> Beat:
    times = np.array([START_S + time_s])
    beat = cadence.judge(ONE, times)
    if not beat.late[0]:
        cadence.learn(ONE, times, beat)
    return beat


def regular(readings: int, interval_s: float = 1.0) -> list[float]:
    return [at * interval_s for at in range(readings)]


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.integers(0, 20).map(float), max_size=30))
def test_only_a_newer_reading_is_taken(times: list[float]) -> None:
    """A reading that is not newer than the newest one taken is late, a duplicate included."""
    _, beats = told(times)
    newest = np.maximum.accumulate([-1.0, *times])[:-1]
    assert (times <= newest).tolist() == [bool(beat.late[0]) for beat in beats]


def test_a_look_changes_nothing() -> None:
    """Judging a reading leaves no trace; only learning it does."""
    cadence, _ = told(regular(20))
    for time_s in (1e6, -1e6, 20.0):
        cadence.judge(ONE, np.array([START_S + time_s]))
    assert [START_S + 19.0] == cadence.last_s(ONE).tolist()
    assert not cadence.judge(ONE, np.array([START_S + 20.0])).gap[0]


def test_a_silence_of_many_intervals_is_a_gap() -> None:
    """More than `gap_intervals` usual intervals of silence are a gap; just as many are not."""
    for interval_s in (0.02, 1.0, 300.0):
        spoken = regular(20, interval_s)
        for silence, gap in ((0.99 * GAP_INTERVALS, False), (1.01 * GAP_INTERVALS, True)):
            _, beats = told([*spoken, spoken[-1] + silence * interval_s])
            assert [False] * 20 + [gap] == [bool(beat.gap[0]) for beat in beats]


def test_after_a_gap_a_channel_settles() -> None:
    """The first three readings after a gap can't be scored; only the first of them came after
    the silence."""
    cadence, _ = told(regular(20))
    settling, after = [], []
    for time_s in (100.0, 101.0, 102.0, 103.0, 104.0):
        tell(cadence, time_s)
        settling.append(bool(cadence.settling(ONE)[0]))
        after.append(bool(cadence.after_gap(ONE)[0]))
    assert [True, True, True, False, False] == settling
    assert [True, False, False, False, False] == after


@settings(derandomize=True, database=None, deadline=None, max_examples=20)
@given(st.floats(0.01, 1000.0), st.integers(0, 2**32))
def test_the_usual_interval_is_learnt(interval_s: float, seed: int) -> None:
    """It is known from few readings, jitter or not; before, a second stands in."""
    cadence, _ = told([])
    assert [1.0] == cadence.interval_s(ONE).tolist()
    jitter = np.random.default_rng(seed).uniform(-0.4, 0.4, 100)
    for time_s in (np.arange(100) + jitter) * interval_s:
        tell(cadence, float(time_s))
    assert cadence.interval_s(ONE)[0] == pytest.approx(interval_s, rel=0.1)


def test_one_gap_hardly_changes_the_usual_interval() -> None:
    """A silence of a week is no measure of how often a channel speaks."""
    cadence, _ = told([*regular(100), 700_000.0])
    assert cadence.interval_s(ONE)[0] == pytest.approx(1.0, rel=0.5)


@pytest.mark.parametrize("heard", [[0.0], [0.0, 1.0], [0.0, 1.0, 2.0]])
def test_who_is_killed_again_and_again_takes_no_silence_for_an_interval(heard: list[float]) -> None:
    """A few readings in each life are still a few readings after a gap."""
    lives = [500.0 + at for at in heard]
    lives += [1000.0 + 100.0 * life + at for life in range(10) for at in [*heard, 3.0]]
    cadence, beats = told([*regular(400), *lives])
    assert cadence.interval_s(ONE)[0] == pytest.approx(1.0, rel=0.5)
    assert 11 == sum(bool(beat.gap[0]) for beat in beats)


@pytest.mark.parametrize(("first_s", "then_s"), [(0.001, 1.0), (1.0, 20.0), (1.0, 3600.0)])
def test_a_channel_that_now_speaks_more_slowly_is_not_in_a_gap_for_ever(
    first_s: float, then_s: float
) -> None:
    """What was queued comes in a burst, and sensors are set to another rate: the slower rate
    becomes the usual one."""
    burst = regular(200, first_s)
    _, beats = told([*burst, *(burst[-1] + then_s * (1 + at) for at in range(200))])
    assert [False] * 50 == [bool(beat.gap[0]) for beat in beats[-50:]]


def test_on_a_grid_a_bin_is_a_step() -> None:
    """The first reading in a bin of the grid begins a step; further ones belong to it."""
    _, beats = told([0.0, 3.0, 9.9, 10.0, 19.0, 30.0], grid_s=10.0)
    assert [True, False, False, True, False, True] == [bool(beat.step[0]) for beat in beats]


def test_on_a_grid_the_interval_is_the_grid() -> None:
    """However many readings come in a bin, a step takes as long as the grid says."""
    cadence, _ = told(regular(50, 0.7), grid_s=10.0)
    assert [10.0] == cadence.interval_s(ONE).tolist()
    assert not tell(cadence, 35.0 + 90.0).gap[0]
    assert tell(cadence, 125.0 + 101.0).gap[0]


def test_without_a_grid_every_reading_is_a_step() -> None:
    """Readings close in time are steps of their own."""
    _, beats = told([0.0, 0.001, 0.002, 5.0])
    assert all(beat.step[0] for beat in beats)


def test_a_channel_that_begins_anew_knows_nothing() -> None:
    """A row that is used again is not late, not settling, and has no usual interval."""
    cadence, _ = told([*regular(20), 100.0])
    cadence.reset(ONE, 0.0)
    assert [1.0] == cadence.interval_s(ONE).tolist()
    assert not cadence.settling(ONE)[0] and not cadence.after_gap(ONE)[0]
    beat = tell(cadence, -1e6)
    assert (False, True, False) == tuple(bool(flag[0]) for flag in beat)


def test_channels_of_a_batch_are_judged_each_for_itself() -> None:
    """One is late, one steps on, one comes back from a gap."""
    cadence, rows = Cadence(3, GAP_INTERVALS), np.arange(3)
    cadence.reset(rows, 0.0)
    for at in range(20):
        times = np.full(3, START_S + at)
        cadence.learn(rows, times, cadence.judge(rows, times))
    beat = cadence.judge(rows, START_S + np.array([19.0, 20.0, 90.0]))
    assert [True, False, False] == beat.late.tolist()
    assert [False, False, True] == beat.gap.tolist()
