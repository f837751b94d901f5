"""The clock's rules: it follows the host's slowly, and tells its jumps."""

import pytest

from anomalyd.runtime.clock import Clock


def test_small_corrections_are_followed_slowly() -> None:
    """No reading's time goes back by them."""
    wall, steady = [1000.0], [0.0]
    clock = Clock(lambda: wall[0], lambda: steady[0])
    before = clock.now_s()
    wall[0] -= 0.3
    for _ in range(1000):
        wall[0], steady[0] = wall[0] + 0.05, steady[0] + 0.05
        assert 0.0 == clock.follow()
        assert clock.now_s() > before
        before = clock.now_s()
    assert pytest.approx(wall[0], abs=0.01) == clock.now_s()


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 3.2e7, -3.2e7])
def test_a_jump_is_told_once(jump_s: float) -> None:
    """By how much, and the clock is right at once."""
    wall, steady = [1e9], [0.0]
    clock = Clock(lambda: wall[0], lambda: steady[0])
    wall[0] += jump_s
    assert [jump_s, 0.0] == [clock.follow(), clock.follow()]
    assert wall[0] == clock.now_s()
