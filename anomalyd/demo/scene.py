"""All that the demo has to show at a moment. `stage.py` changes it, screens and report read it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from anomalyd.demo.ledger import Ledger
from anomalyd.demo.plot import Point

_PLOT_POINTS: Final = 1000


@dataclass
class Scene:
    """Owned and changed by the stage; read on the same thread, so there is no lock."""

    ledger: Ledger
    steps: int
    step: int = 0
    channels: int = 0
    scored: float = 0.0
    scored_per_s: float = 0.0
    active: float = 0.0
    watched: str = ""
    first_scored_at: float | None = None
    points: deque[Point] = field(default_factory=lambda: deque(maxlen=_PLOT_POINTS))
