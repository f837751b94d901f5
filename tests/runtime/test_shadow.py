"""A shadow counts and raises nothing; a swap takes network, expectation and baseline along, loses
no reading and causes no alert."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from anomalyd.adapters.outbox import Window
from anomalyd.detection.reading import Readings, Verdicts
from anomalyd.model.checkpoint import shipped_network
from anomalyd.model.next_step import NextStep
from anomalyd.model.next_step_module import NextStepModule
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Stream
from tests.runtime.pipelines import START_S, Run, noise

CHANNELS = 4

Array = NDArray[np.float64]


def other_network() -> NextStep:
    """One that says something else."""
    torch.manual_seed(3)
    network = NextStepModule.of(shipped_network())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return network.network()


def challenge(pipeline: Pipeline, network: NextStep, name: str = "challenger") -> None:
    index = pipeline.predictors.default
    bank = pipeline.predictors.each[index].bank
    predictor = NextStepPredictor(network, name, pipeline.table.capacity, bank)
    pipeline.begin_shadow(index, predictor)


def plant() -> tuple[Run, list[int]]:
    run = Run()
    return run, run.add(*(f"c{number}" for number in range(CHANNELS)))


def quiet(readings: int, first: int = 0) -> Array:
    return np.stack([noise(readings, first + seed) for seed in range(CHANNELS)], axis=1)


def test_the_same_network_counts_the_same_and_a_swap_changes_nothing() -> None:
    """To the last bit: the shadow sees what the serving one sees."""
    values = quiet(600)
    values[500:503, 1] += 60.0
    (alone, rows), (run, _) = plant(), plant()
    challenge(run.pipeline, shipped_network())
    verdicts = []
    for each in (alone, run):
        first = each.together(rows, values[:300])
        if each is run:
            each.pipeline.swap()
        rest = _later(each, rows, values[300:])
        verdicts.append(np.concatenate([first.score, rest.score]))
    assert np.array_equal(verdicts[0], verdicts[1], equal_nan=True)
    assert [each.id for each in alone.alerts] == [each.id for each in run.alerts]
    shadow = run.pipeline.shadow
    assert shadow is not None
    assert 1 == shadow.tally.raised == shadow.tally.raised_serving
    assert 300 * CHANNELS == shadow.tally.readings
    assert "challenger" == run.pipeline.predictors.serving.name
    assert "challenger" == run.alerts[-1].model


def test_a_shadow_raises_nothing() -> None:
    """Whatever it would have said, verdicts and alerts are those of what serves."""
    values = quiet(400)
    (alone, rows), (run, _) = plant(), plant()
    challenge(run.pipeline, other_network())
    scores = [each.together(rows, values).score for each in (alone, run)]
    assert np.array_equal(scores[0], scores[1], equal_nan=True)


def test_a_hundred_swaps_lose_no_reading_and_raise_no_alert() -> None:
    """There and back again, with a few readings between."""
    run, rows = plant()
    run.together(rows, quiet(800))
    challenge(run.pipeline, other_network())
    _later(run, rows, quiet(200, 50), at=800)
    before = run.pipeline.readings_scored
    for swap in range(100):
        run.pipeline.swap()
        verdicts = _later(run, rows, quiet(3, 100 + 7 * swap), at=1000 + 3 * swap)
        assert not np.isnan(verdicts.score).any()
    assert before + 300 * CHANNELS == run.pipeline.readings_scored
    assert [] == run.alerts


def test_maintenance_holds_for_a_shadow_too() -> None:
    """Whether it begins before or behind it: no alert of the shadow's, and nothing is learnt."""
    run, rows = plant()
    run.together(rows, quiet(800))
    challenge(run.pipeline, shipped_network())
    run.pipeline.maintain([Window("c*", START_S + 1e6, 0.0, None, None)])
    jump = quiet(100, 19)
    jump[50:] += 60.0
    _later(run, rows, jump, at=800)
    shadow = run.pipeline.shadow
    assert shadow is not None
    assert 0 == shadow.tally.raised == shadow.tally.raised_serving
    challenge(run.pipeline, shipped_network())
    behind = run.pipeline.shadow
    assert behind is not None
    _later(run, rows, quiet(20, 29) + 60.0, at=900)
    assert 0 == behind.tally.raised == behind.tally.raised_serving


def test_an_alert_that_is_open_already_is_not_the_shadows() -> None:
    """It stands where what serves stands, when it begins and after a swap."""
    run, rows = plant()
    run.together(rows, quiet(800))
    jump = quiet(40, 19)
    jump[30:] += 60.0
    _later(run, rows, jump, at=800)
    assert CHANNELS == len([each for each in run.alerts if each.transition == "raised"])
    challenge(run.pipeline, shipped_network())
    shadow = run.pipeline.shadow
    assert shadow is not None
    for turn in range(2):
        _later(run, rows, quiet(20, 29 + turn) + 60.0, at=840 + 20 * turn)
        tally = shadow.tally
        assert (20 * CHANNELS, 0, 0) == (tally.readings, tally.raised, tally.raised_serving)
        run.pipeline.swap()


def test_the_skill_is_that_of_what_serves() -> None:
    """The experts are shared, the network's error isn't."""
    (alone, rows), (run, _) = plant(), plant()
    challenge(run.pipeline, other_network())
    for each in (alone, run):
        each.together(rows, quiet(500))
    assert np.array_equal(alone.pipeline.skill(rows), run.pipeline.skill(rows))


def test_in_the_middle_of_a_step_nothing_is_unknown() -> None:
    """On a grid a predictor speaks at the next step; until then what was expected stands."""
    run = Run(stream=Stream(topic="{line}/{machine}/{sensor}", interval_s=10.0))
    rows = run.add("c0")
    run.together(rows, noise(405)[:, None])
    challenge(run.pipeline, shipped_network())
    _later(run, rows, noise(3, 1)[:, None], at=405)
    shadow = run.pipeline.shadow
    assert shadow is not None
    assert (3, 0) == (shadow.tally.readings, shadow.tally.unknown)


def test_forecasts_that_are_not_finite_are_counted() -> None:
    """Of the shadow, and after a swap of what serves."""
    run, rows = plant()
    spoilt = shipped_network()
    spoilt.weights["head.bias"][:] = np.nan
    run.together(rows, quiet(200))
    challenge(run.pipeline, spoilt)
    _later(run, rows, quiet(10, 9), at=200)
    shadow = run.pipeline.shadow
    assert shadow is not None
    assert shadow.tally.unknown > 0 == shadow.tally.unknown_serving
    run.pipeline.swap()
    _later(run, rows, quiet(10, 19), at=210)
    assert shadow.tally.unknown_serving > 0 == shadow.tally.unknown


def _later(run: Run, rows: list[int], values: Array, at: int = 300) -> Verdicts:
    times = np.repeat(START_S + at + np.arange(len(values)), len(rows)).astype(float)
    return run.step(Readings(np.tile(rows, len(values)), times, values.ravel()))


def test_the_skill_is_of_what_serves() -> None:
    """Whatever scores beside it."""
    values = quiet(400)
    (alone, rows), (run, _) = plant(), plant()
    challenge(run.pipeline, other_network())
    for each in (alone, run):
        each.together(rows, values)
    assert alone.pipeline.skill(rows).tolist() == run.pipeline.skill(rows).tolist()
