"""Which predictor serves which stream: the shipped one, or the file that the stream names; and
which streams' assets have a network of their own.

Called once at start by the service and by replay. A model file that can't be used is refused by
name, before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalyd.detection.experts import Beats
from anomalyd.errors import ModelError
from anomalyd.model import checkpoint
from anomalyd.model.asset import AssetNetwork
from anomalyd.model.asset_predictor import AssetPredictor
from anomalyd.model.encoder_decoder import EncoderDecoder
from anomalyd.model.forecaster import Forecaster
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
    assets: Sequence[AssetPredictor | None] = ()
    """one for each stream, None where the running covariance serves"""


def load(streams: Sequence[Stream], folder: Path, capacity: int) -> Served:
    """Load each model once. Relative paths start from `folder`. Raises ModelError."""
    shipped = checkpoint.shipped()
    paths = [folder / stream.model if stream.model else shipped for stream in streams]
    loaded: dict[Path, NextStepPredictor] = {}
    classes: dict[Path, AssetPredictor] = {}
    models: list[Mapping[str, str]] = []
    for path in dict.fromkeys([*paths, shipped]):
        found = checkpoint.load(path)
        if isinstance(found.network, EncoderDecoder):
            raise ModelError(f"{path}: is a forecaster; that is for `forecast_model`")
        name = f"{path.stem}-{found.sha256[:12]}"
        if isinstance(found.network, AssetNetwork):
            classes[path] = AssetPredictor(found.network, name, capacity)
        else:
            loaded[path] = NextStepPredictor(found.network, name, capacity)
            _rehearse(loaded[path])
        if path in paths or (path == shipped and (classes or not paths)):
            models.append({"model": name, "sha256": found.sha256, "file": path.name})
    for path, stream in zip(paths, streams, strict=True):
        if path in classes:
            _fit(path, stream, classes[path])
    # An asset model says nothing of a channel's own past: there the shipped predictor serves.
    own = [loaded.get(path, loaded[shipped]) for path in [*paths, shipped]]
    forecasters = _forecasters(streams, folder, models)
    return Served(own, forecasters, models, [classes.get(path) for path in paths])


def _rehearse(predictor: Predictor) -> None:
    """One step on a row that nobody has yet: torch's first one is slow, and whatever keeps it from
    computing here (a sandbox, a processor) is found before the daemon says that it is ready."""
    row, value = np.zeros(1, dtype=np.intp), np.zeros(1)
    predictor.observe(row, value, Beats(value, value + 1.0, np.zeros(1, dtype=np.bool_)))
    predictor.reset(row)


def _fit(path: Path, stream: Stream, predictor: AssetPredictor) -> None:
    if not stream.group_by:
        raise ModelError(f"{path}: an asset model, but topic {stream.topic!r} has no group_by")
    known = predictor.seats[predictor.members :]
    if set(known) != set(stream.inputs):
        raise ModelError(
            f"{path}: its inputs are [{', '.join(known)}], those of topic {stream.topic!r} are "
            f"[{', '.join(stream.inputs)}]"
        )


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
                raise ModelError(f"{path}: is no forecaster; `model` takes predictors")
            name = f"{path.stem}-{found.sha256[:12]}"
            loaded[path] = Forecaster(found.network, name)
            models.append({"model": name, "sha256": found.sha256, "file": path.name})
        forecasters.append(loaded[path])
    return forecasters
