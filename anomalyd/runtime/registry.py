"""Which predictor serves which stream: the shipped one, or the file that the stream names; and
which streams' assets have a network of their own.

Called once at start by the service and by replay. A model file that can't be used is refused by
name, before anything runs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from anomalyd.adapters.models.manifest import ASSET, FORECAST, NEXT_STEP, SHIPPED
from anomalyd.adapters.models.store import ModelStore
from anomalyd.detection.experts import Beats
from anomalyd.errors import ModelError
from anomalyd.model import checkpoint
from anomalyd.model.asset import AssetNetwork
from anomalyd.model.asset_predictor import AssetPredictor
from anomalyd.model.checkpoint import Checkpoint, Network
from anomalyd.model.encoder_decoder import EncoderDecoder
from anomalyd.model.forecaster import Forecaster
from anomalyd.model.next_step import NextStep
from anomalyd.model.predictor import NextStepPredictor, Predictor
from anomalyd.settings import Stream

log = logging.getLogger(__name__)

_NETWORKS: Mapping[str, type[Network]] = {NEXT_STEP: NextStep, FORECAST: EncoderDecoder}
"""role -> what serves in it; every other role is an asset class's"""


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


def open_store(
    directory: Path, keep: int, streams: Sequence[Stream] = (), folder: Path = Path()
) -> ModelStore:
    """The versions on disk, below the state directory. Relative paths of models start from
    `folder`. Raises ModelError where two files would be of one role."""
    forecaster = checkpoint.shipped(checkpoint.SHIPPED_FORECAST)
    shipped = {NEXT_STEP: checkpoint.shipped(), FORECAST: forecaster, **_classes(streams, folder)}
    return ModelStore(directory / "models", keep, shipped, partial(inspect, shipped=shipped))


def role_of(path: Path) -> str:
    """Of the class of assets whose streams name this file."""
    return f"{ASSET}{path.stem}"


def _classes(streams: Sequence[Stream], folder: Path) -> Mapping[str, Path]:
    """Role -> file, of every class of assets that has a model."""
    found: dict[str, Path] = {}
    for stream in streams:
        if stream.model is None or not stream.group_by or not _is_asset(folder / stream.model):
            continue
        path = folder / stream.model
        other = found.setdefault(role_of(path), path)
        if other.resolve() != path.resolve():
            raise ModelError(f"{path}: {other} has this name too; asset models need names apart")
    return found


def _is_asset(path: Path) -> bool:
    try:
        return isinstance(checkpoint.load(path).network, AssetNetwork)
    except ModelError:
        return False  # `load` refuses it by name


def inspect(path: Path, role: str, shipped: Mapping[str, Path] | None = None) -> Checkpoint:
    """Read a model that is to serve in `role`; that of an asset class must have the channels of the
    class's own file in `shipped`. Raises ModelError naming the file and the reason."""
    found = checkpoint.load(path)
    kind = _NETWORKS.get(role, AssetNetwork)
    if not isinstance(found.network, kind):
        raise ModelError(f"{path}: a {type(found.network).__name__} can't serve as {role}")
    own = (shipped or {}).get(role)
    if isinstance(found.network, AssetNetwork) and own is not None:
        _compare(path, found.network, own)
    return found


def _compare(path: Path, network: AssetNetwork, own: Path) -> None:
    shipped = checkpoint.load(own).network
    if not isinstance(shipped, AssetNetwork):
        raise ModelError(f"{own}: no asset model")
    for name in ("members", "inputs", "ahead"):
        theirs, ours = (getattr(each.config, name) for each in (network, shipped))
        if theirs != ours:
            raise ModelError(f"{path}: its {name} are {theirs}, those of {own} are {ours}")


def current(store: ModelStore, role: str) -> tuple[Path, str | None]:
    """The file that serves where a stream names none, or an asset model; and its version, None is
    the shipped one. A version that can't be used is refused by name, and the one before it
    serves."""
    for version in store.served(role):
        try:
            store.check(version, role)
        except ModelError as error:
            log.error("models: %s; the one before it serves", error)
            continue
        return store.path(version, role), None if version == SHIPPED else version
    raise ModelError(f"{role}: no version can be used")


def load(
    streams: Sequence[Stream], folder: Path, capacity: int, store: ModelStore | None = None
) -> Served:
    """Load each model once. Relative paths start from `folder`. Where a stream names no model, or
    an asset model, the current version of `store` serves; without a store, the shipped one or that
    very file. Raises ModelError."""
    names: dict[Path, str] = {}
    shipped = _default(store, NEXT_STEP, checkpoint.shipped(), names)
    paths = [folder / stream.model if stream.model else shipped for stream in streams]
    loaded: dict[Path, NextStepPredictor] = {}
    classes: dict[Path, AssetPredictor] = {}
    models: list[Mapping[str, str]] = []
    for path in dict.fromkeys([*paths, shipped]):
        found = checkpoint.load(path)
        role = role_of(path)
        if isinstance(found.network, AssetNetwork) and store is not None and store.served(role):
            serving, version = current(store, role)
            found = checkpoint.load(serving)
            names |= {path: version} if version else {}
        if isinstance(found.network, EncoderDecoder):
            raise ModelError(f"{path}: is a forecaster; that is for `forecast_model`")
        name = names.get(path) or name_of(path, found)
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
    forecasters = _forecasters(streams, folder, store, models)
    return Served(own, forecasters, models, [classes.get(path) for path in paths])


def name_of(path: Path, found: Checkpoint) -> str:
    """Of a model that is no version of the registry."""
    return f"{path.stem}-{found.sha256[:12]}"


def _default(store: ModelStore | None, role: str, shipped: Path, names: dict[Path, str]) -> Path:
    """What serves where a stream names nothing; its version joins `names`."""
    if store is None:
        return shipped
    path, version = current(store, role)
    if version:
        names[path] = version
    return path


def _rehearse(predictor: Predictor) -> None:
    """One step on a row that nobody has yet: whatever keeps it from computing here (a sandbox, a
    processor) is found before the daemon says that it is ready."""
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
    streams: Sequence[Stream],
    folder: Path,
    store: ModelStore | None,
    models: list[Mapping[str, str]],
) -> list[Forecaster | None]:
    """Each loaded once, and only where a stream has limits; their labels join `models`."""
    names: dict[Path, str] = {}
    shipped = checkpoint.shipped(checkpoint.SHIPPED_FORECAST)
    if any(stream.low is not None or stream.high is not None for stream in streams):
        shipped = _default(store, FORECAST, shipped, names)
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
            name = names.get(path) or name_of(path, found)
            loaded[path] = Forecaster(found.network, name)
            models.append({"model": name, "sha256": found.sha256, "file": path.name})
        forecasters.append(loaded[path])
    return forecasters
