"""Training follows from data and seed, stops when asked, and learns."""

from __future__ import annotations

import numpy as np
import torch

from anomalyd.detection.experts import EXPERTS, FEATURES, HORIZONS, SIGNED_FEATURES
from anomalyd.detection.reading import Floats
from anomalyd.model import training
from anomalyd.model.lstm import Floats32
from anomalyd.model.next_step import NextStep
from anomalyd.model.synthetic import corpus
from anomalyd.model.training import Series, TrainingPlan

_SHORT = TrainingPlan(steps=24, series_a_batch=16, chunk=64)


def _drawn(count: int, length: int) -> Series:
    drawn = corpus(5, count, length)
    return Series(drawn.values, drawn.start_s, drawn.interval_s, drawn.period)


def _every_second(values: Floats, period: float = 0.0) -> Series:
    """`values` (N, T + 1), a reading a second."""
    one = np.ones(values.shape[0])
    return Series(values, 0.0 * one, one, period * one)


def _train(seed: int, plan: TrainingPlan = _SHORT, start: NextStep | None = None) -> NextStep:
    return training.train(training.prepare(_drawn(24, 257)), seed, plan, start)


def _weights(network: NextStep) -> list[Floats32]:
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
    unchanged = _train(2, TrainingPlan(learning_rate=0.0, steps=1), start)
    assert all(map(np.array_equal, _weights(start), _weights(unchanged)))
    assert not all(map(np.array_equal, _weights(start), _weights(_train(2, _SHORT, start))))
    assert all(map(np.array_equal, before, _weights(start)))


def test_it_stops_before_the_next_batch_when_asked() -> None:
    """`should_stop` is asked before every batch."""
    done: list[int] = []
    training.train(
        training.prepare(_drawn(8, 129)),
        1,
        _SHORT,
        should_stop=lambda: len(done) == 3,
        progress=lambda step, loss: done.append(step),
    )
    assert [1, 2, 3] == done


def test_the_target_is_the_change_to_the_value_so_far_ahead() -> None:
    """In units of the channel's scale, from the value last seen; NaN beyond the end."""
    series = _drawn(6, 201)
    lessons = training.prepare(series)
    assert lessons.features.shape == (6, 200, FEATURES)
    assert lessons.experts.shape == (6, 200, len(HORIZONS), len(EXPERTS))
    for index, horizon in enumerate(HORIZONS):
        known, beyond = np.split(lessons.target[..., index].numpy(), [201 - horizon], axis=1)
        change = series.values[:, horizon:] - series.values[:, :-horizon]
        units = np.clip(change / lessons.scale[:, : 201 - horizon], -1e3, 1e3)
        np.testing.assert_allclose(known, units, rtol=1e-4, atol=1e-5)
        assert bool(np.isnan(beyond).all())


def test_only_what_is_signed_turns_with_the_signal() -> None:
    """Upside down, the signed features, experts and targets change sign and nothing else does:
    what training relies on when it turns series over."""
    series = _every_second(_drawn(6, 201).values)
    lessons = training.prepare(series)
    turned = training.prepare(series._replace(values=-series.values))
    sign = torch.ones(FEATURES)
    sign[:SIGNED_FEATURES] = -1.0
    torch.testing.assert_close(turned.features, sign * lessons.features)
    torch.testing.assert_close(turned.experts, -lessons.experts)
    torch.testing.assert_close(turned.target, -lessons.target, equal_nan=True)


def test_it_learns() -> None:
    """A few hundred batches on sines beat persistence at every horizon; none was near it before."""
    time = np.arange(513)
    phases = np.random.default_rng(1).random(32)
    sines = _every_second(np.sin(2 * np.pi * (time[None, :] / 25 + phases[:, None])), 25.0)
    lessons = training.prepare(sines)
    plan = TrainingPlan(steps=200, series_a_batch=32, learning_rate=1e-2)
    untaught = training.train(lessons, 1, TrainingPlan(steps=1, learning_rate=0.0))
    taught = training.train(lessons, 1, plan)
    assert all(error > 0.4 for error in training.evaluate(untaught, sines).mae)
    assert all(error < 0.2 for error in training.evaluate(taught, sines).mae)


def test_the_report_holds_a_figure_for_each_horizon() -> None:
    """On sines of a known period, seasonal-naive makes no error; where there is no period it is
    persistence."""
    time = np.arange(401)
    sines = np.sin(2 * np.pi * (time[None, :] / 25.0 + np.arange(4)[:, None] / 4))
    network = _train(1)
    cyclic = training.evaluate(network, _every_second(sines, 25.0))
    np.testing.assert_allclose(cyclic.mae_seasonal_naive, 0.0, atol=1e-6)
    aperiodic = training.evaluate(network, _every_second(sines))
    np.testing.assert_allclose(aperiodic.mae_seasonal_naive, 1.0, rtol=1e-5)
    assert (4, 4 * (400 - 200 - HORIZONS[-1] + 1)) == (cyclic.series, cyclic.readings)
    for figures in (cyclic.nll, cyclic.nll_persistence, cyclic.mae, cyclic.mae_best_expert):
        assert len(figures) == len(HORIZONS)
