"""The plant of the retraining bench is the seed's, and its faults are where the script says."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from tests.benchmarks import retraining
from tests.benchmarks.retraining import Fault, disturb, signals
from tests.runtime.transitions import transition

_FAULT = Fault(1, 2, "shift", 7200.0, 9000.0)


def test_the_same_seed_gives_the_same_plant() -> None:
    """And more machines leave the others as they are."""
    few, many = (signals(3, count, 0.1, 900.0, ageing=True) for count in (1, 2))
    assert np.array_equal(few, many[:, : retraining.MEMBERS])
    assert not np.array_equal(few, signals(4, 1, 0.1, 900.0, ageing=True))


def test_wear_makes_it_louder_and_without_it_nothing_changes() -> None:
    """Twice as loud in the end."""
    worn, new = (signals(3, 1, 8, 900.0, ageing) for ageing in (True, False))
    for values, least, most in ((worn, 1.4, 2.5), (new, 0.7, 1.3)):
        spread = [np.diff(part, axis=0).std(axis=0) for part in (values[:500], values[-500:])]
        assert least < float(np.median(spread[1] / spread[0])) < most


def test_a_fault_disturbs_its_channel_alone() -> None:
    """From its beginning to its end."""
    values = signals(3, 2, 0.1, 900.0, ageing=False)
    off = disturb(values, [_FAULT], 900.0, 3) != values
    assert [(row, 10) for row in (8, 9)] == [tuple(each) for each in np.argwhere(off).tolist()]


def test_an_alert_finds_a_fault_on_its_channel_up_to_an_hour_after_it() -> None:
    """On the others of its machine it may come of it, for a day."""
    for channel, after_s, finds, touches in (
        ("m1/s2", 0.0, True, True),
        ("m1/s2", 5000.0, True, True),
        ("m1/s2", 6000.0, False, True),
        ("m1/s3", 100.0, False, True),
        ("m0/s2", 100.0, False, False),
        ("m1/s2", 90_000.0, False, False),
        ("m1/s2", -10.0, False, False),
    ):
        at = np.datetime64(int((retraining.START_S + 7200.0 + after_s) * 1000), "ms")
        alert = replace(
            transition("raised", channel, 5, 2, 0), channel=channel, updated_at=f"{at}+00:00"
        )
        assert (finds, touches) == (_FAULT.finds(alert), _FAULT.touches(alert))
