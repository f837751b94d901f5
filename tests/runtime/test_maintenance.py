"""A channel is in maintenance until the latest end of the patterns that match it."""

import math

from anomalyd.adapters.outbox import Window
from anomalyd.runtime.maintenance import Maintenance, until_s

WINDOWS = tuple(
    Window(pattern, until, 0.0, None, None) for pattern, until in (("l/*", 5.0), ("l/m/x", 9.0))
)


def test_the_latest_end_holds() -> None:
    assert 9.0 == until_s(WINDOWS, "l/m/x")
    assert 5.0 == until_s(WINDOWS, "l/m/y")
    assert -math.inf == until_s(WINDOWS, "k/m/x")


def test_the_newest_windows_are_taken_once() -> None:
    maintenance = Maintenance()
    assert maintenance.take() is None
    maintenance.offer(WINDOWS)
    maintenance.offer(())
    assert () == maintenance.take()
    assert maintenance.take() is None
