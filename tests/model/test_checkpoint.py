"""A model file comes back as it was, or is refused by name."""

from __future__ import annotations

import pickle
from copy import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from anomalyd.errors import ModelError
from anomalyd.model import checkpoint
from anomalyd.model.next_step import NextStep, NextStepConfig
from anomalyd.model.next_step_module import NextStepModule


@pytest.fixture
def network() -> NextStep:
    torch.manual_seed(3)
    return NextStepModule(NextStepConfig(hidden=8)).network()


def _write(directory: Path, content: bytes) -> Path:
    path = directory / "pump.safetensors"
    path.write_bytes(content)
    return path


def test_a_model_comes_back_as_it_was(tmp_path: Path, network: NextStep) -> None:
    """Weights, sizes and card survive; the same network gives the same bytes."""
    content = checkpoint.dump(network, {"seed": 3})
    assert content == checkpoint.dump(network, {"seed": 3})
    loaded = checkpoint.load(_write(tmp_path, content))
    assert network.config == loaded.network.config
    assert {"seed": 3} == loaded.card
    assert network.weights.keys() == loaded.network.weights.keys()
    for name, weight in network.weights.items():
        np.testing.assert_array_equal(weight, loaded.network.weights[name])


def test_every_damaged_byte_is_noticed(tmp_path: Path, network: NextStep) -> None:
    """Whichever byte of the tensors flips, the file is refused and named."""
    content = checkpoint.dump(network, {})
    header = 8 + int.from_bytes(content[:8], "little")
    for at in range(header, len(content), 97):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        with pytest.raises(ModelError, match=r"pump\.safetensors: damaged"):
            checkpoint.load(_write(tmp_path, bytes(damaged)))


@pytest.mark.parametrize("length", [0, 5, 100, 2000])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, network: NextStep, length: int) -> None:
    """Half a file is no model."""
    content = checkpoint.dump(network, {})[:length]
    with pytest.raises(ModelError, match=r"pump\.safetensors: not a readable safetensors file"):
        checkpoint.load(_write(tmp_path, content))


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    """A file that would run code when unpickled is just not a model."""
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        checkpoint.load(_write(tmp_path, pickle.dumps({"weights": [1.0]})))


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    """Other people's tensors are named as what they are."""
    foreign = save({"weight": np.zeros(3)}, {"format": "pt"})
    with pytest.raises(ModelError, match="format 'unknown', but this version reads"):
        checkpoint.load(_write(tmp_path, foreign))


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, network: NextStep) -> None:
    """A network with NaN in it would answer NaN to everything."""
    network.weights["head.bias"][0] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        checkpoint.load(_write(tmp_path, checkpoint.dump(network, {})))


@pytest.mark.parametrize(
    ("tensors", "what"),
    [
        ({"head.bias": None}, "missing or unknown: head.bias"),
        ({"more": np.zeros(1, np.float32)}, "missing or unknown: more"),
        ({"head.bias": np.zeros(3, np.float32)}, r"head.bias is float32\[3\], not float32\[30\]"),
        ({"head.bias": np.zeros(30)}, r"head.bias is float64\[30\], not float32\[30\]"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    tmp_path: Path, network: NextStep, tensors: dict[str, np.ndarray | None], what: str
) -> None:
    """One that is missing, one too many, another shape, another type: by its name."""
    odd = {name: each for name, each in {**network.weights, **tensors}.items() if each is not None}
    spoilt = copy(network)
    object.__setattr__(spoilt, "weights", odd)
    with pytest.raises(ModelError, match=rf"its tensors don't fit its config \({what}\)"):
        checkpoint.load(_write(tmp_path, checkpoint.dump(spoilt, {})))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """No traceback, one line."""
    with pytest.raises(ModelError, match=r"none\.safetensors"):
        checkpoint.load(tmp_path / "none.safetensors")
