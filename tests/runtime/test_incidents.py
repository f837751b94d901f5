"""Cases survive on disk, are bounded, and a damaged one hurts no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anomalyd.model.segment import Cut
from anomalyd.runtime.incidents import Incident, Incidents


def _incident(alert: str, start_s: float, size: float, channel: str = "a") -> Incident:
    """300 readings before `start_s`, and 60 that are `size` spreads off."""
    values = np.random.default_rng(0).normal(0.0, 1.0, 360)
    values[300:] += size
    times = start_s - 300.0 + np.arange(360.0)
    cut = Cut(channel, times, values, np.arange(360) < 300)
    return Incident(alert, channel, "residual", start_s, start_s + 60.0, [cut])


def _alerts(cases: Incidents) -> list[str]:
    return [each.alert for each in cases.all()]


def test_a_case_comes_back_as_it_was(tmp_path: Path) -> None:
    """Readings, flags and times, to the last bit."""
    kept = _incident("x", 1000.0, 9.0)
    Incidents(tmp_path / "new").keep(kept)
    (found,) = Incidents(tmp_path / "new").all()
    assert (kept.alert, kept.start_s, kept.end_s) == (found.alert, found.start_s, found.end_s)
    assert np.array_equal(kept.segments[0].values, found.segments[0].values)
    assert np.array_equal(kept.segments[0].learnt, found.segments[0].learnt)


def test_the_oldest_goes_and_so_does_what_is_alike(tmp_path: Path) -> None:
    """The same size on the same channel is one case; at most so many are kept."""
    cases = Incidents(tmp_path, most=2)
    cases.keep(_incident("first", 1000.0, 9.0))
    cases.keep(_incident("again", 2000.0, 9.5))
    assert ["again"] == _alerts(cases)
    cases.keep(_incident("other way", 3000.0, -9.0))
    cases.keep(_incident("elsewhere", 4000.0, 9.0, "b"))
    assert ["other way", "elsewhere"] == _alerts(cases)


def test_a_damaged_file_is_left_out(tmp_path: Path) -> None:
    """With a line in the log; the others are read."""
    cases = Incidents(tmp_path)
    cases.keep(_incident("x", 1000.0, 9.0))
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    assert ["x"] == _alerts(cases)
