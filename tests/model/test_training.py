"""Training follows from data and seed, stops when asked, and learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalyd.detection.experts import HORIZONS
from anomalyd.detection.reading import Floats
from anomalyd.model import training
from anomalyd.model.next_step import NextStep, NextStepConfig
from anomalyd.model.synthetic import corpus
from anomalyd.model.training import Series, TrainingPlan

_SHORT = TrainingPlan(steps=24, series_a_batch=16, chunk=64)


def _drawn(series: int, readings: int) -> Series:
    drawn = corpus(5, series, readings)
    return Series(drawn.values, drawn.start_s, drawn.interval_s, drawn.period)


def _each_second(values: Floats, period: float = 0.0) -> Series:
    """(N, T + 1) values, a reading a second."""
    zeros = np.zeros(values.shape[0])
    return Series(values, zeros, zeros + 1.0, zeros + period)


def _train(seed: int, plan: TrainingPlan = _SHORT, start: NextStep | None = None) -> NextStep:
    lessons = training.prepare(_drawn(24, 257))
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
    lessons = training.prepare(_drawn(8, 129))
    done: list[int] = []
    training.train(
        lessons,
        1,
        _SHORT,
        should_stop=lambda: len(done) == 3,
        progress=lambda step, loss: done.append(step),
    )
    assert [1, 2, 3] == done


def _sines(series: int, seed: int, readings: int = 513) -> Series:
    phases = np.random.default_rng(seed).random((series, 1))
    return _each_second(np.sin(2 * np.pi * (np.arange(readings) / 25 + phases)), 25.0)


def test_it_learns() -> None:
    """A few hundred batches on sines beat persistence at every horizon, on sines not learnt."""
    plan = TrainingPlan(steps=200, series_a_batch=32, learning_rate=1e-2)
    network = training.train(training.prepare(_sines(32, seed=1)), 1, plan)
    report = training.evaluate(network, _sines(16, seed=2))
    assert max(report.mae) < 0.2


def test_a_lesson_is_what_comes_so_many_readings_ahead() -> None:
    """The target of each horizon is that value, from the newest one, in units of scale; unknown
    beyond the end."""
    values = np.random.default_rng(3).standard_normal((2, 101))
    lessons = training.prepare(_each_second(values))
    for index, horizon in enumerate(HORIZONS):
        last = 101 - horizon
        said = values[:, :last] + lessons.target[:, :last, index].numpy() * lessons.scale[:, :last]
        # The first readings' scale is next to nothing, and what is too far out is cut.
        assert values[:, 40 + horizon :] == pytest.approx(said[:, 40:], abs=1e-4)
        assert torch.isnan(lessons.target[:, last:, index]).all()
        assert not torch.isnan(lessons.target[:, :last, index]).any()


def test_a_lesson_knows_nothing_of_the_future() -> None:
    """What the network sees of a reading is the same whatever comes later."""
    values = np.random.default_rng(4).standard_normal((2, 301))
    changed = values.copy()
    changed[:, 200:] += 50.0
    plain, other = training.prepare(_each_second(values)), training.prepare(_each_second(changed))
    assert torch.equal(plain.features[:, :200], other.features[:, :200])
    assert torch.equal(plain.experts[:, :200], other.experts[:, :200])


def test_the_report_is_in_units_of_persistence() -> None:
    """An untrained network that says the last value scores 1; "as one cycle ago" scores 0 on what
    repeats itself, and 1 where nobody knows of a cycle."""
    network = NextStep(NextStepConfig())
    with torch.no_grad():
        for weights in network.parameters():
            weights.zero_()
        network.head.bias.view(len(HORIZONS), -1)[:, 0] = 50.0
    repeated = training.evaluate(network, _sines(4, seed=2))
    assert [1.0] * 3 == pytest.approx(repeated.mae, abs=1e-6)
    assert [0.0] * 3 == pytest.approx(repeated.mae_seasonal_naive, abs=1e-6)
    assert max(repeated.mae_best_expert) <= 1.0 + 1e-6
    aperiodic = _sines(4, seed=2)._replace(period=np.zeros(4))
    known = training.evaluate(network, aperiodic).mae_seasonal_naive
    assert [1.0] * 3 == pytest.approx(known, abs=1e-6)
