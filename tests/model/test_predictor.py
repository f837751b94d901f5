"""The predictor steps channels in any batch as it would step them alone."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pytest

from anomalyd.detection.experts import HORIZONS, Beats
from anomalyd.detection.reading import Floats
from anomalyd.detection.views import Expected
from anomalyd.model import checkpoint
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.model.synthetic import DAY_S, corpus

_FURTHEST = HORIZONS[-1]
_INTERVAL_S = 60.0


class Said(NamedTuple):
    """What was said after each of T readings of B channels."""

    expected: Floats
    """(expected, B, T)"""
    scale: Floats
    """(B, T)"""
    ahead: Floats
    """(horizons, B, T)"""

    @property
    def following(self) -> Floats:
        """(B, T) of the next value."""
        following: Floats = self.expected[Expected.NEXT]
        return following


@pytest.fixture
def predictor() -> NextStepPredictor:
    return NextStepPredictor(checkpoint.shipped_network(), "shipped", 64)


def _said(
    predictor: NextStepPredictor,
    rows: list[int],
    values: Floats,
    gaps: Collection[int] = (),
    interval_s: float = _INTERVAL_S,
) -> Said:
    """`values`: (B, T); the readings in `gaps` come after one."""
    every = np.ones(len(rows))
    said = []
    for at, each in enumerate(values.T):
        beats = Beats(at * interval_s * every, interval_s * every, np.full(len(rows), at in gaps))
        said.append(predictor.observe(np.array(rows), each, beats)[:3])
    return Said(*(np.stack(figures, axis=-1) for figures in zip(*said, strict=True)))


def test_a_channel_is_predicted_the_same_alone_and_among_others(
    predictor: NextStepPredictor,
) -> None:
    """Rows don't mix: the batch changes only the last bits."""
    values = corpus(4, 6, 200).values
    together = _said(predictor, [0, 1, 2, 3, 4, 5], values)
    alone = _said(predictor, [40], values[3:4])
    np.testing.assert_allclose(together.expected[:, 3], alone.expected[:, 0], rtol=1e-5)
    np.testing.assert_allclose(together.ahead[:, 3], alone.ahead[:, 0], rtol=1e-5)
    np.testing.assert_allclose(together.scale[3], alone.scale[0], rtol=1e-4)


def test_a_row_that_is_reset_starts_afresh(predictor: NextStepPredictor) -> None:
    """Nothing of a retired channel is left for the next one in its row."""
    values = corpus(4, 2, 100).values
    fresh = _said(predictor, [7], values[:1])
    _said(predictor, [7], values[1:])
    predictor.reset(np.array([7]))
    for before, after in zip(fresh, _said(predictor, [7], values[:1]), strict=True):
        assert np.array_equal(before, after, equal_nan=True)


def test_units_do_not_matter(predictor: NextStepPredictor) -> None:
    """The same signal in other units is predicted the same, in those units."""
    values = corpus(9, 1, 400).values
    kelvin = _said(predictor, [0], values)
    millikelvin = _said(predictor, [1], 1000.0 * values)
    for one, thousand in zip(kelvin, millikelvin, strict=True):
        np.testing.assert_allclose(1000.0 * one, thousand, rtol=1e-4, atol=1e-2)


def test_a_constant_channel_is_predicted_exactly(predictor: NextStepPredictor) -> None:
    """Nothing is divided by zero, and every forecast is the constant."""
    said = _said(predictor, [0], np.full((1, 300), 21.5))
    np.testing.assert_allclose(said.expected[:, 0, 50:], 21.5, atol=1e-6)
    np.testing.assert_allclose(said.ahead[:, 0, 50:], 21.5, atol=1e-6)


def test_the_resolution_is_the_smallest_change(predictor: NextStepPredictor) -> None:
    """0 while a channel has never changed."""
    _said(predictor, [0, 1], np.array([[20.0, 20.5, 22.0, 20.0], [3.0, 3.0, 3.0, 3.0]]))
    assert predictor.quantum(np.array([1, 0])).tolist() == [0.0, 0.5]


