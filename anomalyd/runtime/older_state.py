"""A memory that an older version has written, in the columns of this one.

Called by `memory.recall`, before anything is compared or written. Only what was kept in another
shape is told here; whatever else is different is refused there, by its name.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.columns import Columns
from anomalyd.detection.square import MEMBERS, Squares

_SLOTS = "bank/profiles.slots"
_TIMES = "channel/windows.times"
_SQUARES = ("asset/covariance", "asset/precision")


def renewed(arrays: Columns) -> Columns:
    """The same figures under the names, and in the shapes, of this version."""
    found = dict(arrays)
    for name in _SQUARES:
        whole = found.get(name)
        if whole is not None and whole.shape[1:] == (MEMBERS, MEMBERS):
            del found[name]
            found |= _square(name, whole)
    if _SLOTS in found:
        slots = found.pop(_SLOTS)
        found["bank/profiles.workdays"], found["bank/profiles.weekends"] = slots[:, 0], slots[:, 1]
    if _TIMES in found:
        found |= _since(found.pop(_TIMES), found["channel/windows.count"])
    return found


def _square(name: str, whole: NDArray[np.generic]) -> Columns:
    """(A, MEMBERS, MEMBERS) each, in the two parts that `Squares` keeps."""
    squares = Squares(len(whole), whole.dtype)
    squares.put(np.arange(len(whole)), whole)
    return {f"{name}.corner": squares.parts[0], f"{name}.rest": squares.parts[1]}


def _since(times: NDArray[np.generic], count: NDArray[np.generic]) -> Columns:
    """Rings (channels, window) of times, of which so many were written: the newest, and the seconds
    since the one before each."""
    at = (count.astype(np.int64) - 1) % times.shape[1]
    seconds = times.astype(np.float64)
    since = seconds - np.roll(seconds, 1, axis=1)
    return {
        "channel/windows.since": since.astype(np.float32),
        "channel/windows.newest": seconds[np.arange(at.size), at],
    }
