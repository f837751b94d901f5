"""The Cauchy combination's rules: one channel alone stays as it is, several that are nearly rare
enough are so together, and quiet ones add nothing."""

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.combine import cauchy

LIMIT = 4.5


def lift(*z: float) -> NDArray[np.float64]:
    return cauchy(np.array([z]), np.full((1, len(z)), LIMIT))


def test_a_channel_alone_stays_as_it_is() -> None:
    """What the others say without saying anything does not make it rarer."""
    assert 1.0 == lift(3.0)[0]
    assert np.isclose(1.0, lift(6.0, 0.0, 1.0, 0.5)[0], atol=1e-6)


def test_channels_that_are_nearly_rare_enough_are_so_together() -> None:
    """Eight at 98 % of the limit are beyond it; two at half of it are not lifted at all."""
    assert lift(*[0.98 * LIMIT] * 8)[0] * 0.98 > 1.0
    assert 1.0 == lift(0.5 * LIMIT, 0.5 * LIMIT)[0]


def test_a_promise_is_kept_for_channels_that_depend_on_each_other() -> None:
    """However much alike they are, the asset alerts no oftener than its channels together may."""
    rng = np.random.default_rng(0)
    limit, risk = 3.0, 2.0 * 0.00135
    for share in (0.0, 0.5, 0.95):
        common = rng.standard_normal((200_000, 1))
        own = rng.standard_normal((200_000, 8))
        z = np.abs(np.sqrt(share) * common + np.sqrt(1.0 - share) * own)
        alerts = z.max(axis=1) / limit * cauchy(z, np.full(z.shape, limit)) >= 1.0
        assert alerts.mean() < 1.2 * 8 * risk
