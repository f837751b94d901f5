"""Training follows from data and seed, stops when asked, and learns."""

from __future__ import annotations

import numpy as np
import torch

from anomalyd.model import training
from anomalyd.model.next_step import NextStep
from anomalyd.model.synthetic import corpus
from anomalyd.model.training import TrainingPlan

_SHORT = TrainingPlan(steps=24, series_a_batch=16, chunk=64)


def _train(seed: int, plan: TrainingPlan = _SHORT, start: NextStep | None = None) -> NextStep:
    lessons = training.prepare(corpus(5, 24, 257).values)
    return training.train(lessons, seed, plan, start)


def _weights(network: NextStep) -> list[torch.Tensor]:
    return list(network.state_dict().values())


def test_the_same_seed_gives_the_same_weights() -> None:
    """Two runs are equal to the last bit, and another seed gives other weights."""
    first, again, other = _train(1), _train(1), _train(2)
    assert all(map(torch.equal, _weights(first), _weights(again)))
    assert not all(map(torch.equal, _weights(first), _weights(other)))


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
    before = [weight.clone() for weight in _weights(start)]
    unchanged = _train(2, TrainingPlan(learning_rate=0.0, steps=1), start)
    assert all(map(torch.equal, _weights(start), _weights(unchanged)))
    assert not all(map(torch.equal, _weights(start), _weights(_train(2, _SHORT, start))))
    assert all(map(torch.equal, before, _weights(start)))


def test_it_stops_before_the_next_batch_when_asked() -> None:
    """`should_stop` is asked before every batch."""
    lessons = training.prepare(corpus(5, 8, 129).values)
    done: list[int] = []
    training.train(
        lessons,
        1,
        _SHORT,
        should_stop=lambda: len(done) == 3,
        progress=lambda step, loss: done.append(step),
    )
    assert [1, 2, 3] == done


def test_it_learns() -> None:
    """A few hundred batches on sines beat persistence, which they could not before."""
    time = np.arange(513)
    phases = np.random.default_rng(1).random(32)
    sines = np.sin(2 * np.pi * (time[None, :] / 25 + phases[:, None]))
    network = training.train(
        training.prepare(sines), 1, TrainingPlan(steps=200, series_a_batch=32, learning_rate=1e-2)
    )
    report = training.evaluate(network, sines, np.full(32, 25.0))
    assert report.mae < 0.2
