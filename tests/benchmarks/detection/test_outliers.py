"""F1 and rates of rows: an example by hand."""

import numpy as np
import pytest

from tests.benchmarks.detection.outliers import outliers


def test_rows_are_pooled_over_the_files() -> None:
    labels = [np.array([1, 1, 0, 0], dtype=np.bool_), np.array([0, 0, 1, 0], dtype=np.bool_)]
    alarms = [np.array([1, 0, 1, 0], dtype=np.bool_), np.array([0, 0, 1, 0], dtype=np.bool_)]
    f1, far, mar = outliers(labels, alarms)
    assert pytest.approx((2 / 3, 20.0, 100 / 3)) == (f1, far, mar)


def test_silence_scores_nothing() -> None:
    assert (0.0, 0.0, 100.0) == outliers([np.array([True, False])], [np.zeros(2, dtype=np.bool_)])
