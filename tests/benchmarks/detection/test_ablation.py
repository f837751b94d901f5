"""Each variant can be made, parts that matter show, and nothing stays changed behind them."""

import numpy as np

from tests.benchmarks.detection.ablation import variants
from tests.benchmarks.detection.judged import Judged, Promise, anomalyd
from tests.benchmarks.detection.series import Series, univariate

_SHOW = ("no LSTM: the best expert", "no correction", "without view residual")


def some() -> list[Series]:
    rng = np.random.default_rng(1)
    values = np.asarray(np.sin(np.arange(260) / 9.0) + 0.1 * rng.standard_normal(260), dtype=float)
    values[240:] += 3.0
    return [univariate("some", 1.4e9 + 300.0 * np.arange(260.0), values)]


def judged() -> Judged:
    (found,) = anomalyd(some(), Promise.WEEK)
    return found


def test_what_is_taken_out_is_back_afterwards() -> None:
    before = judged()
    assert before.score.max() > 1.0
    for name, variant in variants().items():
        with variant():
            inside = judged()
        assert not (name in _SHOW and np.array_equal(before.score, inside.score)), name
    np.testing.assert_array_equal(before.score, judged().score)
