"""Hearing's rules: deaf is connected and without messages for far longer than ever; told once."""

from anomalyd.runtime.hearing import Hearing


def heard(until_s: float) -> Hearing:
    """A message a second, looked at twice a second."""
    hearing = Hearing()
    for tick in range(int(2 * until_s)):
        assert not hearing.deaf(tick / 2.0, tick // 2, 1)
    return hearing


def test_a_connection_without_messages_is_given_up_once() -> None:
    """After half a minute here; again only once it has been heard."""
    hearing = heard(120.0)
    told = [second for second in range(120, 600) if hearing.deaf(float(second), 119, 1)]
    assert 1 == len(told) == hearing.reconnects
    assert 149 <= told[0] <= 151


def test_without_a_connection_nobody_is_deaf() -> None:
    """And a new connection is given its time."""
    hearing = heard(120.0)
    assert not any(hearing.deaf(float(second), 119, 0) for second in range(120, 600))
    assert not any(hearing.deaf(float(second), 119, 2) for second in range(600, 629))


def test_a_host_that_stood_still_was_not_deaf() -> None:
    """What was said meanwhile may not be read yet: it is given its time."""
    hearing = heard(120.0)
    assert not any(hearing.deaf(float(second), 119, 1) for second in range(180, 209))
