"""Recorded assets of one class and a seed in, a trained asset network and its report out.

Called by `anomalyd train --predictor asset`. Every recording is standardised by itself: what the
network learns is how the members move together, not where they stand. A few hundred rows must not
be learnt by heart: training starts from a ridge regression, hides some of the values from the LSTM
(dropout), decays its weights, and keeps the state that did best on the last fifth of every
recording. Same data, same seed, same version: the same weights. No files, no clock; it asks
`should_stop()` before every batch.

Ridge regression: Hoerl and Kennard, 1970. Dropout: Srivastava et al., 2014. Decoupled weight decay:
Loshchilov and Hutter, 2019. Robust loss: Huber, 1964.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anomalyd.model.adam import Adam
from anomalyd.model.asset import LIMIT, AssetConfig, AssetNetwork
from anomalyd.model.asset_module import AssetModule

Floats = NDArray[np.float64]

SHORTEST = 120
"""rows of an asset that a recording needs to be learnt from"""
_HELD_OUT = 0.2
_UNSCORED = 16  # rows of a sequence before the LSTM knows where it is
_RIDGE = 0.02  # of the unit variance: no channel is trusted to be noise-free


@dataclass(frozen=True, slots=True)
class AssetPlan:
    """How long and how fast to learn."""

    steps: int = 1200
    sequences_a_batch: int = 16
    chunk: int = 96
    learning_rate: float = 3e-3
    dropout: float = 0.1
    weight_decay: float = 0.02
    check_every: int = 50

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AssetReport:
    """How it did on the held-out last fifths; errors in standard deviations of the members."""

    assets: int
    rows: int
    mae: float
    mae_linear: float
    """of the ridge regression that training starts from"""
    mae_mean: float
    """of always expecting the mean; of the last value where the next one is expected"""

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def standardise(values: Floats) -> Floats:
    """(T, channels) in standard deviations from each channel's mean; 0 where it never moves."""
    spread = values.std(axis=0)
    moves = spread > 1e-9 * (1.0 + np.abs(values.mean(axis=0)))
    off = values - values.mean(axis=0)
    return np.asarray(np.divide(off, spread, where=moves, out=np.zeros_like(values)))


def train(
    assets: Sequence[Floats],
    config: AssetConfig,
    seed: int,
    plan: AssetPlan,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[AssetNetwork, AssetReport]:
    """Fit a network to `assets`, each (T, M + K) in the order of members and inputs, T at least
    `SHORTEST`."""
    sets = [torch.from_numpy(standardise(values).astype(np.float32)) for values in assets]
    learnt = [values[: _learnt_rows(values)] for values in sets]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = AssetModule(config)
            _begin_linear(network, learnt)
            linear = float(_held_out(network, sets).mean())
            rng = np.random.default_rng(seed)
            _fit(network, sets, learnt, rng, plan, should_stop, progress)
            network.scale.copy_(_held_out(network, sets) + 1e-3)
            report = _report(network, sets, linear)
    finally:
        torch.set_num_threads(threads)
    return network.network(), report


def _learnt_rows(values: Tensor) -> int:
    return math.ceil((1.0 - _HELD_OUT) * values.shape[0])


def _begin_linear(network: AssetModule, learnt: Sequence[Tensor]) -> None:
    """Make the linear part the ridge regression of each member."""
    config = network.config
    ahead, members = config.ahead, len(config.members)
    seen = torch.cat([values[: len(values) - ahead] for values in learnt]).clamp(-LIMIT, LIMIT)
    target = torch.cat([values[ahead:, :members] for values in learnt]).clamp(-LIMIT, LIMIT)
    seen, target = seen.double(), target.double()
    with torch.no_grad():
        for member in range(members):
            used = [at for at in range(seen.shape[1]) if ahead or at != member]
            known = seen[:, used]
            gram = known.T @ known / len(known) + _RIDGE * torch.eye(len(used)).double()
            weights = torch.linalg.solve(gram, known.T @ target[:, member] / len(known))
            network.linear[member, used] = weights.float()


def _fit(
    network: AssetModule,
    sets: Sequence[Tensor],
    learnt: Sequence[Tensor],
    rng: np.random.Generator,
    plan: AssetPlan,
    should_stop: Callable[[], bool],
    progress: Callable[[int, float], None],
) -> None:
    optimizer = Adam(network.parameters(), plan.learning_rate, plan.weight_decay)
    chunk = min(plan.chunk, min(map(len, learnt)) - network.config.ahead)
    best, kept = float(_held_out(network, sets).mean()), _copy(network)
    for step in range(1, plan.steps + 1):
        if should_stop():
            break
        seen, target = _pick(learnt, rng, plan.sequences_a_batch, chunk, network.config)
        hidden = torch.from_numpy((rng.random(seen.shape) < plan.dropout).astype(np.float32))
        loss = _loss(network, seen * (1.0 - hidden), target)
        optimizer.clear()
        share = (step - 1) / plan.steps
        optimizer.rate = 0.5 * plan.learning_rate * (1.0 + math.cos(math.pi * share))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        progress(step, float(loss.detach()))
        if step % plan.check_every == 0:
            now = float(_held_out(network, sets).mean())
            best, kept = (now, _copy(network)) if now < best else (best, kept)
    network.load_state_dict(kept)


def _pick(
    learnt: Sequence[Tensor], rng: np.random.Generator, count: int, chunk: int, config: AssetConfig
) -> tuple[Tensor, Tensor]:
    """Stretches of the recordings: (B, chunk, M + K), and what is to be expected (B, chunk, M)."""
    seen, target = [], []
    for index in rng.choice(len(learnt), size=count):
        values = learnt[index]
        begin = int(rng.integers(0, len(values) - config.ahead - chunk + 1))
        seen.append(values[begin : begin + chunk])
        later = begin + config.ahead
        target.append(values[later : later + chunk, : len(config.members)])
    return torch.stack(seen), torch.stack(target)


def _loss(network: AssetModule, seen: Tensor, target: Tensor) -> Tensor:
    unscored = min(_UNSCORED, seen.shape[1] // 4)
    expected, target = network(seen)[:, unscored:], target[:, unscored:].clamp(-LIMIT, LIMIT)
    return nn.functional.smooth_l1_loss(expected, target)


def _held_out(network: AssetModule, sets: Sequence[Tensor]) -> Tensor:
    """(M,) mean absolute error on the last fifths, the LSTM having seen what came before; every
    recording counts alike."""
    ahead, members = network.config.ahead, len(network.config.members)
    missed = []
    with torch.no_grad():
        for values in sets:
            target = values[ahead:, :members].clamp(-LIMIT, LIMIT)
            expected = network(values[None, : len(values) - ahead])[0]
            missed.append((target - expected)[_learnt_rows(values) :].abs().mean(dim=0))
    return torch.stack(missed).mean(dim=0)


def _report(network: AssetModule, sets: Sequence[Tensor], linear: float) -> AssetReport:
    ahead, members = network.config.ahead, len(network.config.members)
    naive = []
    for values in sets:
        target = values[ahead:, :members]
        guess = values[: len(values) - ahead, :members] if ahead else torch.zeros_like(target)
        naive.append(float((target - guess)[_learnt_rows(values) :].abs().mean()))
    rows = sum(len(values) - _learnt_rows(values) for values in sets)
    mae = float(_held_out(network, sets).mean())
    return AssetReport(len(sets), rows, mae, linear, sum(naive) / len(naive))


def _copy(network: AssetModule) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}
