"""Each channel is served by its stream's predictor, and asks nothing of the others."""

import numpy as np

from anomalyd.detection.experts import Beats
from anomalyd.detection.reading import Floats, Rows
from anomalyd.detection.views import Expected
from anomalyd.model.checkpoint import shipped_network
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.runtime.predictors import Predictors

CAPACITY = 4


def predictor(name: str) -> NextStepPredictor:
    return NextStepPredictor(shipped_network(), name, CAPACITY)


def beats(rows: Rows, time_s: float) -> Beats:
    return Beats(
        np.full(rows.size, time_s), np.ones(rows.size), np.zeros(rows.size, dtype=np.bool_)
    )


def live(predictors: Predictors, rows: Rows, values: Floats) -> None:
    for step, each in enumerate(values):
        predictors.observe(rows, each, beats(rows, float(step)), None)


def test_streams_share_a_predictor_or_have_their_own() -> None:
    """The last is the default, for channels of no stream."""
    own, shared = predictor("own"), predictor("shared")
    predictors = Predictors(CAPACITY, (own, shared, shared))
    for row, stream in enumerate((0, 1, -1)):
        predictors.join(np.array([row]), stream)
    assert ["own", "shared", "shared"] == [predictors.name(row) for row in range(3)]
    assert [own, shared] == predictors.each
    assert shared is predictors.serving
    assert [1, 2] == predictors.among(np.arange(3), predictors.default).tolist()


def test_a_channel_is_told_what_its_own_predictor_would_say_alone() -> None:
    rows = np.arange(3)
    values = np.random.default_rng(1).normal(5.0, 1.0, (300, 3))
    together = Predictors(CAPACITY, (predictor("own"), predictor("shared")))
    for row, stream in enumerate((0, 1, 0)):
        together.join(np.array([row]), stream)
    alone = Predictors(CAPACITY, (predictor("one"),))
    alone.join(rows, -1)
    for each in (together, alone):
        live(each, rows, values)
    np.testing.assert_allclose(together.expected[rows], alone.expected[rows], rtol=1e-5)
    assert together.quantum(rows).tolist() == alone.quantum(rows).tolist()
    np.testing.assert_allclose(together.skill(rows), alone.skill(rows), atol=1e-4)


def test_a_new_channel_expects_nothing_of_the_one_before_it() -> None:
    predictors, row = Predictors(CAPACITY, (predictor("one"),)), np.array([0])
    predictors.join(row, -1)
    live(predictors, row, np.ones((50, 1)))
    predictors.join(row, -1)
    assert np.isnan(predictors.expected[0]).all()
    assert [0.0] == predictors.quantum(row).tolist()


def test_what_the_network_said_is_told_where_an_expert_serves() -> None:
    """Whoever looks for drift must not take a change of who serves for one."""
    network, row = shipped_network(), np.array([0])
    network.weights["head.bias"][:] += 8.0
    one = NextStepPredictor(network, "off", CAPACITY)
    predictors = Predictors(CAPACITY, (one,))
    predictors.join(row, -1)
    values = np.random.default_rng(1).normal(5.0, 1.0, (300, 1))
    live(predictors, row, values[:150])
    assert predictors.expected[0, Expected.NEXT] == predictors.told(row)[0]
    live(predictors, row, values[150:])
    assert predictors.expected[0, Expected.NEXT] != predictors.told(row)[0]
    skill = predictors.skill(row)[0]
    assert skill < -0.1
