"""`anomalyd train`: synthetic signals or recorded data in, one model file out.

Runs on the caller's thread. The last part of the data is held out; the file's card says how the
model did on it, and how it was made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from anomalyd import __version__
from anomalyd.adapters.recording import Recording
from anomalyd.detection.reading import Floats
from anomalyd.errors import DataError
from anomalyd.model import checkpoint, training
from anomalyd.model.asset_training import AssetPlan, AssetReport
from anomalyd.model.forecast_training import ForecastPlan, ForecastReport
from anomalyd.model.next_step import NextStep
from anomalyd.model.synthetic import Corpus, corpus
from anomalyd.model.training import Report, Series, TrainingPlan

Progress = Callable[[int, float], None]

SYNTHETIC_SERIES, SYNTHETIC_LENGTH = 4000, 2048
_VALIDATION_SERIES, _VALIDATION_SEED = 512, 1_000_003
_SHORTEST, _LONGEST = 256, 2048
_HELD_OUT = 0.2
_SHORTEST_INTERVAL_S = 1e-6


@dataclass(frozen=True, slots=True)
class Trained:
    """A model and how it did on what was held out."""

    network: NextStep
    report: Report
    card: dict[str, object]


def on_synthetic(seed: int, plan: TrainingPlan, series: int, progress: Progress) -> Trained:
    """Train from nothing on the corpus of this seed; validate on one of another seed."""
    drawn = corpus(seed, series, SYNTHETIC_LENGTH + 1)
    network = training.train(training.prepare(_series(drawn)), seed, plan, progress=progress)
    report = validate_synthetic(network)
    data: dict[str, object] = {
        "synthetic": {"seed": seed, "series": series, "readings": SYNTHETIC_LENGTH}
    }
    return Trained(network, report, made_by(seed, plan, data, report))


def validate_synthetic(network: NextStep) -> Report:
    """Losses on the validation corpus, which no training corpus shares a signal with."""
    held = corpus(_VALIDATION_SEED, _VALIDATION_SERIES, SYNTHETIC_LENGTH + 1)
    return training.evaluate(network, _series(held))


def on_recordings(
    paths: Sequence[Path], start: NextStep, seed: int, plan: TrainingPlan, progress: Progress
) -> Trained:
    """Fine-tune `start` on recorded channels. Raises DataError."""
    learnt, held = _pieces(paths)
    network = training.train(training.prepare(learnt), seed, plan, start, progress=progress)
    report = training.evaluate(network, held)
    pieces = learnt.values.shape[0]
    data: dict[str, object] = {"recordings": [path.name for path in paths], "pieces": pieces}
    return Trained(network, report, made_by(seed, plan, data, report))


def write(network: checkpoint.Network, card: Mapping[str, object], out: Path) -> None:
    """Write the model file whole or not at all. Raises DataError."""
    part = out.with_name(out.name + ".part")
    try:
        part.write_bytes(checkpoint.dump(network, card))
        part.replace(out)
    except OSError as error:
        raise DataError(f"{out}: {error.strerror}") from error


def recorded_channels(paths: Sequence[Path]) -> Mapping[str, Floats]:
    """(n, 2) times and finite values of each channel, as the files have them. Raises DataError."""
    channels: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for path in paths:
        for row in Recording(path).rows():
            for channel, value in row.readings:
                if np.isfinite(value):
                    channels[channel].append((row.time, value))
    return {channel: np.array(read) for channel, read in channels.items()}


def made_by(
    seed: int,
    plan: TrainingPlan | AssetPlan | ForecastPlan,
    data: dict[str, object],
    report: Report | AssetReport | ForecastReport,
) -> dict[str, object]:
    """The card of a model: how it was made, and how it did."""
    return {
        "data": data,
        "seed": seed,
        "plan": plan.as_dict(),
        "validation": report.as_dict(),
        "anomalyd": __version__,
        "torch": torch.__version__.split("+")[0],
    }


def _series(drawn: Corpus) -> Series:
    return Series(drawn.values, drawn.start_s, drawn.interval_s, drawn.period)


def _pieces(paths: Sequence[Path]) -> tuple[Series, Series]:
    """Equally long pieces of all channels: (n, T + 1) to learn from and (m, T + 1) held out."""
    channels = recorded_channels(paths)
    long = [read for read in channels.values() if len(read) > 2 * _SHORTEST]
    if not long:
        raise DataError(
            f"{', '.join(map(str, paths))}: no channel has more than {2 * _SHORTEST} readings"
        )
    length = int(np.clip(min(map(len, long)) * _HELD_OUT, _SHORTEST, _LONGEST))
    learnt, held = [], []
    for read in long:
        pieces = [read[at : at + length] for at in range(0, len(read) - length + 1, length)]
        kept_back = max(1, round(_HELD_OUT * len(pieces)))
        learnt += pieces[:-kept_back]
        held += pieces[-kept_back:]
    return _recorded(np.stack(learnt)), _recorded(np.stack(held))


def _recorded(pieces: Floats) -> Series:
    """`pieces`: (n, T + 1, 2) times and values."""
    times, values = pieces[..., 0], pieces[..., 1]
    interval_s = np.maximum(np.median(np.diff(times, axis=1), axis=1), _SHORTEST_INTERVAL_S)
    return Series(values, times[:, 0], interval_s, np.zeros(values.shape[0]))
