"""The reference's rules: a fault is held until it ends or is accepted, noise and drifts stay
silent, and nothing depends on the channel's unit."""

import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyd.detection.reference import COMMISSIONING_READINGS, Reference

Array = NDArray[np.float64]

COMMISSIONED = int(COMMISSIONING_READINGS)
RISK = 1e-6


class Watch:
    """References of some channels, read in step."""

    def __init__(self, channels: int, risk: float = RISK) -> None:
        self.reference = Reference(channels)
        self.rows = np.arange(channels)
        self.risk = np.full(channels, risk)

    def read(self, values: Array, accepted: bool = False) -> Array:
        """(readings, channels) in, scores out; what scores 1 is under alert."""
        scores = np.empty(values.shape)
        accept = np.full(self.rows.size, accepted)
        for at, each in enumerate(values):
            held = self.reference.look(self.rows, each, np.zeros(self.rows.size), self.risk)
            self.reference.learn(self.rows, held, (held.score < 1.0) | accept, accept)
            scores[at] = held.score
        return scores


def noise(readings: int, channels: int = 1, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((readings, channels))


def raised(scores: Array) -> int:
    """Crossings of the limit."""
    above = scores >= 1.0
    return int((above[1:] & ~above[:-1]).sum())


def test_a_channel_that_is_being_commissioned_has_no_reference() -> None:
    """Whatever it says, it is what it is."""
    values = noise(COMMISSIONED)
    values[200:] += 50.0
    assert not Watch(1).read(values).any()


def test_a_fault_is_held_as_long_as_it_lasts() -> None:
    """A level that has left does not become normal by staying away, and ends when it ends."""
    values = noise(8000)
    values[3000:6000] += 2.0
    scores = Watch(1).read(values)
    assert (scores[:3000] < 1.0).all()
    assert (scores[3050:6000] >= 1.0).all()
    assert (scores[6060:] < 1.0).all()


def test_a_fault_that_comes_again_is_seen_again() -> None:
    """Having been under alert doesn't blind a channel."""
    values = noise(9000)
    for begin in (2000, 4000, 6000):
        values[begin : begin + 800] += 2.0
    scores = Watch(1).read(values)
    for begin in (2000, 4000, 6000):
        assert (scores[begin + 100 : begin + 800] >= 0.8).mean() > 0.9


def test_a_new_normal_is_commissioned_anew() -> None:
    """Once an alert is accepted, the level it left behind is forgotten."""
    watch, values = Watch(1), noise(4000)
    values[1000:] += 20.0
    assert watch.read(values[:1100])[-1] >= 1.0
    watch.read(values[1100:1101], accepted=True)
    later = watch.read(values[1101:])
    assert (later < 1.0).all()
    assert watch.read(np.zeros((60, 1)))[-1] >= 1.0


@pytest.mark.parametrize("promised", [1e-5, 1e-4])
def test_noise_keeps_the_promise(promised: float) -> None:
    """False alarms of white noise are of the order that was allowed, or fewer."""
    scores = Watch(100, promised).read(noise(6000, 100))
    assert raised(scores) <= 3 * promised * scores.size


def test_bursts_leave_more_room_than_noise() -> None:
    """Of two channels whose batches vary alike, the limit of the one that does so in bursts is
    further out."""
    values = noise(6000, 2)
    draws = np.random.default_rng(1)
    values[:, 1] *= np.repeat(draws.choice([0.3, 3.0], 300, p=[0.9, 0.1]), 20)
    values[:, 1] *= values[:, 0].std() / values[:, 1].std()
    watch = Watch(2)
    watch.read(values)
    held = watch.reference.look(watch.rows, np.zeros(2), np.zeros(2), watch.risk)
    assert held.limit[1] > 1.3 * held.limit[0]


def test_a_channel_without_a_level_of_its_own_stays_silent() -> None:
    """A steady drift and a slow cycle are what such a channel does; the noise is small."""
    at = np.arange(8000.0)
    drift, day = 1e-3 * at, np.sin(2 * np.pi * at / 4000.0)
    values = np.stack([drift, -drift, day, -day], axis=1) + 0.05 * noise(8000, 4)
    assert 0 == raised(Watch(4).read(values))


def test_an_outlier_is_no_level() -> None:
    """One wild value moves nothing, however wild."""
    values = noise(3000)
    plain = Watch(1).read(values)
    values[2000] = 1e9
    wild = Watch(1).read(values)
    assert (wild < 1.0).all()
    assert np.allclose(plain[2200:], wild[2200:], atol=0.05)


def test_the_unit_of_a_channel_changes_no_score() -> None:
    """Scale and offset of a channel are its own business."""
    values = noise(2000)
    values[1500:] += 3.0
    plain, scaled = Watch(1).read(values), Watch(1).read(1e5 * values - 3e6)
    assert np.allclose(plain, scaled, rtol=1e-6)


def test_channels_do_not_disturb_each_other() -> None:
    """A batch of channels gives the scores of each alone."""
    values = noise(1500, 3)
    values[1000:, 1] += 9.0
    together = Watch(3).read(values)
    for channel in range(3):
        alone = Watch(1).read(values[:, [channel]])
        assert np.array_equal(together[:, channel], alone[:, 0])


def test_a_look_changes_nothing() -> None:
    """Asked twice, the same is said twice."""
    watch = Watch(1)
    watch.read(noise(900))
    about = watch.rows, np.array([4.0]), np.zeros(1), watch.risk
    first, second = (watch.reference.look(*about) for _ in range(2))
    assert first == second
