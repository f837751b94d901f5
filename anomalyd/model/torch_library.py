"""Torch, imported while another thread serves.

Called by the retrainer on its thread before a round: serving needs none, and pays for it neither in
the time to start nor in memory. Mapping and relocating the library would hold the interpreter's
lock for 0.3 s, in which nothing is scored; a C call through ctypes lets go of it. The collector
waits meanwhile, and never looks through torch's 100 000 objects.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from importlib.util import find_spec
from pathlib import Path

_LIBRARY = "libtorch_cpu.so"


def load_torch() -> None:
    """Import it, once. Raises ImportError."""
    if "torch" in sys.modules:
        return
    _map_library()
    gc.disable()
    try:
        import torch  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def _map_library() -> None:
    """Into the process; where it can't be, the import that follows says why."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return
    load = ctypes.CDLL(None).dlopen
    load.restype = ctypes.c_void_p
    load(os.fsencode(Path(spec.origin).parent / "lib" / _LIBRARY), os.RTLD_NOW)
