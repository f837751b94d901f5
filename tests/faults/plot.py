"""A curve over time, for a report: in characters, and as SVG. Pure: points in, text out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_COLUMNS, _LINES = 72, 10
_WIDTH, _HEIGHT, _EDGE = 800, 300, 60


def text(x: NDArray[np.float64], y: NDArray[np.float64], of_x: str, of_y: str) -> str:
    """A star for the mean of what falls into a column; (N,) each, x rising."""
    low, high = float(y.min()), float(y.max())
    places = np.clip((_COLUMNS * (x - x[0]) / np.ptp(x)).astype(int), 0, _COLUMNS - 1)
    cells = np.full((_LINES, _COLUMNS), " ")
    for column in np.unique(places):
        height = (y[places == column].mean() - low) / max(high - low, 1e-9)
        cells[_LINES - 1 - round(height * (_LINES - 1)), column] = "*"
    edge = max(len(f"{high:.0f}"), len(f"{low:.0f}"))
    marks = [f"{high:.0f}", *[""] * (_LINES - 2), f"{low:.0f}"]
    lines = [f"{mark:>{edge}} |{''.join(line)}" for mark, line in zip(marks, cells, strict=True)]
    foot = f"{x[0]:.0f} {'-' * (_COLUMNS - 8)} {x[-1]:.0f} {of_x}"
    return "\n".join([of_y, *(line.rstrip() for line in lines), " " * edge + "  " + foot])


def svg(x: NDArray[np.float64], y: NDArray[np.float64], of_x: str, of_y: str) -> str:
    """The same as a picture, from y = 0 on."""
    across = _EDGE + (_WIDTH - 2 * _EDGE) * (x - x[0]) / np.ptp(x)
    down = _HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * y / y.max()
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))
    left, right, foot = _EDGE, _WIDTH - _EDGE, _HEIGHT - _EDGE
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"
 font-family="sans-serif" font-size="12">
<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>
<path d="M{left},{_EDGE} V{foot} H{right}" fill="none" stroke="black"/>
<text x="{left}" y="{_EDGE - 10}">{of_y}</text>
<text x="{left - 6}" y="{_EDGE + 4}" text-anchor="end">{y.max():.0f}</text>
<text x="{left - 6}" y="{foot + 4}" text-anchor="end">0</text>
<text x="{left}" y="{foot + 18}">{x[0]:.0f}</text>
<text x="{right}" y="{foot + 18}" text-anchor="end">{x[-1]:.0f} {of_x}</text>
<polyline points="{points}" fill="none" stroke="#1f77b4" stroke-width="1.5"/>
</svg>
"""
