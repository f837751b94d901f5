"""Times to a limit, as the shipped forecaster tells them."""

from __future__ import annotations

import numpy as np
import pytest

from anomalyd.detection.reading import Floats
from anomalyd.model import checkpoint
from anomalyd.model.encoder_decoder import EncoderDecoder
from anomalyd.model.forecaster import Forecaster, Passage


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    network = checkpoint.load(checkpoint.shipped(checkpoint.SHIPPED_FORECAST)).network
    assert isinstance(network, EncoderDecoder)
    return Forecaster(network, "shipped")


def _ask(forecaster: Forecaster, windows: Floats, limits: Floats) -> Passage:
    filled = np.full(len(windows), windows.shape[1])
    return forecaster.passages(windows, filled, limits)


def _ramp(noise: float) -> Floats:
    """(64,) a rise by one a block, up to 0."""
    rise = np.arange(-63.0, 1.0)
    return rise + noise * np.random.default_rng(1).standard_normal(64)


@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0])
def test_a_steady_rise_reaches_its_limit_when_it_should(
    forecaster: Forecaster, noise: float
) -> None:
    """The truth, 15 blocks from now, lies within the interval, and the middle is not far."""
    found = _ask(forecaster, _ramp(noise)[None], np.array([15.0]))
    assert found.chance[0] > 0.9
    assert found.earliest[0] <= 15.0 <= found.latest[0]
    assert pytest.approx(15.0, abs=3.0) == found.likely[0]


def test_times_come_in_order_and_later_for_farther_limits(forecaster: Forecaster) -> None:
    """Earliest, likely, latest; a farther limit is reached later and less likely."""
    limits = np.linspace(2.0, 40.0, 12)
    found = _ask(forecaster, np.tile(_ramp(1.0), (12, 1)), limits)
    assert (found.earliest <= found.likely).all()
    assert (found.likely <= found.latest).all()
    for times in found[1:]:
        assert (np.diff(times[np.isfinite(times)]) >= 0).all()
    assert (np.diff(found.chance) <= 1e-9).all()


def test_a_limit_that_is_out_of_reach_is_never_reached(forecaster: Forecaster) -> None:
    """Nor by a channel that has never moved, nor by one that falls."""
    windows = np.stack((_ramp(1.0), np.zeros(64), -_ramp(1.0)))
    found = _ask(forecaster, windows, np.array([1e6, 1.0, 150.0]))
    assert (found.chance < 0.1).all()
    assert np.isinf(found.latest).all()


def test_a_batch_says_what_each_says_alone(forecaster: Forecaster) -> None:
    """To the last digits that a sum's order changes."""
    windows = np.random.default_rng(2).normal(size=(20, 64)).cumsum(axis=1)
    limits = windows[:, -1] + 3.0
    together = _ask(forecaster, windows, limits)
    alone = [_ask(forecaster, windows[[at]], limits[[at]]) for at in range(20)]
    for column, each in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(column, np.concatenate(each), rtol=1e-3)
