"""Verdicts come out by the lines of the file, each as soon as all before it are known."""

import numpy as np

from anomalyd.detection.reading import Readings, Verdicts
from anomalyd.runtime.file_order import FileOrder


def verdicts(*values: float) -> Verdicts:
    each = np.array(values)
    return Verdicts.blank(Readings(np.zeros(each.size, dtype=np.intp), each, each))


def test_a_line_waits_for_those_before_it() -> None:
    lines = FileOrder()
    lines.await_verdicts(["0", "1", "2"], ["a", "b", "c"])
    stamps, _, found = lines.known(np.array([2, 0]), verdicts(2.0, 0.0))
    assert (["0"], [0.0]) == (stamps, found.values.tolist())
    lines.await_verdicts(["3"], ["d"])
    assert [] == lines.known(np.array([3]), verdicts(3.0))[0]
    stamps, channels, found = lines.known(np.array([1]), verdicts(1.0))
    assert (["1", "2", "3"], ["b", "c", "d"]) == (stamps, channels)
    assert [1.0, 2.0, 3.0] == found.values.tolist()
