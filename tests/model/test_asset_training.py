"""What training an asset network promises: the same weights from the same data, nothing worse than
the regression it starts from, a relation that only memory shows, and an end when it is told."""

import numpy as np
import torch
from numpy.typing import NDArray

from anomalyd.model.asset import AssetConfig, AssetNetwork
from anomalyd.model.asset_training import AssetPlan, standardise, train

Array = NDArray[np.float64]

CONFIG = AssetConfig(("drive", "follower"), ("command",), hidden=12)
QUICK = AssetPlan(steps=60, check_every=20)


def machine(rows: int, seed: int) -> Array:
    """A drive that does what it likes, a follower with inertia, and the command that both obey."""
    rng = np.random.default_rng(seed)
    command = np.repeat(rng.standard_normal(rows // 20 + 1), 20)[:rows]
    drive = command + 0.5 * rng.standard_normal(rows)
    follower = np.zeros(rows)
    for at in range(1, rows):
        follower[at] = 0.85 * follower[at - 1] + 0.15 * drive[at]
    return np.stack([40.0 + drive, 5.0 * follower, command], axis=1)


def same(one: AssetNetwork, other: AssetNetwork) -> bool:
    theirs = other.weights
    return all(np.array_equal(each, theirs[name]) for name, each in one.weights.items())


def test_the_same_data_and_seed_give_the_same_weights() -> None:
    """And another seed gives others; torch's own random numbers are left alone."""
    data = [machine(400, 1), machine(300, 2)]
    before = torch.random.get_rng_state()
    first, _ = train(data, CONFIG, 1, QUICK)
    assert torch.equal(before, torch.random.get_rng_state())
    again, _ = train(data, CONFIG, 1, QUICK)
    other, _ = train(data, CONFIG, 2, QUICK)
    assert same(first, again)
    assert not same(first, other)


def test_memory_beats_the_regression_it_starts_from() -> None:
    """The follower has inertia: what it should be is not in the newest values alone."""
    _, report = train([machine(1500, seed) for seed in (1, 2)], CONFIG, 1, AssetPlan(steps=400))
    assert report.mae < 0.8 * report.mae_linear
    assert report.mae_linear < report.mae_mean
    assert (2, 600) == (report.assets, report.rows)


def test_noise_is_not_learnt_by_heart() -> None:
    """Members that have nothing to do with each other: the mean can't be beaten, and hardly lost
    against."""
    noise = np.random.default_rng(0).standard_normal((400, 3))
    _, report = train([noise], CONFIG, 1, QUICK)
    assert report.mae <= report.mae_linear
    assert report.mae < 1.05 * report.mae_mean


def test_where_an_asset_stands_is_not_learnt() -> None:
    """Another unit and another level are the same asset."""
    data = machine(300, 1)
    plain, _ = train([data], CONFIG, 1, QUICK)
    scaled, _ = train([data * [100.0, 1e-3, 7.0] + [5.0, -3.0, 1e4]], CONFIG, 1, QUICK)
    for name, weights in plain.weights.items():
        np.testing.assert_allclose(weights, scaled.weights[name], rtol=1e-5, atol=1e-3)


def test_a_channel_that_never_moves_is_nought() -> None:
    """It has no spread to be measured in."""
    values = np.full((200, 2), 0.1)
    values[:, 1] = np.arange(200)
    assert not standardise(values)[:, 0].any()


def test_training_ends_when_it_is_told() -> None:
    """`should_stop` is asked before every batch; what was best so far is handed back."""
    done: list[int] = []
    network, _ = train(
        [machine(300, 1)],
        CONFIG,
        1,
        QUICK,
        lambda: len(done) >= 3,
        lambda step, _: done.append(step),
    )
    assert [1, 2, 3] == done
    assert all(np.isfinite(each).all() for each in network.weights.values())
