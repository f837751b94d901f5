"""Plots of a few characters: a channel's readings in the band that was expected of it.

`screen.py` draws with it. Pure: points in, rich text out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

VALUE, BAND, EMPTY = "█", "░", " "

_STYLES: Final = {VALUE: "green", BAND: "blue dim", EMPTY: ""}
_OUTSIDE_STYLE: Final = "bold red"


@dataclass(frozen=True)
class Point:
    """One verdict: NaN where there is none."""

    value: float
    lower: float
    upper: float
    firing: bool = False


def plot(points: Sequence[Point], width: int, height: int, per_column: int = 4) -> Text:
    """The last points, newest at the right, `per_column` to a character, `height` lines.

    Readings are solid (red while the channel fires), the band is shaded.
    """
    text = Text()
    recent = points[-width * per_column :]
    columns = [recent[at : at + per_column] for at in range(0, len(recent), per_column)]
    if not any(np.isfinite(point.value) for point in recent):
        return Text("\n" * (height - 1))
    low, high = _range(recent)
    cells = [_column(column, low, high, height) for column in columns]
    for row in range(height):
        for column, drawn in zip(columns, cells, strict=True):
            fires = any(point.firing for point in column)
            glyph = drawn[height - 1 - row]
            text.append(glyph, _OUTSIDE_STYLE if glyph == VALUE and fires else _STYLES[glyph])
        text.append("\n" if row + 1 < height else "")
    return text


def _range(points: Sequence[Point]) -> tuple[float, float]:
    """What the plot spans: the readings, and the band but for its widest moments."""
    values = np.array([point.value for point in points])
    bounds = np.array([[point.lower, point.upper] for point in points])
    known = bounds[np.isfinite(bounds).all(axis=1)]
    if len(known):
        values = np.concatenate([values, np.quantile(known, (0.05, 0.95), axis=0).ravel()])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return low, high if high > low else low + 1.0


def _column(points: Sequence[Point], low: float, high: float, height: int) -> str:
    """One column of characters, lowest first."""
    glyphs = np.full(height, EMPTY)
    for start, end, glyph in (
        (min(p.lower for p in points), max(p.upper for p in points), BAND),
        (min(p.value for p in points), max(p.value for p in points), VALUE),
    ):
        if np.isfinite(start) and np.isfinite(end):
            glyphs[_rows(start, end, low, high, height)] = glyph
    return "".join(glyphs.tolist())


def _rows(start: float, end: float, low: float, high: float, height: int) -> NDArray[np.intp]:
    scale = (height - 1) / (high - low)
    first, last = (round((edge - low) * scale) for edge in (start, end))
    return np.arange(max(first, 0), min(last, height - 1) + 1)
