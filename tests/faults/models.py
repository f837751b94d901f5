"""Models for the campaigns: like the shipped one, a little off, or of no use."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from anomalyd.adapters.models.manifest import NEXT_STEP, Manifest
from anomalyd.adapters.models.store import ModelStore
from anomalyd.model import checkpoint
from anomalyd.model.next_step_module import NextStepModule
from anomalyd.runtime import registry

KEEP = 8


def open_store(state: Path) -> ModelStore:
    """What `anomalyd models` works on, too."""
    return registry.open_store(state, KEEP)


def add_similar(store: ModelStore, seed: int) -> str:
    """The shipped network with weights that are 1 in 10 000 off; its version."""
    network = NextStepModule.of(checkpoint.shipped_network())
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1e-4 * torch.randn(parameter.shape, generator=drawn))
    return _add(store, checkpoint.dump(network.network(), {}), seed)


def add_useless(store: ModelStore, seed: int) -> str:
    """Its weights are finite, and what it says is not; its version."""
    network = checkpoint.shipped_network()
    network.weights["head.weight"][:] = 3e38
    network.weights["head.bias"][0] += seed
    return _add(store, checkpoint.dump(network, {}), seed)


def _add(store: ModelStore, content: bytes, seed: int) -> str:
    about = Manifest(
        role=NEXT_STEP,
        created_s=time.time(),
        seed=seed,
        code_version="",
        parent=store.current(NEXT_STEP),
    )
    return store.add(content, about)
