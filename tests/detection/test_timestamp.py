"""The timestamps' rules: any unit and ISO 8601 become seconds; what can't be a time is NaN."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anomalyd.detection.timestamp import parse_text, seconds

# 1973 to 2100.
MOMENTS = st.integers(100_000_000, 4_102_444_800)
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
ARRIVED_S = 1_795_372_619.5


def one(time: float | str | None) -> float:
    return float(seconds([time], np.array([ARRIVED_S]))[0])


@pytest.mark.parametrize("unit", UNITS)
@settings(derandomize=True, database=None, deadline=None)
@given(moment=MOMENTS)
def test_a_number_is_told_by_its_size(unit: str, moment: int) -> None:
    """Seconds, milliseconds, microseconds and nanoseconds since 1970 are the same moment."""
    assert one(moment * UNITS[unit]) == pytest.approx(moment, abs=1e-6)
    assert one(float(moment * UNITS[unit])) == pytest.approx(moment, abs=1e-6)


@pytest.mark.parametrize("unit", UNITS)
@settings(derandomize=True, database=None, deadline=None)
@example(moment=1_712_121_512)  # its milliseconds look like a date of 1712
@given(moment=MOMENTS)
def test_a_number_as_text_is_that_number(unit: str, moment: int) -> None:
    """CSV files and some payloads write numbers as text; all their digits belong to the number."""
    text = str(moment * UNITS[unit] + 345 % UNITS[unit])
    assert one(text) == pytest.approx(float(text) / UNITS[unit], abs=1e-6)


@settings(derandomize=True, database=None, deadline=None)
@given(moment=MOMENTS, hours=st.integers(-12, 14))
def test_iso_8601_has_a_zone_or_is_utc(moment: int, hours: int) -> None:
    """The zone in the text counts; without one it is UTC, wherever the daemon runs."""
    zone = timezone(timedelta(hours=hours))
    assert one(datetime.fromtimestamp(moment, zone).isoformat()) == moment
    assert one(datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).isoformat()) == moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-06-01T10:00:00Z", 1_748_772_000.0),
        ("2025-06-01 10:00:00.250", 1_748_772_000.25),
        (" 2025-06-01T12:00:00+02:00 ", 1_748_772_000.0),
        ("20250601T100000Z", 1_748_772_000.0),
        ("2025-06-01", 1_748_736_000.0),
        ("1748772000.5", 1_748_772_000.5),
        ("1.748772e9", 1_748_772_000.0),
    ],
)
def test_forms_of_text(text: str, expected: float) -> None:
    """What people and machines write."""
    assert expected == one(text)
    assert expected == parse_text(text)


def test_no_time_is_the_arrival() -> None:
    """A payload without a time is as old as its arrival; its neighbours keep their own."""
    arrivals = np.array([1.0, 2.0, 3.0]) + ARRIVED_S
    assert arrivals.tolist() == seconds([None, None, None], arrivals).tolist()
    expected = [ARRIVED_S + 1.0, 1_748_772_000.0, ARRIVED_S + 3.0]
    assert expected == seconds([None, "2025-06-01T10:00:00Z", None], arrivals).tolist()


def test_arrivals_are_not_handed_out() -> None:
    """The caller's array stays the caller's."""
    arrivals = np.array([ARRIVED_S])
    seconds([None], arrivals)[0] = 0.0
    assert [ARRIVED_S] == arrivals.tolist()


@pytest.mark.parametrize(
    "time",
    [
        0,
        -1_748_772_000,
        12_345.6,  # a device that counts from its own start
        float("nan"),
        float("inf"),
        float("-inf"),
        10**400,
        -(10**400),
        "",
        "yesterday",
        "NaN",
        "Infinity",
        "1e999",
        "2025-13-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59Z",  # no time, as some say it
        "9" * 400,
    ],
)
def test_what_is_no_time_is_nan(time: float | str) -> None:
    """It is NaN, never an error, and costs its neighbours nothing."""
    arrivals = np.full(2, ARRIVED_S)
    assert [True, False] == np.isnan(seconds([time, 1_748_772_000], arrivals)).tolist()
