"""The predictor steps channels in any batch as it would step them alone."""

from __future__ import annotations

import numpy as np
import pytest

from anomalyd.detection.experts import HORIZONS, Beats
from anomalyd.detection.reading import Flags, Floats
from anomalyd.detection.views import Expected
from anomalyd.model import checkpoint
from anomalyd.model.predictor import NextStepPredictor, Prediction
from anomalyd.model.synthetic import corpus

FURTHEST = HORIZONS[-1]


@pytest.fixture
def predictor() -> NextStepPredictor:
    return NextStepPredictor(checkpoint.shipped_network(), "shipped", 64)


def _live(
    predictor: NextStepPredictor, rows: list[int], values: Floats, gaps: Flags | None = None
) -> list[Prediction]:
    """(channels, readings), a reading a second."""
    at, size = np.array(rows), len(rows)
    gaps = np.zeros(values.shape[1], np.bool_) if gaps is None else gaps
    return [
        predictor.observe(
            at, each, Beats(np.full(size, float(index)), np.ones(size), np.full(size, gaps[index]))
        )
        for index, each in enumerate(values.T)
    ]


def _next(predictions: list[Prediction]) -> Floats:
    """(channels, readings) what was expected next."""
    return np.stack([each.expected[Expected.NEXT] for each in predictions], axis=1)


def test_a_channel_is_predicted_the_same_alone_and_among_others(
    predictor: NextStepPredictor,
) -> None:
    """Rows don't mix: the batch changes only the last bits."""
    values = corpus(4, 6, 200).values
    together = _live(predictor, [0, 1, 2, 3, 4, 5], values)
    alone = _live(predictor, [40], values[3:4])
    for many, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(many.expected[:, 3], one.expected[:, 0], rtol=1e-5)
        np.testing.assert_allclose(many.ahead[:, 3], one.ahead[:, 0], rtol=1e-5)
        np.testing.assert_allclose(many.scale[3], one.scale[0], rtol=1e-4)


def test_a_row_that_is_reset_starts_afresh(predictor: NextStepPredictor) -> None:
    """Nothing of a retired channel is left for the next one in its row."""
    values = corpus(4, 2, 200).values
    fresh = _live(predictor, [7], values[:1])
    _live(predictor, [7], values[1:])
    predictor.reset(np.array([7]))
    for first, again in zip(fresh, _live(predictor, [7], values[:1]), strict=True):
        assert first.expected.tobytes() == again.expected.tobytes()
        assert first.ahead.tobytes() == again.ahead.tobytes()


@pytest.mark.parametrize(("factor", "offset"), [(1000.0, 0.0), (1e-3, 0.0), (1.0, 273.15)])
def test_units_do_not_matter(predictor: NextStepPredictor, factor: float, offset: float) -> None:
    """The same signal in other units is predicted the same, in those units."""
    values = corpus(9, 1, 400).values
    kelvin = _next(_live(predictor, [0], values))
    other = _next(_live(predictor, [1], factor * values + offset))
    within = 1e-4 * factor * float(np.ptp(values))
    np.testing.assert_allclose(factor * kelvin + offset, other, rtol=0.0, atol=within)


def test_a_constant_channel_is_predicted_exactly(predictor: NextStepPredictor) -> None:
    """Nothing is divided by zero, and the forecast is the constant."""
    for prediction in _live(predictor, [0], np.full((1, 300), 21.5))[50:]:
        np.testing.assert_allclose(prediction.expected, 21.5, atol=1e-6)
        np.testing.assert_allclose(prediction.ahead, 21.5, atol=1e-6)


def test_what_was_said_long_before_is_of_the_next_value(predictor: NextStepPredictor) -> None:
    """The forecast 24 readings ahead comes back when the next value is the one that it was for;
    before, nothing was said."""
    predictions = _live(predictor, [3], corpus(2, 1, 120).values)
    said = [float(each.expected[Expected.AHEAD, 0]) for each in predictions]
    assert np.isnan(said[: FURTHEST - 1]).all()
    furthest = [float(each.ahead[-1, 0]) for each in predictions]
    assert furthest[: len(said) - FURTHEST + 1] == said[FURTHEST - 1 :]


def test_nothing_is_said_across_a_gap(predictor: NextStepPredictor) -> None:
    """What was forecast before a silence is of no value after it."""
    gaps = np.arange(120) == 60
    predictions = _live(predictor, [3], corpus(2, 1, 120).values, gaps)
    said = np.isnan([float(each.expected[Expected.AHEAD, 0]) for each in predictions])
    assert not said[FURTHEST - 1 : 60].any() and not said[60 + FURTHEST - 1 :].any()
    assert said[60 : 60 + FURTHEST - 1].all()


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30, 1e36])
def test_predictions_are_finite_whatever_comes(predictor: NextStepPredictor, size: float) -> None:
    """Values of any size, jumps included, lead to numbers."""
    values = size * np.random.default_rng(0).choice([-1.0, 0.0, 0.5, 1.0], (1, 200))
    for prediction in _live(predictor, [0], values):
        assert np.isfinite(prediction.expected[[Expected.NEXT, Expected.USUAL]]).all()
        assert np.isfinite(prediction.ahead).all() and np.isfinite(prediction.scale).all()
        assert (prediction.scale > 0.0).all()
