"""Alerts as documents: the schema that is shipped, times, ids, and reasons in words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from anomalyd.runtime.alerts import alert_id, iso, json_schema, lasted, number, reason, span

_SHIPPED = Path(__file__).parents[2] / "deploy" / "alert.schema.json"


def test_the_shipped_schema_is_that_of_the_documents() -> None:
    """A field that comes or goes changes the schema in the same commit."""
    assert json_schema() == _SHIPPED.read_bytes()


def test_an_id_belongs_to_one_instance_channel_and_start() -> None:
    """The same three give the same id, any other gives another one."""
    known = alert_id("main", "a/b", 1.5)
    assert known == alert_id("main", "a/b", 1.5)
    others = {alert_id("x", "a/b", 1.5), alert_id("main", "a", 1.5), alert_id("main", "a/b", 1.6)}
    assert 3 == len(others - {known})


def test_times_are_iso_8601_in_utc_to_the_millisecond() -> None:
    """Operators and programs read the same text."""
    assert "2023-11-14T22:13:20.250Z" == iso(1_700_000_000.25)


def test_an_unknown_figure_is_null() -> None:
    """JSON has no NaN."""
    assert number(math.nan) is None
    assert 0.0 == number(0.0)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("residual", 12.0, "12 C is 2 C above what was expected 10 C, normal from 9 to 11"),
        ("residual", 7.5, "7.5 C is 2.5 C below what was expected 10 C, normal from 9 to 11"),
        ("residual", 10.5, "10.5 C varies more than this channel does: expected 10 C"),
        ("relation", 12.0, "12 C doesn't fit the other channels of its asset: expected 10 C"),
        ("stuck", 12.0, "12 C has not changed for far longer than this sensor ever stood still"),
    ],
)
def test_the_reason_is_a_sentence_with_the_figures(kind: str, value: float, said: str) -> None:
    """What was seen, what was expected, and how far that may be off."""
    assert reason(kind, value, 10.0, 9.0, 11.0, "C").startswith(said)


@pytest.mark.parametrize(
    ("times_s", "said"),
    [
        ((20.0, 30.0, 65.0), "20-65 s (likely 30)"),
        ((2400.0, 3120.0, 4200.0), "40-70 min (likely 52)"),
        ((5400.0, 9000.0, 90000.0), "1.5-25 h (likely 2.5)"),
        ((172800.0, 259200.0, 1.1e6), "2-13 days (likely 3)"),
    ],
)
def test_a_time_to_come_is_told_as_one_says_it(
    times_s: tuple[float, float, float], said: str
) -> None:
    """One unit for the three of them, two digits."""
    assert said == span(*times_s)


def test_a_time_that_has_passed_reads_as_one_says_it() -> None:
    assert ["40 s", "20 min", "1.5 h", "24 h", "3 days"] == [
        lasted(seconds) for seconds in (40.0, 1200.0, 5400.0, 86400.0, 259200.0)
    ]
