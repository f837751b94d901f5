"""Model <-> bytes: safetensors with a format version, sizes and a checksum. Never pickle.

safetensors checks shapes, not contents: a flipped byte loads silently. So the metadata carries a
SHA-256 of the tensors, and a file that differs is refused by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from anomalyd.errors import ModelError
from anomalyd.model.asset import AssetConfig, AssetNetwork
from anomalyd.model.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from anomalyd.model.lstm import Weights
from anomalyd.model.next_step import NextStep, NextStepConfig

Network = NextStep | AssetNetwork | EncoderDecoder
"""every kind of network that a model file can hold"""

FORMATS: Mapping[str, tuple[Callable[[Any, Weights], Network], Callable[..., Any]]] = {
    "anomalyd-next-step-2": (NextStep, NextStepConfig),
    "anomalyd-asset-1": (AssetNetwork, AssetConfig),
    "anomalyd-forecast-1": (EncoderDecoder, EncoderDecoderConfig),
}
SHIPPED = "next_step.safetensors"
SHIPPED_FORECAST = "forecast.safetensors"
_MANIFEST = "anomalyd"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network and how it was made."""

    network: Network
    card: Mapping[str, object]
    sha256: str


def dump(network: Network, card: Mapping[str, object]) -> bytes:
    """The file's bytes; the same network and card give the same bytes."""
    manifest = {
        "format": next(name for name, (kind, _) in FORMATS.items() if type(network) is kind),
        "config": network.config.as_dict(),
        "card": card,
        "sha256": _digest(network.weights),
    }
    # One entry: safetensors writes several in any order, and equal models must be equal files.
    return save(dict(network.weights), {_MANIFEST: json.dumps(manifest, sort_keys=True)})


def load(path: Path) -> Checkpoint:
    """Read a file that `dump` wrote. Raises ModelError naming the file and what is wrong."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = (file.metadata() or {}).get(_MANIFEST, "{}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a readable safetensors file ({error})") from error
    try:
        manifest: dict[str, Any] = json.loads(metadata)
        found = manifest.get("format", "unknown")
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path}: its manifest is not readable ({error})") from error
    if found not in FORMATS:
        raise ModelError(f"{path}: format {found!r}, but this version reads {', '.join(FORMATS)}")
    if manifest.get("sha256") != _digest(tensors):
        raise ModelError(f"{path}: damaged, its tensors differ from their checksum")
    try:
        kind, config = FORMATS[found]
        network = kind(config(**manifest["config"]), tensors)
        card = manifest["card"]
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: its tensors don't fit its config ({error})") from error
    if not all(bool(np.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ModelError(f"{path}: holds numbers that are not finite")
    return Checkpoint(network, card, manifest["sha256"])


def shipped(name: str = SHIPPED) -> Path:
    """Where a pretrained network is installed."""
    return Path(str(files("anomalyd.model") / "pretrained" / name))


def shipped_network() -> NextStep:
    """The pretrained predictor."""
    network = load(shipped()).network
    if not isinstance(network, NextStep):
        raise ModelError(f"{shipped()}: not a next-step predictor")
    return network


def shipped_forecaster() -> EncoderDecoder:
    """The pretrained forecaster of channels with limits."""
    path = shipped(SHIPPED_FORECAST)
    network = load(path).network
    if not isinstance(network, EncoderDecoder):
        raise ModelError(f"{path}: not a forecaster")
    return network


def _digest(tensors: Weights) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()
