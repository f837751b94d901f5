"""Which predictor serves which stream: the shipped one, or the file that the stream names.

Called once at start by the service and by replay. A model file that can't be used is refused by
name, before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalyd.model import checkpoint
from anomalyd.model.predictor import NextStepPredictor, Predictor
from anomalyd.settings import Stream


@dataclass(frozen=True, slots=True)
class Served:
    """The predictors in use."""

    predictors: Sequence[Predictor]
    """one for each stream, then the one for channels of no stream"""
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
        name = f"{path.stem}-{found.sha256[:12]}"
        loaded[path] = NextStepPredictor(found.network, name, capacity)
        if path in paths or not paths:
            models.append({"model": name, "sha256": found.sha256, "file": path.name})
    return Served([loaded[path] for path in [*paths, shipped]], models)
