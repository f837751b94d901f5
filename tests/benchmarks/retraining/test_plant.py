"""The tables count what two plants raised and missed, and excuse what a fault explains."""

from __future__ import annotations

import numpy as np

from tests.benchmarks.retraining.plant import SIZES, Lived, script, tables
from tests.benchmarks.retraining.signals import CHANGES, MEMBERS, WEEK
from tests.benchmarks.retraining.site import Raised

_WEEKS = 2


def _lived(raised: list[Raised], weeks: int = _WEEKS) -> Lived:
    """Errors of 1, and on one channel, once, of 3."""
    errors = np.ones((weeks * WEEK, len(CHANGES) * MEMBERS))
    errors[WEEK + 10, 0] = 3.0
    return Lived(raised, frozenset({0}), errors, 1.0, {"started": 0}, 0.0)


def test_every_machine_has_a_fault_of_each_size_a_week() -> None:
    """The first week is free of them."""
    faults = script(1, 3)
    assert list(SIZES) == list(faults)
    assert [2 * len(CHANGES)] * 2 == [len(each) for each in faults.values()]


def test_an_alert_is_false_where_no_fault_explains_it() -> None:
    """The first machine's large fault is found, and what comes of it is no false alarm."""
    fault = script(1, _WEEKS)["large"][0]
    found = Raised(0, fault.channel, fault.start_s + 120.0)
    besides = Raised(0, (fault.channel + 1) % MEMBERS, fault.start_s + 120.0)
    false = Raised(1, 0, 60.0)
    alarms, by_week, faults, _, errors, _ = tables(
        1, _WEEKS, _lived([false]), _lived([found, besides, false, false])
    )
    first, second = alarms.rows[:2]
    assert (0, 0, 1, 2) == (first["without"], first["with"], second["without"], second["with"])
    assert (1, 2) == (by_week.rows[0]["without"], by_week.rows[0]["with"])
    assert "0 of 1" == faults.rows[0]["large, without"]
    assert ("1 of 1", 2.0) == (faults.rows[0]["large, with"], faults.rows[0]["min, with"])
    assert 1.0 == errors.rows[1]["with"]


def test_a_recurrence_is_of_an_incident_that_was_confirmed() -> None:
    """The first machine's was; the second's fault was not found, so nobody knows it."""
    second = [each for each in script(1, 3)["large"] if each.machine == 0][1]
    found = _lived([Raised(0, second.channel, second.start_s)], 3)
    again = tables(1, 3, _lived([], 3), found)[3]
    assert ("0 of 1", "1 of 1") == (again.rows[0]["without"], again.rows[0]["with"])
    assert ("-", "-") == (again.rows[1]["without"], again.rows[1]["with"])


def test_an_excursion_beyond_the_first_week_counts_once() -> None:
    """On the one channel that has it, where no fault is near."""
    (alarms, *_) = tables(1, _WEEKS, _lived([]), _lived([]))
    assert [0, 1] == sorted({int(float(str(row["fixed limit"]))) for row in alarms.rows})
