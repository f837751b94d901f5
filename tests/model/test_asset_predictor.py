"""Stepping an asset network: unknown while an asset is young, in channel units afterwards, one
batch for many assets, and unmoved by what is not normal."""

import numpy as np
import torch
from numpy.typing import NDArray

from anomalyd.model.asset import AssetConfig
from anomalyd.model.asset_module import AssetModule
from anomalyd.model.asset_predictor import AssetPredictor

Array = NDArray[np.float64]

CAPACITY = 12
KNOWN = 120
ROWS = np.array([[4, 2, 7]])


def predictor() -> AssetPredictor:
    """Two members that are each other, and an input that nobody needs."""
    torch.manual_seed(0)
    network = AssetModule(AssetConfig(("left", "right"), ("command",), hidden=4))
    with torch.no_grad():
        network.linear[0, 1] = network.linear[1, 0] = 1.0
        network.scale.fill_(0.1)
    return AssetPredictor(network.network(), "twins", CAPACITY)


def twins(readings: int) -> Array:
    """(readings, 3)"""
    common = np.random.default_rng(1).standard_normal(readings)
    return np.stack([20.0 + 2.0 * common, -300.0 + 50.0 * common, np.zeros(readings)], axis=1)


def run(live: AssetPredictor, values: Array, rows: NDArray[np.intp] = ROWS) -> tuple[Array, Array]:
    """(readings, members) of one asset."""
    learns = np.ones(1, dtype=np.bool_)
    both = [live.observe(rows, each[None], learns) for each in values]
    return np.stack([one[0] for one, _ in both]), np.stack([one[0] for _, one in both])


def test_a_young_asset_expects_nothing() -> None:
    """Where its channels stand takes a while to know."""
    expected, scale = run(predictor(), twins(KNOWN + 5))
    assert np.isnan(expected[:KNOWN]).all()
    assert np.isnan(scale[:KNOWN]).all()
    assert np.isfinite(expected[KNOWN:]).all()


def test_what_is_expected_is_in_channel_units() -> None:
    """Each twin is what the other says, at its own level and with its own spread."""
    values = twins(600)
    expected, scale = run(predictor(), values)
    assert np.allclose(values[300:, :2], expected[300:], atol=1e-3)
    spread = values[:400, :2].std(axis=0)
    assert np.allclose(0.1 * spread, scale[-1], rtol=1e-3)


def test_many_assets_are_one_batch() -> None:
    """What is expected of an asset does not depend on what is asked with it."""
    live, values = predictor(), twins(200)
    alone, _ = run(predictor(), values)
    rows = np.array([[4, 2, 7], [0, 1, 3]])
    for at, each in enumerate(values):
        both, _ = live.observe(rows, np.stack([each, -each]), np.ones(2, dtype=np.bool_))
        assert np.allclose(alone[at], both[0], atol=1e-5, equal_nan=True)


def test_what_is_not_normal_moves_no_standard() -> None:
    """Readings under alert say nothing of where a channel stands."""
    live, values = predictor(), twins(300)
    run(live, values[:150])
    for _ in range(100):
        live.observe(ROWS, np.array([[1e6, 1e6, 0.0]]), np.zeros(1, dtype=np.bool_))
    expected, _ = live.observe(ROWS, values[150][None], np.zeros(1, dtype=np.bool_))
    assert np.allclose(values[150, :2], expected[0], rtol=0.05)


def test_a_forgotten_asset_begins_anew() -> None:
    """Its rows are somebody else's now."""
    live = predictor()
    run(live, twins(300))
    live.reset(ROWS.ravel())
    expected, _ = run(live, twins(3))
    assert np.isnan(expected).all()


def test_another_network_serves_from_one_comparison_to_the_next() -> None:
    """Where the channels stand is known still; what the LSTM remembers isn't, however large it
    is."""
    live, values = predictor(), twins(600)
    run(live, values)
    torch.manual_seed(1)
    network = AssetModule(AssetConfig(("left", "right"), ("command",), hidden=6)).network()
    live.renew(network, "others")
    assert "others" == live.name
    assert (0.0, 6) == (live._h.max(), live._h.shape[1])
    expected, scale = run(live, values)
    assert np.isfinite(expected).all()
    assert np.allclose(values[:400, :2].std(axis=0), scale[0], rtol=1e-3)
