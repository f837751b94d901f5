"""Recordings become windows at every resolution, the last fifth held out; a file comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalyd.errors import DataError
from anomalyd.model import checkpoint
from anomalyd.model.encoder_decoder import EncoderDecoder
from anomalyd.model.forecast_training import ForecastPlan
from anomalyd.runtime import train_forecast
from anomalyd.runtime.train import write

_SHORT = ForecastPlan(steps=2, courses_a_batch=8)


def _quiet(step: int, loss: float) -> None:
    pass


def _shipped() -> EncoderDecoder:
    network = checkpoint.load(checkpoint.shipped(checkpoint.SHIPPED_FORECAST)).network
    assert isinstance(network, EncoderDecoder)
    return network


def _recording(directory: Path, readings: int) -> Path:
    values = np.random.default_rng(1).normal(size=readings).cumsum()
    lines = [f"{1_700_000_000 + at},{value}" for at, value in enumerate(values.tolist())]
    path = directory / "day.csv"
    path.write_text("\n".join(["timestamp,c", *lines]))
    return path


def test_recordings_fine_tune_the_shipped_forecaster(tmp_path: Path) -> None:
    """The file that is written is read again, with its card."""
    source, out = _recording(tmp_path, 2000), tmp_path / "limits.safetensors"
    trained = train_forecast.on_recordings([source], _shipped(), 3, _SHORT, _quiet)
    write(trained.network, trained.card, out)
    loaded = checkpoint.load(out)
    assert isinstance(loaded.network, EncoderDecoder)
    assert (3, 2) == (loaded.card["seed"], loaded.card["plan"]["steps"])  # type: ignore[index]
    # 1 600 readings: 377 windows of readings, 77 of fours, 2 of sixteens
    assert {"recordings": ["day.csv"], "courses": 456} == loaded.card["data"]


def test_too_little_data_is_named(tmp_path: Path) -> None:
    """With what would be enough."""
    source = _recording(tmp_path, 300)
    with pytest.raises(DataError, match=r"day\.csv: no channel has the 480 readings"):
        train_forecast.on_recordings([source], _shipped(), 3, _SHORT, _quiet)


def test_synthetic_courses_train_one_from_nothing() -> None:
    """The card says from what."""
    trained = train_forecast.on_synthetic(2, _SHORT, 64, _quiet)
    assert {"synthetic": {"seed": 2, "courses": 64}} == trained.card["data"]
    assert 4096 == trained.report.courses
