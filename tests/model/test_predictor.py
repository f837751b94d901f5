"""The predictor steps channels in any batch as it would step them alone."""

from __future__ import annotations

import numpy as np
import pytest

from anomalyd.detection.reading import Floats
from anomalyd.model import checkpoint
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.model.synthetic import corpus


@pytest.fixture
def predictor() -> NextStepPredictor:
    return NextStepPredictor(checkpoint.shipped_network(), "shipped", 64)


def _locations(predictor: NextStepPredictor, rows: list[int], values: Floats) -> Floats:
    at, no_gap = np.array(rows), np.zeros(len(rows), dtype=np.bool_)
    return np.stack([predictor.observe(at, each, no_gap)[0] for each in values.T], axis=1)


def test_a_channel_is_predicted_the_same_alone_and_among_others(
    predictor: NextStepPredictor,
) -> None:
    """Rows don't mix: the batch changes only the last bits."""
    values = corpus(4, 6, 200).values
    together = _locations(predictor, [0, 1, 2, 3, 4, 5], values)
    alone = _locations(predictor, [40], values[3:4])
    np.testing.assert_allclose(together[3], alone[0], rtol=1e-5)


def test_a_row_that_is_reset_starts_afresh(predictor: NextStepPredictor) -> None:
    """Nothing of a retired channel is left for the next one in its row."""
    values = corpus(4, 2, 100).values
    fresh = _locations(predictor, [7], values[:1])
    _locations(predictor, [7], values[1:])
    predictor.reset(np.array([7]))
    assert np.array_equal(fresh, _locations(predictor, [7], values[:1]))


def test_units_do_not_matter(predictor: NextStepPredictor) -> None:
    """The same signal in other units is predicted the same, in those units."""
    values = corpus(9, 1, 400).values
    kelvin = _locations(predictor, [0], values)
    millikelvin = _locations(predictor, [1], 1000.0 * values)
    np.testing.assert_allclose(1000.0 * kelvin, millikelvin, rtol=1e-4, atol=1e-2)


def test_a_constant_channel_is_predicted_exactly(predictor: NextStepPredictor) -> None:
    """Nothing is divided by zero, and the forecast is the constant."""
    locations = _locations(predictor, [0], np.full((1, 300), 21.5))
    np.testing.assert_allclose(locations[0, 50:], 21.5, atol=1e-6)
