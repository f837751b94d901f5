"""The drawings' rules: readable ticks, lines broken where nothing is known, any finite value."""

import re

import numpy as np
import pytest

from anomalyd.detection.reading import Floats
from anomalyd.runtime.plot import Span, chart, sparkline

START_S = 1_748_772_000.0


def trace(values: list[float], step_s: float = 1.0) -> Floats:
    readings = np.zeros((len(values), 6))
    readings[:, 0] = START_S + step_s * np.arange(len(values))
    readings[:, 1] = readings[:, 2] = values
    readings[:, 3], readings[:, 4] = readings[:, 1] - 1.0, readings[:, 1] + 1.0
    return readings


def labels(drawing: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawing)


def line(drawing: str, kind: str) -> str:
    found = re.search(rf'<path class="{kind}" d="([^"]*)"', drawing)
    return found[1] if found else ""


@pytest.mark.parametrize(
    ("step_s", "tick"),
    [(0.001, "10:00:00.050"), (1.0, "10:01:30"), (60.0, "11:00"), (3600.0, "03 Jun")],
)
def test_time_ticks_are_round_and_few(step_s: float, tick: str) -> None:
    found = labels(chart(trace([0.0, 1.0] * 150, step_s), [], "", ""))
    assert tick in found and 6 <= len(found) <= 25


def test_values_have_their_unit_and_round_ticks() -> None:
    found = labels(chart(trace([0.0, 2.0, 10_000.0]), [], "l/min", "flow"))
    assert {"l/min", "0", "2,000", "10,000"} <= set(found)


def test_what_is_unknown_is_a_break() -> None:
    readings = trace([1.0] * 20)
    readings[5:9, 2:5] = np.nan
    drawing = chart(readings, [], "", "")
    assert [line(drawing, kind).count("M") for kind in ("value", "expected", "band")] == [1, 2, 2]


def test_a_gap_is_a_break() -> None:
    readings = trace([1.0] * 100)
    readings[60:, 0] += 50.0
    drawing = chart(readings, [], "", "")
    assert [line(drawing, kind).count("M") for kind in ("value", "band")] == [2, 2]


def test_an_alert_is_shaded_only_where_it_is_in_view() -> None:
    spans = [Span(START_S + 5, START_S + 900, "<why>"), Span(START_S + 800, START_S + 900)]
    drawing = chart(trace([1.0] * 20), spans, "", "")
    assert drawing.count('class="alert"') == 1 and "<title>&lt;why&gt;</title>" in drawing


def test_readings_at_the_threshold_or_above_are_dotted() -> None:
    readings = trace([1.0] * 20)
    readings[[3, 7], 5] = (1.0, 4.0)
    readings[4, 5] = np.nan
    assert line(chart(readings, [], "", ""), "high").count("h0") == 2


@pytest.mark.parametrize(
    "values",
    [[5.0], [0.0, 0.0], [1e16, 1e16], [1e-320, 0.0], [-1.7e308, 1.7e308], [1e8, 1e8 + 1e-3]],
)
def test_any_finite_values_can_be_drawn(values: list[float]) -> None:
    readings = trace(values)
    drawing = chart(readings, [], "", "")
    drawing += sparkline((START_S, START_S + 1), (readings[:, 0], *readings[:, 1:3].T), [], "")
    assert "nan" not in drawing and "inf" not in drawing
