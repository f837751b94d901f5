"""Drawings for the replay's report, as SVG that is put into the page: no scripts, no colours.

`report.py` calls it on the caller's thread. Pure: arrays in, text out; the page's style sheet
paints the classes `band expected value high alert grid`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

import numpy as np

from anomalyd.detection.reading import Flags, Floats

WIDTH, HEIGHT = 960, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 22, 20, 24
_TICKS_ACROSS, _TICKS_UP = 10, 6
_STEPS_S = (
    *(unit * step for unit in (0.001, 0.01, 0.1) for step in (1.0, 2.0, 5.0)),
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0),
    *(3600.0, 7200.0, 10800.0, 21600.0, 43200.0),
)
_DAY_S = 86400.0
_LARGEST = 1e300
# A line is broken where readings are missing: for so many usual intervals, and visibly.
_GAP_INTERVALS, _GAP_SHARE = 10.0, 0.04


@dataclass(frozen=True, slots=True)
class Span:
    """From an alert's raise to its clearing, in seconds since 1970, and what to call it."""

    first_s: float
    last_s: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where times and values go on the drawing."""

    first_s: float
    last_s: float
    low: float
    high: float
    left: float
    top: float
    right: float
    bottom: float

    def across(self, times: Floats) -> Floats:
        share = (times - self.first_s) / max(self.last_s - self.first_s, 1e-9)
        return self.left + share * (self.right - self.left)

    def up(self, values: Floats) -> Floats:
        """Not further outside than can be written with few digits: it is clipped anyway."""
        share = np.clip((values - self.low) / (self.high - self.low), -1.0, 2.0)
        return self.bottom - share * (self.bottom - self.top)


def chart(trace: Floats, spans: Iterable[Span], unit: str, label: str) -> str:
    """Readings (n, 6) of one channel (time, value, expected, lower, upper, score) with axes, the
    band shaded, readings at the threshold or above dotted, alerts behind everything."""
    times, values, expected, lower, upper, scores = _drawable(trace).T
    low, high = _reach(values, expected, lower, upper)
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    frame = _Frame(float(times[0]), float(times[-1]), low, high, _LEFT, _TOP, right, bottom)
    runs = _runs(times)
    dots = scores >= 1.0
    parts = [
        *_alerts(frame, spans),
        *_value_axis(frame, unit),
        *_time_axis(frame),
        f'<svg x="{_LEFT}" y="{_TOP}" width="{right - _LEFT}" height="{bottom - _TOP}" '
        f'viewBox="{_LEFT} {_TOP} {right - _LEFT} {bottom - _TOP}">',
        _path("band", _area(frame, times, lower, upper, runs)),
        _path("expected", _line(frame, times, expected, runs)),
        _path("value", _line(frame, times, values, runs)),
        _path("high", "".join(f"{point}h0" for point in _points(frame, times[dots], values[dots]))),
        "</svg>",
    ]
    return _svg("chart", WIDTH, HEIGHT, label, parts)


def sparkline(
    within: tuple[float, float],
    shape: tuple[Floats, Floats, Floats],
    spans: Iterable[Span],
    label: str,
    size: tuple[int, int] = (220, 32),
) -> str:
    """Times, lowest and highest values (n,) of a channel `within` the whole run, without axes."""
    times, lowest, highest = map(_drawable, shape)
    if not times.size:
        return ""
    width, height = size
    low, high = _padded(float(lowest.min()), float(highest.max()))
    frame = _Frame(*within, low, high, 1, 1, width - 1, height - 1)
    both = np.stack((lowest, highest), axis=1).ravel()
    line = "M" + "L".join(_pairs(frame, np.repeat(times, 2), both)) + "h0"
    return _svg("spark", width, height, label, [*_alerts(frame, spans), _path("value", line)])


# --- lines --------------------------------------------------------------------------------------


def _svg(kind: str, width: int, height: int, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _path(kind: str, line: str) -> str:
    return f'<path class="{kind}" d="{line}"/>' if line else ""


def _pairs(frame: _Frame, times: Floats, values: Floats) -> Iterator[str]:
    places = zip(frame.across(times).tolist(), frame.up(values).tolist(), strict=True)
    return (f"{x:.1f} {y:.1f}" for x, y in places)


def _points(frame: _Frame, times: Floats, values: Floats) -> Iterator[str]:
    return (f"M{pair}" for pair in _pairs(frame, times, values))


def _line(frame: _Frame, times: Floats, values: Floats, runs: Floats) -> str:
    known = np.isfinite(values)
    return "".join(
        "M" + "L".join(_pairs(frame, times[run], values[run])) + "h0"
        for run in _pieces(runs, known)
    )


def _area(frame: _Frame, times: Floats, lower: Floats, upper: Floats, runs: Floats) -> str:
    pieces = []
    for run in _pieces(runs, np.isfinite(lower) & np.isfinite(upper)):
        around = np.concatenate((times[run], times[run][::-1]))
        edge = np.concatenate((upper[run], lower[run][::-1]))
        pieces.append("M" + "L".join(_pairs(frame, around, edge)) + "Z")
    return "".join(pieces)


def _runs(times: Floats) -> Floats:
    """(n,) number of the stretch without a gap that each reading is in."""
    steps = np.diff(times)
    if not steps.size:
        return np.zeros(times.size)
    longest = max(_GAP_INTERVALS * np.median(steps), _GAP_SHARE * (times[-1] - times[0]))
    return np.concatenate(([0.0], np.cumsum(steps > longest)))


def _pieces(runs: Floats, known: Flags) -> Iterator[slice]:
    """Stretches of known figures."""
    ends = np.flatnonzero((np.diff(runs) > 0) | (np.diff(known) != 0)) + 1
    for first, end in zip([0, *ends.tolist()], [*ends.tolist(), known.size], strict=True):
        if known[first]:
            yield slice(first, end)


def _alerts(frame: _Frame, spans: Iterable[Span]) -> Iterator[str]:
    """Never too thin to be seen."""
    for span in spans:
        if span.last_s < frame.first_s or span.first_s > frame.last_s:
            continue
        edges = np.clip([span.first_s, span.last_s], frame.first_s, frame.last_s)
        first, last = frame.across(edges).tolist()
        title = f"<title>{escape(span.label)}</title>" if span.label else ""
        yield (
            f'<rect class="alert" x="{first:.1f}" y="{frame.top:g}" '
            f'width="{max(last - first, 2.0):.1f}" height="{frame.bottom - frame.top:g}">'
            f"{title}</rect>"
        )


# --- axes ---------------------------------------------------------------------------------------


def _drawable(figures: Floats) -> Floats:
    """What is not finite is unknown; what is huge is small enough to reckon with."""
    return np.clip(np.where(np.isfinite(figures), figures, np.nan), -_LARGEST, _LARGEST)


def _reach(values: Floats, expected: Floats, lower: Floats, upper: Floats) -> tuple[float, float]:
    """What the value axis spans: the readings, and the band but for its widest moments."""
    figures = [values, expected[np.isfinite(expected)]]
    known = np.isfinite(lower) & np.isfinite(upper)
    if known.any():
        figures.append(np.quantile(lower[known], (0.05, 0.95)))
        figures.append(np.quantile(upper[known], (0.05, 0.95)))
    every = np.concatenate(figures)
    return _padded(float(every.min()), float(every.max()))


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _value_axis(frame: _Frame, unit: str) -> Iterator[str]:
    step = _nice((frame.high - frame.low) / _TICKS_UP)
    decimals = max(0, -math.floor(math.log10(step)))
    ticks = _ticks(frame.low, frame.high, step)
    for tick, y in zip(ticks.tolist(), frame.up(ticks).tolist(), strict=True):
        yield f'<path class="grid" d="M{frame.left:g} {y:.1f}H{frame.right:g}"/>'
        figure = _figure(tick, decimals)
        yield f'<text x="{frame.left - 8:g}" y="{y + 4:.1f}" text-anchor="end">{figure}</text>'
    yield f'<text x="{frame.left:g}" y="12">{escape(unit or "value")}</text>'


def _time_axis(frame: _Frame) -> Iterator[str]:
    step = _time_step((frame.last_s - frame.first_s) / _TICKS_ACROSS)
    ticks = _ticks(frame.first_s, frame.last_s, step)
    for tick, x in zip(ticks.tolist(), frame.across(ticks).tolist(), strict=True):
        yield f'<path class="grid" d="M{x:.1f} {frame.bottom:g}v4"/>'
        place = f'x="{x:.1f}" y="{frame.bottom + 17:g}" text-anchor="middle"'
        yield f"<text {place}>{_clock(tick, step)}</text>"
    yield f'<text x="{frame.right:g}" y="12" text-anchor="end">{_days(frame)}, UTC</text>'


def _ticks(first: float, last: float, step: float) -> Floats:
    """Multiples of `step` from `first` to `last`."""
    return step * np.arange(math.ceil(first / step), math.floor(last / step) + 1, dtype=np.float64)


def _nice(least: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... from `least` on."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)


def _time_step(least: float) -> float:
    listed = next((step for step in _STEPS_S if step >= least), None)
    return listed or _DAY_S * _nice(least / _DAY_S)


def _figure(tick: float, decimals: int) -> str:
    tick = tick or 0.0  # no "-0"
    return f"{tick:,.{decimals}f}" if decimals < 7 and abs(tick) < 1e12 else f"{tick:.6g}"


def _clock(time_s: float, step_s: float) -> str:
    moment = datetime.fromtimestamp(round(time_s, 3), UTC)
    if step_s >= _DAY_S:
        return f"{moment:%d %b}"
    if step_s >= 60.0:
        return f"{moment:%H:%M}"
    fraction = f".{moment.microsecond // 1000:03d}" if step_s < 1.0 else ""
    return f"{moment:%H:%M:%S}{fraction}"


def _days(frame: _Frame) -> str:
    first, last = (datetime.fromtimestamp(at, UTC).date() for at in (frame.first_s, frame.last_s))
    return f"{first}" if first == last else f"{first} to {last}"
