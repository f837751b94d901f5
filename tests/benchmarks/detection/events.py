"""The event-wise protocol: whole alarms against whole events, no credit for single rows.

Rows in alarm are merged into episodes over short gaps. An event counts as found when an episode
touches it; an episode that touches no event is one false alarm, told per 10 000 normal rows. An
alarm that never ends would find everything with one episode: so the share of normal time that
episodes cover is told too, and a threshold above `MOST_TIME` doesn't count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Flags, Floats

MOST_TIME = 0.05
_THRESHOLDS, _DEEPEST = 300, 0.2


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over some series."""

    events: int = 0
    found: int = 0
    false_alarms: int = 0
    normal_rows: int = 0
    normal_in_alarm: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.events + other.events,
            self.found + other.found,
            self.false_alarms + other.false_alarms,
            self.normal_rows + other.normal_rows,
            self.normal_in_alarm + other.normal_in_alarm,
        )

    @property
    def recall(self) -> float:
        return self.found / max(self.events, 1)

    @property
    def precision(self) -> float:
        """Events found, of those and the false alarms."""
        return self.found / max(self.found + self.false_alarms, 1)

    @property
    def per_10k(self) -> float:
        """False alarms in 10 000 normal rows."""
        return 1e4 * self.false_alarms / max(self.normal_rows, 1)

    @property
    def time_in_alarm(self) -> float:
        """Share of the normal rows that episodes cover."""
        return self.normal_in_alarm / max(self.normal_rows, 1)


def runs(flags: Flags) -> NDArray[np.intp]:
    """(runs, 2) first and last index of each run of true flags."""
    edges = np.diff(np.concatenate(([0], flags.astype(np.int8), [0])))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1], axis=1)


def episodes(alarm: Flags, gap: int) -> NDArray[np.intp]:
    """(episodes, 2) first and last row; runs that at most `gap` quiet rows part are one."""
    found = runs(alarm)
    if not len(found):
        return found
    apart = found[1:, 0] - found[:-1, 1] - 1 > gap
    first = found[np.concatenate(([True], apart)), 0]
    last = found[np.concatenate((apart, [True])), 1]
    return np.stack([first, last], axis=1)


def tally(label: Flags, alarm: Flags, gap: int) -> Tally:
    """One series: `label` and `alarm` are (N,), rows that aren't scored cut off."""
    events, alarms = runs(label), episodes(alarm, gap)
    covered = np.zeros(label.size + 1, dtype=np.intp)
    np.add.at(covered, alarms[:, 0], 1)
    np.add.at(covered, alarms[:, 1] + 1, -1)
    in_alarm = np.cumsum(covered[:-1]) > 0
    labelled = np.concatenate(([0], np.cumsum(label)))
    hits = labelled[alarms[:, 1] + 1] > labelled[alarms[:, 0]]
    seen = np.concatenate(([0], np.cumsum(in_alarm)))
    found = seen[events[:, 1] + 1] > seen[events[:, 0]]
    return Tally(
        len(events),
        int(found.sum()),
        int((~hits).sum()),
        int((~label).sum()),
        int((in_alarm & ~label).sum()),
    )


def total(tallies: Iterable[Tally]) -> Tally:
    return sum(tallies, Tally())


def best_at(labels: Sequence[Flags], scores: Sequence[Floats], gap: int, per_10k: float) -> Tally:
    """The most events that any one threshold finds with at most `per_10k` false alarms in 10 000
    normal rows; nothing found where no threshold can."""
    best = Tally(events=sum(len(runs(label)) for label in labels))
    for threshold in _thresholds(np.concatenate(scores)):
        at = total(
            tally(label, score >= threshold, gap)
            for label, score in zip(labels, scores, strict=True)
        )
        if at.per_10k <= per_10k and at.time_in_alarm <= MOST_TIME and at.found > best.found:
            best = at
    return best


def _thresholds(scores: Floats) -> Floats:
    """High scores, the highest ranks all, the deeper ones ever more thinly."""
    ordered = np.sort(scores[scores > 0.0])[::-1]
    if not ordered.size:
        return ordered
    deepest = max(int(_DEEPEST * scores.size), 1)
    ranks = np.unique(np.geomspace(1, deepest, _THRESHOLDS).astype(np.intp)) - 1
    return np.unique(ordered[ranks[ranks < ordered.size]])[::-1]
