"""A bounded, seeded sample of the history, as lessons for the next-step network.

Every channel gives equally many pieces, as far as it has them, so that one with much history
doesn't rule. Readings that were quarantined are seen by the expert bank, as in service, but are
neither learnt nor learnt from. Called by fine-tuning and by the gate; no files, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from anomalyd.detection.experts import HORIZONS
from anomalyd.detection.reading import Flags
from anomalyd.model import training
from anomalyd.model.segment import Cut, Segment
from anomalyd.model.training import Lessons, Series

SHORTEST = 128
"""readings; a shorter piece ends before the bank knows its channel"""
_LEAST_LEARNT = 0.2
_SHORTEST_INTERVAL_S = 1e-6


def sample(segments: Sequence[Segment], length: int, most: int, seed: int) -> list[Cut]:
    """At most `most` pieces of at most `length` readings, from channel after channel."""
    rng = np.random.default_rng(seed)
    places: dict[str, list[tuple[Segment, int]]] = {}
    for each in sorted(segments, key=lambda each: (each.channel, float(each.times[0]))):
        over = each.times.size % length if each.times.size > length else 0
        offset = int(rng.integers(over + 1))
        for begin in range(offset, each.times.size, length):
            part = each.learnt[begin : begin + length]
            if part.size >= SHORTEST and part.mean() >= _LEAST_LEARNT:
                places.setdefault(each.channel, []).append((each, begin))
    turns = []
    for own in places.values():
        turns += [
            (turn, rng.random(), own[at]) for turn, at in enumerate(rng.permutation(len(own)))
        ]
    turns.sort(key=lambda turn: turn[:2])
    return [_cut(each, slice(begin, begin + length)) for _, _, (each, begin) in turns[:most]]


def _cut(each: Segment, part: slice) -> Cut:
    return Cut(each.channel, each.times[part], each.values[part], each.learnt[part])


def lessons(pieces: Sequence[Cut], each: Callable[[], None] = lambda: None) -> Lessons:
    """What the network sees of the pieces; nothing quarantined has a target. Shorter pieces are
    filled up with readings that nothing is asked of."""
    length = max(piece.values.size for piece in pieces)
    fill = [(0, length - piece.values.size) for piece in pieces]
    values = np.stack([np.pad(p.values, f, "edge") for p, f in zip(pieces, fill, strict=True)])
    learnt = np.stack([np.pad(p.learnt, f) for p, f in zip(pieces, fill, strict=True)])
    intervals = [np.median(np.diff(piece.times)) for piece in pieces]
    series = Series(
        values,
        np.array([piece.times[0] for piece in pieces]),
        np.maximum(np.array(intervals), _SHORTEST_INTERVAL_S),
        np.zeros(len(pieces)),
    )
    found = training.prepare(series, each)
    found.target[torch.from_numpy(~_asked(learnt))] = torch.nan
    return found


def _asked(learnt: Flags) -> Flags:
    """(N, T, horizons) both the reading and the one that is forecast were learnt."""
    asked = np.zeros((learnt.shape[0], learnt.shape[1] - 1, len(HORIZONS)), dtype=np.bool_)
    for index, horizon in enumerate(HORIZONS):
        both = learnt[:, :-horizon] & learnt[:, horizon:]
        asked[:, : both.shape[1], index] = both
    return asked
