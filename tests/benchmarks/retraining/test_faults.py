"""The plant's faults are where the script says, and an alert finds them there alone."""

from __future__ import annotations

import numpy as np

from tests.benchmarks.retraining.faults import LASTS_S, Fault, disturb, quiet, weekly
from tests.benchmarks.retraining.signals import WEEK_S, signals
from tests.benchmarks.retraining.site import Raised

_FAULT = Fault(1, 2, "shift", 8.0, 7200.0, 9000.0)


def test_a_fault_disturbs_its_channel_alone() -> None:
    """From its beginning to its end."""
    values = signals(3, ["none"] * 2, 0.1)
    off = disturb(values, [_FAULT], 3) != values
    assert [(row, 10) for row in range(60, 75)] == [tuple(e) for e in np.argwhere(off).tolist()]


def test_an_alert_finds_a_fault_on_its_channel_up_to_an_hour_after_it() -> None:
    """On the others of its machine it may come of it, for a day."""
    for machine, channel, after_s, finds, touches in (
        (1, 2, 0.0, True, True),
        (1, 2, 5000.0, True, True),
        (1, 2, 6000.0, False, True),
        (1, 3, 100.0, False, True),
        (0, 2, 100.0, False, False),
        (1, 2, 90_000.0, False, False),
        (1, 2, -10.0, False, False),
    ):
        alert = Raised(machine, channel, 7200.0 + after_s)
        assert (finds, touches) == (_FAULT.finds(alert), _FAULT.touches(alert))


def test_the_delay_is_that_of_the_first_alert_that_finds_it() -> None:
    alerts = [Raised(1, 2, at_s) for at_s in (0.0, 7260.0, 7300.0)]
    assert 60.0 == _FAULT.delay_s(alerts)
    assert _FAULT.delay_s(alerts[:1]) is None


def test_no_reading_within_a_day_of_a_fault_is_quiet() -> None:
    """On its own machine."""
    free = quiet([_FAULT], 1, 3000)
    assert (60, 75 + 720 + 1) == (int((~free).argmax()), 60 + int((~free).sum()))
    assert quiet([_FAULT], 0, 3000).all()


def test_the_two_faults_of_a_machine_never_meet() -> None:
    """One in each half of a week, on another channel, of another kind."""
    rng = np.random.default_rng(1)
    large, small = (weekly(rng, 2, 8, size, side) for side, size in enumerate((16.0, 6.0)))
    assert [7, 7] == [len(large), len(small)]
    for week, (one, other) in enumerate(zip(large, small, strict=True), start=1):
        assert one.start_s >= week * WEEK_S
        assert one.start_s + LASTS_S == one.end_s < other.start_s
        assert one.channel != other.channel
        assert one.kind != other.kind
