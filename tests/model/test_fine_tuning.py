"""Fine-tuning follows from history and seed, stops when asked, and goes on as if it hadn't."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch

from anomalyd.errors import ModelError, Stopped
from anomalyd.model.checkpoint import shipped_network
from anomalyd.model.fine_tuning import FineTuningPlan, Tuned, fine_tune
from anomalyd.model.pieces import lessons
from anomalyd.model.segment import Cut

_SHORT = FineTuningPlan(steps=20, series_a_batch=8, chunk=64, length=256, most_pieces=12)


@cache
def _plant(fault: bool = False) -> tuple[Cut, ...]:
    """Six channels of 600 readings; with a fault, the third hundred of each is quarantined."""
    found = []
    for seed in range(6):
        values = np.random.default_rng(seed).normal(20.0, 1.0, 600)
        learnt = np.ones(600, dtype=np.bool_)
        if fault:
            values[200:300], learnt[200:300] = 1e6 * (seed + 1.0), False
        found.append(Cut(f"c{seed}", np.arange(600.0), values, learnt))
    return tuple(found)


def _tune(seed: int = 1, **more: object) -> Tuned:
    return fine_tune(shipped_network(), _plant(), seed, _SHORT, **more)  # type: ignore[arg-type]


def _same(one: Tuned, other: Tuned) -> bool:
    pairs = zip(one.network.weights.values(), other.network.weights.values(), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


def test_the_same_history_and_seed_give_the_same_weights() -> None:
    """Two runs are equal to the last bit, and another seed gives other weights."""
    first = _tune()
    assert first.done
    assert _same(first, _tune())
    assert not _same(first, _tune(seed=2))


def weights() -> str:
    """Of a run, as one number."""
    state = _tune().network.weights
    content = b"".join(state[name].tobytes() for name in sorted(state))
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("threads", [1, 2])
def test_every_process_computes_the_same_weights(threads: int) -> None:
    """However many threads torch and its libraries are given there."""
    code = (
        f"import torch; torch.set_num_threads({threads});"
        "from tests.model.test_fine_tuning import weights; print(weights())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert weights() == said.stdout.strip()


@pytest.mark.parametrize("stop", [1, 4, 7, 19])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(stop: int) -> None:
    """Wherever it stops, between batches or in one."""
    steps: list[int] = []
    part = _tune(
        should_stop=lambda: len(steps) == stop, progress=lambda step, loss: steps.append(step)
    )
    assert (stop, False) == (part.step, part.done)
    assert _same(_tune(), _tune(resume=part.progress))


def test_it_stops_while_it_prepares() -> None:
    """`should_stop` is asked before every reading, and nothing is kept."""
    asked = itertools.count()
    with pytest.raises(Stopped):
        _tune(should_stop=lambda: next(asked) == 50)
    assert 51 == next(asked)


def test_it_stops_while_it_draws_what_it_rehearses() -> None:
    """`should_stop` is asked once before all else, then before every synthetic series."""
    asked = itertools.count()
    with pytest.raises(Stopped):
        _tune(should_stop=lambda: next(asked) == 2)
    assert 3 == next(asked)


def test_progress_of_another_run_is_refused() -> None:
    """Other seed, or no progress at all."""
    with pytest.raises(ModelError, match="another history, plan or seed"):
        _tune(seed=2, resume=_tune().progress)
    with pytest.raises(ModelError, match="not readable"):
        _tune(resume=b"12345678 not it")


def test_no_quarantined_reading_weighs() -> None:
    """Whatever is forecast of or from one has no loss."""
    found = lessons(_plant(fault=True))
    assert bool(torch.isnan(found.target[:, 200:300]).all())
    assert bool(torch.isnan(found.target[:, 199, 0]).all())
    assert not bool(torch.isnan(found.target[:, 150:176]).any())


def test_too_little_history_is_an_error() -> None:
    """Nothing but quarantined readings teaches nothing."""
    spoilt = [Cut("a", np.arange(600.0), np.ones(600), np.zeros(600, dtype=np.bool_))]
    with pytest.raises(ModelError, match="no channel has enough"):
        fine_tune(shipped_network(), spoilt, 1, _SHORT)
