"""Training the forecaster follows from data and seed, stops when asked, and learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from anomalyd.model import forecast_training as training
from anomalyd.model.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from anomalyd.model.forecast_training import ForecastPlan
from anomalyd.model.lstm import Floats32
from anomalyd.model.synthetic_trends import trends

_SHORT = ForecastPlan(steps=6, courses_a_batch=16)
_SMALL = EncoderDecoderConfig(window=32, horizon=8, hidden=8)


def _train(
    seed: int, plan: ForecastPlan = _SHORT, start: EncoderDecoder | None = None
) -> EncoderDecoder:
    return training.train(trends(5, 64, 32, 8), seed, plan, _SMALL, start)


def _weights(network: EncoderDecoder) -> list[Floats32]:
    return list(network.weights.values())


def test_the_same_seed_gives_the_same_weights() -> None:
    """Two runs are equal to the last bit, and another seed gives other weights."""
    first, again, other = _train(1), _train(1), _train(2)
    assert all(map(np.array_equal, _weights(first), _weights(again)))
    assert not all(map(np.array_equal, _weights(first), _weights(other)))


def test_training_leaves_the_random_state_of_others_alone() -> None:
    """A process that trains draws the same numbers afterwards as one that doesn't."""
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    _train(1)
    assert torch.equal(expected, torch.rand(3))


def test_fine_tuning_starts_from_the_weights_given_and_leaves_them_alone() -> None:
    """No learning: the same weights. Some: others, and the start is unchanged."""
    start = _train(1)
    before = [weight.copy() for weight in _weights(start)]
    unchanged = _train(2, replace(_SHORT, learning_rate=0.0), start)
    assert all(map(np.array_equal, _weights(start), _weights(unchanged)))
    assert not all(map(np.array_equal, _weights(start), _weights(_train(2, _SHORT, start))))
    assert all(map(np.array_equal, before, _weights(start)))


def test_it_stops_before_the_next_batch_when_asked() -> None:
    """`should_stop` is asked before every batch."""
    done: list[int] = []
    training.train(
        trends(5, 64, 32, 8),
        1,
        _SHORT,
        _SMALL,
        should_stop=lambda: len(done) == 3,
        progress=lambda step, loss: done.append(step),
    )
    assert [1, 2, 3] == done


def test_it_learns() -> None:
    """A few hundred small batches, and the median beats the line on courses never seen."""
    plan = ForecastPlan(steps=250, courses_a_batch=64, learning_rate=1e-2)
    network = training.train(trends(5, 4000, 32, 8), 1, plan, _SMALL)
    report = training.evaluate(network, trends(6, 1000, 32, 8))
    assert report.mae < report.mae_line