def test_it_looks_ahead_by_every_horizon(predictor: NextStepPredictor) -> None:
    """Each row of `ahead` is nearer to the value so far ahead than persistence is, on sines; the
    first is what is expected next."""
    time = np.arange(600)
    sines = np.sin(2 * np.pi * (time / 50.0 + np.arange(8)[:, None] / 8))
    said = _said(predictor, list(range(8)), sines)
    assert said.ahead.shape == (len(HORIZONS), 8, 600)
    assert np.array_equal(said.following, said.ahead[0])
    for ahead, horizon in zip(said.ahead, HORIZONS, strict=True):
        missed = np.abs(ahead[:, 300:-horizon] - sines[:, 300 + horizon :]).mean()
        assert missed < 0.5 * np.abs(sines[:, 300:-horizon] - sines[:, 300 + horizon :]).mean()


def test_what_was_said_24_readings_before_is_remembered(predictor: NextStepPredictor) -> None:
    """Of the next value, by the furthest forecast that was made for it; NaN before there is one."""
    said = _said(predictor, [3, 5], corpus(4, 2, 200).values)
    before = said.expected[Expected.AHEAD]
    assert bool(np.isnan(before[:, : _FURTHEST - 1]).all())
    assert np.array_equal(before[:, _FURTHEST - 1 :], said.ahead[-1][:, : 1 - _FURTHEST])


def test_a_gap_forgets_the_forecasts_that_wait(predictor: NextStepPredictor) -> None:
    """They were made for other times: NaN until there are new ones, on this channel only."""
    values = corpus(4, 2, 200).values
    gap = 100
    before = _said(predictor, [0], values[:1], gaps=[gap]).expected[Expected.AHEAD, 0]
    said = _said(predictor, [1], values[:1], gaps=[gap])
    missing = np.flatnonzero(np.isnan(before[_FURTHEST:])) + _FURTHEST
    assert missing.tolist() == list(range(gap, gap + _FURTHEST - 1))
    resumed = gap + _FURTHEST - 1
    assert np.array_equal(before[resumed:], said.ahead[-1, 0, gap : 1 - _FURTHEST])


def test_what_is_usual_follows_the_time_of_day(predictor: NextStepPredictor) -> None:
    """It is there from the first reading, and after some days is the day's curve."""
    day = 96
    time = np.arange(8 * day)
    curve = 50.0 + 5.0 * np.sin(2 * np.pi * time[None, :] / day)
    said = _said(predictor, [0], curve, interval_s=DAY_S / day)
    usual = said.expected[Expected.USUAL]
    assert bool(np.isfinite(usual).all())
    assert np.abs(usual[0, 5 * day : -1] - curve[0, 5 * day + 1 :]).mean() < 0.5


def test_skill_tells_the_network_from_the_best_expert(predictor: NextStepPredictor) -> None:
    """It has some where noise lies on a wave, none where its forecasts are spoilt, and is unknown
    at first, after a reset, and where nothing ever changes."""
    steps = np.arange(600.0)
    noise = np.random.default_rng(2).normal(0.0, 0.3, 600)
    values = np.stack([np.sin(steps / 5.0) + noise, np.full(600, 7.0)])
    _said(predictor, [0, 1], values[:, :50])
    assert np.isnan(predictor.skill(np.array([0, 1]))).all()
    _said(predictor, [0, 1], values)
    good, still = predictor.skill(np.array([0, 1]))
    assert 0.0 < good < 1.0
    assert np.isnan(still)

    spoilt = checkpoint.shipped_network()
    spoilt.weights["head.bias"][:] = 30.0
    worse = NextStepPredictor(spoilt, "spoilt", 64)
    _said(worse, [0], values[:1])
    assert worse.skill(np.array([0]))[0] < -0.5
    predictor.reset(np.array([0]))
    assert np.isnan(predictor.skill(np.array([0]))).all()
