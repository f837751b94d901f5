"""Which predictor serves which stream: the shipped one, or the file that the stream names.

Called once at start by the service and by replay. A model file that can't be used is refused by
name, before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalyd.errors import ModelError
from anomalyd.model import checkpoint
from anomalyd.model.encoder_decoder import EncoderDecoder
from anomalyd.model.forecaster import Forecaster
from anomalyd.model.next_step import NextStep
from anomalyd.model.predictor import NextStepPredictor, Predictor
from anomalyd.settings import Stream


@dataclass(frozen=True, slots=True)
class Served:
    """The predictors in use."""

    predictors: Sequence[Predictor]
    """one for each stream, then the one for channels of no stream"""
    forecasters: Sequence[Forecaster | None]
    """one for each stream; None where its channels have no limits"""
    models: Sequence[Mapping[str, str]]
    """labels of `anomalyd_model_info`"""


def load(streams: Sequence[Stream], folder: Path, capacity: int) -> Served:
    """Load each model once. Relative paths start from `folder`. Raises ModelError."""
    shipped = checkpoint.shipped()
    paths = [folder / stream.model if stream.model else shipped for stream in streams]
    loaded: dict[Path, NextStepPredictor] = {}
    models: list[Mapping[str, str]] = []
    for path in dict.fromkeys([*paths, shipped]):
        found = checkpoint.load(path)
        if not isinstance(found.network, NextStep):
            raise ModelError(
                f"{path}: is no next-step predictor; `forecast_model` takes forecasters"
            )
        name = f"{path.stem}-{found.sha256[:12]}"
        loaded[path] = NextStepPredictor(found.network, name, capacity)
        if path in paths or not paths:
            models.append({"model": name, "sha256": found.sha256, "file": path.name})
    forecasters = _forecasters(streams, folder, models)
    return Served([loaded[path] for path in [*paths, shipped]], forecasters, models)


def _forecasters(
    streams: Sequence[Stream], folder: Path, models: list[Mapping[str, str]]
) -> list[Forecaster | None]:
    """Each loaded once, and only where a stream has limits; their labels join `models`."""
    shipped = checkpoint.shipped(checkpoint.SHIPPED_FORECAST)
    loaded: dict[Path, Forecaster] = {}
    forecasters: list[Forecaster | None] = []
    for stream in streams:
        if stream.low is None and stream.high is None:
            forecasters.append(None)
            continue
        path = folder / stream.forecast_model if stream.forecast_model else shipped
        if path not in loaded:
            found = checkpoint.load(path)
            if not isinstance(found.network, EncoderDecoder):
                raise ModelError(f"{path}: is no forecaster; `model` takes next-step predictors")
            name = f"{path.stem}-{found.sha256[:12]}"
            loaded[path] = Forecaster(found.network, name)
            models.append({"model": name, "sha256": found.sha256, "file": path.name})
        forecasters.append(loaded[path])
    return forecasters
