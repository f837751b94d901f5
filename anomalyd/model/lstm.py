"""What every network that serves is made of: named weights, an LSTM cell, a softmax; numpy alone.

Channels are the last axis, so that every step of the arithmetic runs over contiguous memory. The
names, the order of the gates (input, forget, cell, output) and the numbers are those of
`torch.nn.LSTM`, which the weights were trained in. Hochreiter and Schmidhuber, 1997.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats32 = NDArray[np.float32]
Weights = Mapping[str, Floats32]
"""name -> tensor, as in a model file"""
Shapes = Mapping[str, tuple[int, ...]]
"""what they must be"""


def shapes(name: str, inputs: int, hidden: int) -> Shapes:
    """Of the weights of the LSTM `name`."""
    gates = 4 * hidden
    return {
        f"{name}.weight_ih_l0": (gates, inputs),
        f"{name}.weight_hh_l0": (gates, hidden),
        f"{name}.bias_ih_l0": (gates,),
        f"{name}.bias_hh_l0": (gates,),
    }


def check(weights: Weights, expected: Shapes) -> None:
    """Raises ValueError naming what is missing, too much or of another shape."""
    if odd := sorted(set(weights) ^ set(expected)):
        raise ValueError(f"missing or unknown: {', '.join(odd)}")
    for name, shape in expected.items():
        found = weights[name]
        if found.shape != shape or found.dtype != np.float32:
            told = f"{found.dtype}{list(found.shape)}"
            raise ValueError(f"{name} is {told}, not float32{list(shape)}")


def hear(weights: Weights, name: str, seen: Floats32) -> Floats32:
    """(..., inputs, B) -> (..., 4 hidden, B): the part of the gates that the inputs say."""
    gates = np.asarray(weights[f"{name}.weight_ih_l0"] @ seen)
    gates += (weights[f"{name}.bias_ih_l0"] + weights[f"{name}.bias_hh_l0"])[:, None]
    return gates


def remember(
    weights: Weights, name: str, heard: Floats32, h: Floats32, c: Floats32
) -> tuple[Floats32, Floats32]:
    """One step, from what was `heard` (4 hidden, B) and h and c (hidden, B); the next h and c."""
    gates = weights[f"{name}.weight_hh_l0"] @ h
    gates += heard
    size = h.shape[0]
    taken, kept, new, told = (gates[at : at + size] for at in range(0, 4 * size, size))
    _sigmoid(gates[: 2 * size])
    np.tanh(new, out=new)
    _sigmoid(told)
    new *= taken
    kept *= c
    kept += new
    told *= np.tanh(kept)
    return told, kept


def softmax(logits: Floats32, axis: int) -> Floats32:
    weights = logits - logits.max(axis=axis, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=axis, keepdims=True)
    return np.asarray(weights)


def _sigmoid(gates: Floats32) -> None:
    """In place; by tanh, which never overflows."""
    gates *= 0.5
    np.tanh(gates, out=gates)
    gates *= 0.5
    gates += 0.5
