"""Early warnings on simulated machines, in short: what the benchmark measures at length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.benchmarks.detection.approaches import LIMIT, PROCESSES, simulate
from tests.benchmarks.detection.time_to_limit import approached, rested

_SEED, _RUNS, _READINGS = 11, 12, 2500


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_run_follows_from_its_seed_and_reaches_its_limit_when_it_says(name: str) -> None:
    """Those that don't fail stay below it."""
    process = PROCESSES[name]._replace(readings=_READINGS)
    first, again = (simulate(process, _SEED, 3, fails=True) for _ in range(2))
    np.testing.assert_array_equal(first.measured, again.measured)
    assert (first.onset < first.crossing).all()
    assert (first.crossing < _READINGS).all()
    resting = simulate(process, _SEED, 3, fails=False)
    assert np.isinf(resting.crossing).all()
    assert (np.median(resting.measured, axis=1) < LIMIT).all()


def test_a_filling_tank_is_warned_of_in_time() -> None:
    """Nearly all runs, minutes ahead, and most of the intervals hold the truth."""
    process = PROCESSES["filling"]._replace(readings=_READINGS)
    found = approached(process, simulate(process, _SEED, _RUNS, fails=True))
    assert found.warned >= 0.8 * _RUNS
    assert found.within.mean() >= 0.6
    assert np.median(found.lead_s) > 60.0


def test_channels_that_never_get_there_keep_the_budget() -> None:
    """With what chance may do in less than a channel week."""
    process = PROCESSES["heating"]._replace(readings=_READINGS)
    found = rested(process, simulate(process, _SEED, _RUNS, fails=False))
    assert found.warnings <= 1 + found.weeks
