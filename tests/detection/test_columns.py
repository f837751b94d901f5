"""A column is found wherever an owner keeps it, copied by rows, and put back into other rows."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalyd.detection import columns
from anomalyd.detection.alert import AlertRules, AlertStates
from anomalyd.detection.quality import Stillness
from anomalyd.detection.window import Windows

CODES = np.zeros(7, dtype=np.int8)


def test_columns_are_named_by_the_way_to_them() -> None:
    """Through lists and parts, each once; what is apart, shorter or a constant is none."""
    windows, stillness = Windows(5, 16), Stillness(5)
    windows._values.setflags(write=False)
    parts = [windows, (stillness, windows), np.zeros(4), np.zeros((2, 5))]
    assert {
        "0.since", "0.newest", "0.expected", "0.count", "1.0.value", "1.0.run", "1.0.longest",
        "1.0.seen",
    } == set(columns.find(parts, 5))  # fmt: skip
    assert {"1.0.value", "1.0.run"} == set(
        columns.find(parts, 5, (windows, stillness._longest, stillness._seen))
    )


def test_rows_are_copied_and_put_into_others() -> None:
    rules = AlertRules(1, 0.8, 20, 60.0, 3600.0, 2.0)
    one, other = AlertStates(4, rules), AlertStates(9, rules)
    one._since[:] = [1.0, 2.0, 3.0, 4.0]
    taken = columns.take(columns.find(one, 4), np.array([3, 1]))
    one._since[:] = 0.0
    columns.put(columns.find(other, 9), np.array([0, 8]), taken)
    assert [4.0, 0, 0, 0, 0, 0, 0, 0, 2.0] == other._since.tolist()


def test_zeros_go_over_figures_and_leave_zeros_untouched() -> None:
    """What was never used weighs nothing: writing zeros there would take memory for them."""
    capacity, rows = 1 << 22, np.arange(1 << 22)
    ours = {"a": np.ones(3), "b": np.zeros(capacity)}
    columns.put(ours, np.array([0, 2]), {"a": np.zeros(2), "b": np.zeros(2)})
    assert [0.0, 1.0, 0.0] == ours["a"].tolist()
    before = _resident_bytes()
    columns.put({"b": ours["b"]}, rows, {"b": np.broadcast_to(0.0, capacity)})
    assert _resident_bytes() - before < ours["b"].nbytes / 2


def _resident_bytes() -> int:
    return os.sysconf("SC_PAGESIZE") * int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ({"a": np.zeros((7, 2)), "b": CODES}, None),
        ({"a": np.zeros((7, 2))}, "b is unknown, here int8[]"),
        ({"a": np.zeros((7, 3)), "b": CODES}, "a is float64[3], here float64[2]"),
        ({"a": np.zeros((7, 2)), "b": np.zeros(7)}, "b is float64[], here int8[]"),
    ],
)
def test_what_does_not_fit_is_named(theirs: dict[str, Any], why: str | None) -> None:
    ours: dict[str, Any] = {"a": np.zeros((3, 2)), "b": np.zeros(3, dtype=np.int8)}
    assert why == columns.differs(ours, theirs)
