"""The windows' rules: of every channel the newest readings, oldest first, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyd.detection.window import Windows

LENGTH, CAPACITY = 4, 3
ALL = np.arange(CAPACITY)
# float32 holds these exactly: a window keeps what was expected in single precision.
FIGURES = st.integers(-1000, 1000).map(float)
APPENDED = st.tuples(st.integers(0, CAPACITY - 1), FIGURES, FIGURES, st.booleans())


def append(windows: Windows, row: int, time_s: float, value: float, replace: bool = False) -> None:
    windows.append(
        np.array([row]),
        np.array([time_s]),
        np.array([value]),
        np.array([-value]),
        np.array([replace]),
    )


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(APPENDED, max_size=30), st.integers(1, LENGTH + 2))
def test_a_window_is_the_end_of_what_was_appended(
    appended: list[tuple[int, float, float, bool]], asked: int
) -> None:
    """A window keeps the last readings of its channel, whatever the others did; a reading that
    replaces takes the place of the newest one."""
    windows, kept = Windows(CAPACITY, LENGTH), [list[tuple[float, float]]() for _ in ALL]
    for row, time_s, value, wanted in appended:
        replace = wanted and bool(kept[row])
        append(windows, row, time_s, value, replace)
        kept[row][-1:] = [(time_s, value)] if replace else [*kept[row][-1:], (time_s, value)]
    for row in range(CAPACITY):
        recent = windows.recent(row, asked)
        newest = kept[row][-min(asked, LENGTH) :]
        assert [time_s for time_s, _ in newest] == recent.times.tolist()
        assert [value for _, value in newest] == recent.values.tolist()
        assert [-value for _, value in newest] == recent.expected.tolist()
    assert [len(readings) for readings in kept] == windows.count(ALL).tolist()
    assert [readings[-1][1] if readings else 0.0 for readings in kept] == windows.last(ALL).tolist()


def test_a_batch_goes_to_its_channels() -> None:
    """One reading of each of several channels is appended to each of them."""
    windows = Windows(CAPACITY, LENGTH)
    rows, figures = np.array([2, 0]), np.array([5.0, 7.0])
    windows.append(rows, figures, figures, figures, np.array([False, False]))
    assert [7.0, 0.0, 5.0] == windows.last(ALL).tolist()
    assert [1, 0, 1] == windows.count(ALL).tolist()


def test_what_was_expected_may_be_unknown() -> None:
    """A reading without a prediction has NaN for it."""
    windows = Windows(CAPACITY, LENGTH)
    one = np.array([1.0])
    windows.append(np.array([0]), one, one, np.array([np.nan]), np.array([False]))
    assert np.isnan(windows.recent(0, 1).expected).tolist() == [True]


def test_a_channel_that_is_forgotten_has_no_past() -> None:
    """A reset leaves an empty window, and leaves the others alone."""
    windows = Windows(CAPACITY, LENGTH)
    for row in (0, 1):
        append(windows, row, 1.0, 2.0)
    windows.reset(np.array([0]))
    assert [0, 1, 0] == windows.count(ALL).tolist()
    assert windows.recent(0, LENGTH).values.tolist() == []
    append(windows, 0, 3.0, 4.0)
    assert [4.0] == windows.recent(0, LENGTH).values.tolist()


@pytest.mark.parametrize("step_s", [0.1, 1.0, 3.7])
def test_times_are_as_exact_as_they_came(step_s: float) -> None:
    """Though only the seconds between them are kept, also behind what was replaced, and those of
    other channels' readings are told for all at once."""
    windows, times = Windows(CAPACITY, LENGTH), 1_700_000_000.123 + step_s * np.arange(7.0)
    for time_s in times.tolist():
        append(windows, 1, time_s - 0.05 * step_s, 2.0)
        append(windows, 1, time_s, 3.0, replace=True)
    assert times[-LENGTH:].tolist() == windows.recent(1, LENGTH).times.tolist()
    before, values, filled = windows.before_last(np.array([1]))
    assert times[-LENGTH:-1].tolist() == before[0].tolist()
    assert ([3.0] * (LENGTH - 1), [LENGTH - 1]) == (values[0].tolist(), filled.tolist())


def test_a_long_silence_costs_milliseconds() -> None:
    """What was before it is told to 4 ms a day, what is behind it exactly."""
    windows, times = (
        Windows(CAPACITY, LENGTH),
        1_700_000_000.123 + np.array([0.0, 86400.7, 86401.7]),
    )
    for time_s in times.tolist():
        append(windows, 0, time_s, 1.0)
    told = windows.recent(0, LENGTH).times
    assert times[1:].tolist() == told[1:].tolist()
    assert abs(times[0] - told[0]) <= 0.004
