"""An asset network that scores beside the one that serves its class, and raises nothing: a
challenger before its promotion, or the former one after it.

It judges the same comparisons with a state and a commissioning reference of its own, so that it is
commissioned when it takes the place. Owned by the pipeline, on its thread; others read the tally.
"""

from __future__ import annotations

import numpy as np

from anomalyd.detection.reading import Flags, Floats
from anomalyd.detection.relation import Compared
from anomalyd.model.asset_predictor import AssetPredictor
from anomalyd.runtime.assets import Assets
from anomalyd.runtime.shadow import NOTHING, Tally

ENOUGH = 100
"""comparisons of an asset, in the mean, after its residuals were commissioned"""


class AssetShadow:
    """Beside `serving`, for the class of assets that `predictor` serves."""

    def __init__(self, serving: Assets, predictor: AssetPredictor, other: AssetPredictor) -> None:
        self.predictor = predictor
        self.other = other
        self.assets = serving.beside(predictor, other)
        self.tally = NOTHING
        self._serving = serving
        # Assets that what serves, and the shadow, find odd: an alert of the shadow's begins where
        # one becomes so.
        self._odd = np.zeros((2, self.assets.capacity), dtype=np.bool_)
        # How often it has judged each asset since it was commissioned there; -1: not at all.
        self._judged = np.full(self.assets.capacity, -1, dtype=np.int64)

    @property
    def proven(self) -> bool:
        """It has seen enough of the assets that it has met; one that rests keeps none waiting."""
        met = self._judged[self._judged >= 0]
        return bool(met.size) and int(met.sum()) >= ENOUGH * met.size

    def judge(self, compared: Compared, quarantined: Flags, accepted: Flags, risk: Floats) -> None:
        """As `Assets.compare`, right after that of what serves; counts both."""
        self.assets.judge(compared, quarantined, accepted, risk)
        mine = self.assets.serves(compared.assets)
        numbers = compared.assets[mine]
        if not numbers.size:
            return
        known, known_serving = self.assets.known(numbers), self._serving.known(numbers)
        ready = np.stack((self._serving.commissioned(numbers), self.assets.commissioned(numbers)))
        odd = np.stack((self._serving.odd(numbers), self.assets.odd(numbers)))
        begins = (odd & ~self._odd[:, numbers] & ready).sum(axis=1)
        self._odd[:, numbers] = odd
        self._judged[numbers] = np.maximum(self._judged[numbers], 0) + ready[1]
        allowed = np.where(compared.rows[mine] >= 0, risk[mine], np.inf).min(axis=1)
        before = self.tally
        self.tally = Tally(
            before.readings + int(ready.any(axis=0).sum()),
            before.raised + int(begins[1]),
            before.raised_serving + int(begins[0]),
            before.promised + float(allowed[ready.any(axis=0)].sum()),
            before.unknown + int((known_serving & ~known).sum()),
            before.unknown_serving + int((known & ~known_serving).sum()),
        )

    def swap(self) -> None:
        """What serves and its shadow change places: network, state, reference and residuals."""
        self._serving.exchange(self.assets, self.predictor)
        self.predictor.exchange(self.other)
        # What is exchanged holds no alert.
        self._odd[:] = False
        self._judged[:] = -1
        self.tally = NOTHING
