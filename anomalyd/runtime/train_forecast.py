"""`anomalyd train --predictor forecast`: synthetic courses or recorded data in, one forecaster out.

Runs on the caller's thread. What is held out says how the model did; the file's card keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalyd.detection.blocks import FACTOR
from anomalyd.detection.reading import Floats
from anomalyd.errors import DataError
from anomalyd.model import forecast_training as training
from anomalyd.model.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from anomalyd.model.forecast_training import ForecastPlan, ForecastReport
from anomalyd.model.synthetic_trends import Courses, trends
from anomalyd.runtime.train import made_by, recorded_channels

Progress = Callable[[int, float], None]

SYNTHETIC_COURSES = 98_304
_VALIDATION_COURSES, _VALIDATION_SEED = 4096, 1_000_003
_HELD_OUT = 0.2
_STRIDE = 4  # blocks between the windows that are cut from a recording


@dataclass(frozen=True, slots=True)
class TrainedForecaster:
    """A forecaster and how it did on what was held out."""

    network: EncoderDecoder
    report: ForecastReport
    card: dict[str, object]


def on_synthetic(
    seed: int, plan: ForecastPlan, courses: int, progress: Progress
) -> TrainedForecaster:
    """Train from nothing on the courses of this seed; validate on those of another."""
    config = EncoderDecoderConfig()
    drawn = trends(seed, courses, config.window, config.horizon)
    network = training.train(drawn, seed, plan, config, progress=progress)
    report = validate_synthetic(network)
    data: dict[str, object] = {"synthetic": {"seed": seed, "courses": courses}}
    return TrainedForecaster(network, report, made_by(seed, plan, data, report))


def validate_synthetic(network: EncoderDecoder) -> ForecastReport:
    """Losses on the validation courses, which no training shares one with."""
    config = network.config
    held = trends(_VALIDATION_SEED, _VALIDATION_COURSES, config.window, config.horizon)
    return training.evaluate(network, held)


def on_recordings(
    paths: Sequence[Path],
    start: EncoderDecoder,
    seed: int,
    plan: ForecastPlan,
    progress: Progress,
) -> TrainedForecaster:
    """Fine-tune `start` on recorded channels, at every resolution. Raises DataError."""
    learnt, held = _windows(paths, start.config)
    network = training.train(learnt, seed, plan, start=start, progress=progress)
    report = training.evaluate(network, held)
    names = [path.name for path in paths]
    data: dict[str, object] = {"recordings": names, "courses": len(learnt.window)}
    return TrainedForecaster(network, report, made_by(seed, plan, data, report))


def _windows(paths: Sequence[Path], config: EncoderDecoderConfig) -> tuple[Courses, Courses]:
    """Windows of all channels at all resolutions, those to learn from and those held out."""
    length = config.window + config.horizon
    learnt: list[Floats] = []
    held: list[Floats] = []
    for read in recorded_channels(paths).values():
        values, kept_back = read[:, 1], int(len(read) * _HELD_OUT)
        learnt += _cut(values[:-kept_back], length)
        held += _cut(values[-kept_back:], length)
    if not learnt or not held:
        fewest = int(length / _HELD_OUT)
        names = ", ".join(map(str, paths))
        raise DataError(f"{names}: no channel has the {fewest} readings that a forecaster needs")
    return _courses(learnt, config), _courses(held, config)


def _cut(values: Floats, length: int) -> Iterable[Floats]:
    """Pieces of `length` block means, at every resolution that is long enough."""
    for means in _resolutions(values, length):
        yield from (means[at : at + length] for at in range(0, len(means) - length + 1, _STRIDE))


def _resolutions(values: Floats, length: int) -> Iterator[Floats]:
    while len(values) >= length:
        yield values
        values = values[: len(values) // FACTOR * FACTOR].reshape(-1, FACTOR).mean(axis=1)


def _courses(pieces: Sequence[Floats], config: EncoderDecoderConfig) -> Courses:
    """A recording doesn't tell the process from the noise: the extremes are those of the means."""
    drawn = np.stack(pieces)
    coming = drawn[:, config.window :]
    peak, trough = np.maximum.accumulate(coming, axis=1), np.minimum.accumulate(coming, axis=1)
    return Courses(drawn[:, : config.window], coming, peak, trough)
