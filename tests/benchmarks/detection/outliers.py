"""Row by row: F1, false-alarm rate and missed-alarm rate, pooled over the files.

The leaderboard protocol of the Skoltech Anomaly Benchmark. It rewards long alarms: "alert from row
560 of each file to its end" reaches an F1 of 0.81, so F1 means something next to the rates only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from anomalyd.detection.reading import Flags


class Outliers(NamedTuple):
    f1: float
    far: float
    """% of the normal rows in alarm"""
    mar: float
    """% of the anomalous rows not in alarm"""


def outliers(labels: Sequence[Flags], alarms: Sequence[Flags]) -> Outliers:
    """Of each file (N,), the rows that are free for training cut off."""
    label, alarm = np.concatenate(labels), np.concatenate(alarms)
    hit, false, missed = (
        int((label & alarm).sum()),
        int((~label & alarm).sum()),
        int((label & ~alarm).sum()),
    )
    return Outliers(
        hit / max(hit + 0.5 * (false + missed), 0.5),
        100.0 * false / max(int((~label).sum()), 1),
        100.0 * missed / max(int(label.sum()), 1),
    )
