"""The champion's weights, the plant's own readings and a seed in; a challenger out.

Called by whoever retrains, on its own thread. Half as many synthetic series are learnt again, so
that what the plant hasn't shown lately isn't forgotten (rehearsal: Robins, "Catastrophic
forgetting, rehearsal and pseudorehearsal", 1995). Steps, pieces and so time and memory are bounded,
whatever the history. It asks `should_stop()` before every synthetic series, every reading that it
prepares and every batch, and can go on later from its `Progress`: the weights are those of a run
without a stop. Same history, seed and version: the same weights. No files, no clock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from anomalyd.errors import ModelError, Stopped
from anomalyd.model import training
from anomalyd.model.adam import Adam
from anomalyd.model.next_step import NextStep
from anomalyd.model.next_step_module import NextStepModule
from anomalyd.model.pieces import lessons, sample
from anomalyd.model.segment import Cut, Segment
from anomalyd.model.synthetic import corpus
from anomalyd.model.training import Carried, Lessons

_FORMAT = "anomalyd-fine-tuning-2"


@dataclass(frozen=True, slots=True)
class FineTuningPlan:
    """How much to learn from, how long and how fast."""

    steps: int = 480
    series_a_batch: int = 48
    chunk: int = 128
    learning_rate: float = 1e-3
    length: int = 768
    """readings of a piece"""
    most_pieces: int = 384
    rehearsed: float = 0.5
    """synthetic series for each piece"""

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tuned:
    """A network after so many steps; a challenger once it is `done`."""

    network: NextStep
    step: int
    done: bool
    progress: bytes
    """what `fine_tune` goes on from, if it isn't"""


def enough(segments: Sequence[Segment], seed: int) -> bool:
    """There is something in `segments` to learn from."""
    plan = FineTuningPlan()
    return bool(sample(segments, plan.length, plan.most_pieces, seed))


def fine_tune(
    champion: NextStep,
    segments: Sequence[Segment],
    seed: int,
    plan: FineTuningPlan,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, float], None] = lambda step, loss: None,
    resume: bytes | None = None,
) -> Tuned:
    """Learn from `segments`, or go on from `resume`. Raises Stopped while it prepares, ModelError
    where there is too little to learn from or `resume` is another run's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        learnt = _lessons(segments, seed, plan, should_stop)
        return _Run(champion, learnt, seed, plan, resume).go(should_stop, progress)
    finally:
        torch.set_num_threads(threads)


def _lessons(
    segments: Sequence[Segment], seed: int, plan: FineTuningPlan, should_stop: Callable[[], bool]
) -> Lessons:
    def each() -> None:
        if should_stop():
            raise Stopped

    each()
    pieces = sample(segments, plan.length, plan.most_pieces, seed)
    if not pieces:
        raise ModelError("retraining: no channel has enough readings that count as normal")
    count = round(plan.rehearsed * len(pieces))
    return lessons([*pieces, *_rehearsal(seed, count, plan, each)], each)


def _rehearsal(seed: int, count: int, plan: FineTuningPlan, each: Callable[[], None]) -> list[Cut]:
    drawn = corpus(seed, count, plan.length, each)
    steps, all_learnt = np.arange(plan.length), np.ones(plan.length, dtype=np.bool_)
    return [
        Cut("", drawn.start_s[at] + drawn.interval_s[at] * steps, drawn.values[at], all_learnt)
        for at in range(count)
    ]


class _Run:
    """One fine-tuning. Batches follow from the seed and the step, so the step says where it is."""

    def __init__(
        self,
        champion: NextStep,
        learnt: Lessons,
        seed: int,
        plan: FineTuningPlan,
        resume: bytes | None,
    ) -> None:
        self._lessons, self._seed, self._plan = learnt, seed, plan
        self._network = NextStepModule.of(champion)
        self._optimizer = Adam(self._network.parameters(), plan.learning_rate)
        self._chunks = -(-learnt.target.shape[1] // plan.chunk)
        self._step = 0
        self._carried: Carried | None = None
        if resume is not None:
            self._resume(resume)

    def go(self, should_stop: Callable[[], bool], progress: Callable[[int, float], None]) -> Tuned:
        picked: Lessons | None = None
        self._network.train()
        while self._step < self._plan.steps and not should_stop():
            turn, chunk = divmod(self._step, self._chunks)
            if chunk == 0:
                self._carried = None
            if chunk == 0 or picked is None:
                rng = np.random.default_rng((self._seed, turn))
                picked = training.pick(self._lessons, rng, self._plan.series_a_batch)
            loss = self._learn(picked, chunk * self._plan.chunk)
            self._step += 1
            progress(self._step, loss)
        done = self._step >= self._plan.steps
        return Tuned(self._network.network(), self._step, done, self._progress())

    def _learn(self, picked: Lessons, begin: int) -> float:
        share = self._step / self._plan.steps
        self._optimizer.rate = self._plan.learning_rate * (
            0.02 + 0.49 * (1.0 + math.cos(math.pi * share))
        )
        loss, self._carried = training.chunk_loss(
            self._network, picked, begin, self._plan.chunk, self._carried
        )
        if loss is None:
            return math.nan
        self._optimizer.clear()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimizer.step()
        return float(loss.detach())

    def _about(self) -> Mapping[str, object]:
        """Whose progress it is."""
        readings = self._lessons.target.nan_to_num(0.0).double().sum()
        about = {"seed": self._seed, "plan": self._plan.as_dict(), "lessons": float(readings)}
        return {"format": _FORMAT, **about}

    def _progress(self) -> bytes:
        tensors: dict[str, Tensor] = {}
        named = zip(self._network.named_parameters(), self._optimizer.moments, strict=True)
        for (name, parameter), moments in named:
            tensors[f"weight.{name}"] = parameter.detach().contiguous()
            tensors[f"first.{name}"] = moments.first
            tensors[f"second.{name}"] = moments.second
        for name, state in zip("hc", self._carried or (), strict=False):
            tensors[f"carried.{name}"] = state.contiguous()
        about = {**self._about(), "step": self._step, "learnt": self._optimizer.steps}
        return save(tensors, {"anomalyd": json.dumps(about, sort_keys=True)})

    def _resume(self, kept: bytes) -> None:
        try:
            tensors = load(kept)
            size = int.from_bytes(kept[:8], "little")
            about = json.loads(json.loads(kept[8 : 8 + size])["__metadata__"]["anomalyd"])
            self._step = int(about.pop("step"))
            self._optimizer.steps = int(about.pop("learnt"))
        except (SafetensorError, ValueError, KeyError) as error:
            raise ModelError(f"retraining: its progress is not readable ({error})") from error
        if about != self._about():
            raise ModelError("retraining: the progress is of another history, plan or seed")
        with torch.no_grad():
            named = zip(self._network.named_parameters(), self._optimizer.moments, strict=True)
            for (name, parameter), moments in named:
                parameter.copy_(tensors[f"weight.{name}"])
                moments.first.copy_(tensors[f"first.{name}"])
                moments.second.copy_(tensors[f"second.{name}"])
        if "carried.h" in tensors:
            self._carried = tensors["carried.h"], tensors["carried.c"]
