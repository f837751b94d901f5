"""How unlikely so many alerts are where so few are promised. Called by the gate and by a trial."""

from __future__ import annotations

import math


def poisson_tail(count: int, mean: float) -> float:
    """Probability of `count` or more where `mean` are expected."""
    below = (
        math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) if mean > 0.0 else float(k == 0)
        for k in range(count)
    )
    return 1.0 - math.fsum(below)
