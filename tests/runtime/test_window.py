"""The window's rules: batches of one size in quick succession are a bound, and told once."""

import logging
import math

import pytest

from anomalyd.runtime.window import Window


def look(window: Window, sizes: list[int], every_s: float) -> None:
    for at, size in enumerate(sizes):
        window.look(size, at * every_s)


def test_a_bound_ends_the_gathering_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Messages that can't come needn't be waited for."""
    window = Window()
    look(window, [20] * 300, 0.005)
    assert window.linger_s < 0.01
    (line,) = caplog.messages
    assert "sends at most 20 messages before they are acknowledged" in line
    window.look(19, 2.0)
    assert math.inf == window.linger_s


def test_channels_that_speak_at_the_same_time_are_no_bound(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As many every second, or sizes that differ, or hardly any."""
    with caplog.at_level(logging.WARNING):
        look(Window(), [20] * 300, 1.0)
        look(Window(), [20, 21] * 300, 0.005)
        look(Window(), [3] * 300, 0.005)
    assert [] == caplog.messages
