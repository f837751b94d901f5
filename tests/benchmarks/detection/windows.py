"""The score of the Numenta Anomaly Benchmark, version 1.1.

Each labelled window is worth something once: its first detection counts, more at the window's
beginning than at its end, by a scaled sigmoid of the place in it. Each row in alarm outside all
windows costs, little right after a window and more further behind it. A window without detection
costs. Three profiles weigh the costs. 0 is a detector that never speaks, 100 one that finds every
window at its first row and says nothing else.

Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms: the Numenta Anomaly
Benchmark", 2015. The first 15 % of a file, 750 rows at most, are probation and don't count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Floats
from tests.benchmarks.detection.series import Series

_PROBATION, _LONGEST_PROBATION = 0.15, 750
_FAR_BEHIND = 3.0  # window lengths: from here on a false alarm costs in full


class Profile(NamedTuple):
    """What a window found early is worth, and what a false alarm and a missed window cost."""

    hit: float
    false_alarm: float
    miss: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "low FP": Profile(1.0, 0.22, 1.0),
    "low FN": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True, slots=True)
class Rows:
    """The scored rows of all files, one behind the other."""

    score: Floats
    """(R,)"""
    worth: Floats
    """(R,) in (0, 1] inside a window; in [-1, 0] outside"""
    window: NDArray[np.intp]
    """(R,) number of the window; -1 outside"""
    windows: int
    """of all files, those inside the probation too"""


def probation(rows: int) -> int:
    """So many first rows of a file don't count."""
    return min(int(_PROBATION * rows), _LONGEST_PROBATION)


def gather(series: Sequence[Series], scores: Sequence[Floats]) -> Rows:
    """`scores`: of each series, (N,)."""
    worths, windows, first = [], [], 0
    for each in series:
        worth, window = _worth(len(each), each.events)
        skip = probation(len(each))
        worths.append(worth[skip:])
        windows.append(np.where(window >= 0, window + first, -1)[skip:])
        first += len(each.events)
    kept = [score[probation(score.size) :] for score in scores]
    return Rows(np.concatenate(kept), np.concatenate(worths), np.concatenate(windows), first)


def best(rows: Rows, profile: Profile) -> tuple[float, float]:
    """The score at the one threshold that is best for the whole corpus, and that threshold: the
    benchmark's own rule."""
    order = np.argsort(-rows.score, kind="stable")
    score, worth, window = rows.score[order], rows.worth[order], rows.window[order]
    gain = np.where(window < 0, profile.false_alarm * worth, 0.0)
    for number in np.unique(window[window >= 0]):
        at = np.flatnonzero(window == number)
        found = profile.hit * np.maximum.accumulate(worth[at])
        gain[at] = np.diff(found, prepend=-profile.miss)
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    sums = np.concatenate(([0.0], np.cumsum(gain)[last]))
    at_best = int(np.argmax(sums))
    threshold = np.inf if at_best == 0 else float(score[last[at_best - 1]])
    return _normed(rows, profile, float(sums[at_best])), threshold


def fixed(rows: Rows, profile: Profile, threshold: float) -> float:
    """The score where rows of at least `threshold` are alarms."""
    alarm = rows.score >= threshold
    outside = alarm & (rows.window < 0)
    gain = profile.false_alarm * float(rows.worth[outside].sum())
    for number in np.unique(rows.window[alarm & (rows.window >= 0)]):
        gain += profile.miss + profile.hit * float(
            rows.worth[alarm & (rows.window == number)].max()
        )
    return _normed(rows, profile, gain)


def _normed(rows: Rows, profile: Profile, gain: float) -> float:
    """`gain`: over a detector that never speaks."""
    can_be_found = np.unique(rows.window[rows.window >= 0]).size
    return 100.0 * gain / max(rows.windows * profile.hit + can_be_found * profile.miss, 1e-9)


def _worth(rows: int, events: Sequence[tuple[int, int]]) -> tuple[Floats, NDArray[np.intp]]:
    worth, window = np.full(rows, -1.0), np.full(rows, -1, dtype=np.intp)
    for number, (first, last) in enumerate(events):
        width = last - first + 1
        behind = np.arange(last + 1, events[number + 1][0] if number + 1 < len(events) else rows)
        worth[behind] = _sigmoid((behind - last) / max(width - 1, 1))
        inside = np.arange(first, last + 1)
        worth[inside] = _sigmoid((inside - last - 1) / width) / _sigmoid(np.array(-1.0))
        window[inside] = number
    return worth, window


def _sigmoid(place: Floats) -> Floats:
    """1 far before the window's end, 0 at it, -1 far behind."""
    bounded = np.minimum(place, _FAR_BEHIND)
    return np.where(place > _FAR_BEHIND, -1.0, 2.0 / (1.0 + np.exp(5.0 * bounded)) - 1.0)
