"""One verdict on an asset from those on its channels, which depend on each other.

The Cauchy combination (Liu and Xie, "Cauchy combination test: a powerful test with analytic p-value
calculation under arbitrary dependency structures", JASA 2020): the mean of tan((1/2 - p) pi) over
the channels is itself Cauchy far out in its tail, whatever the channels have to do with each other.
There it is the mean of 1 / (pi p), so several channels that are each nearly rare enough are so
together. Every channel brings its own share of the budget: the asset alerts where the sum of p0/p
reaches 1, with p0 what one channel may risk.

Called by `runtime/assets.py` on the pipeline's thread. Pure functions.
"""

from __future__ import annotations

import numpy as np

from anomalyd.detection.reading import Floats

_SMALLEST = 1e-3


def cauchy(z: Floats, z_limit: Floats) -> Floats:
    """(A,) what the furthest channel's score is to be multiplied by, >= 1.

    `z`: (A, M) how far out each channel is, as a distance on the bell curve; `z_limit`: (A, M) that
    of the risk that it may take. The tail of the bell curve is taken as exp(-z^2 / 2) / z.
    """
    z = np.maximum(z, _SMALLEST)
    rarity = 0.5 * (z * z - z_limit * z_limit) + np.log(z / z_limit)
    most = rarity.max(axis=1)
    added = np.log(np.exp(rarity - most[:, None]).sum(axis=1))
    furthest = z[np.arange(len(z)), rarity.argmax(axis=1)]
    lifted = np.sqrt(furthest * furthest + 2.0 * added)
    # Below the limit, many channels that say nothing would add up; they are no evidence.
    return np.asarray(np.where(most + added >= 0.0, lifted / furthest, 1.0))
