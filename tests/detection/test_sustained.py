"""The verdict's rules: the view that says most is told, and what is known beforehand is never at
fault."""

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Kind
from anomalyd.detection.reference import Held
from anomalyd.detection.score import Look
from anomalyd.detection.sustained import Astray, Sustained
from anomalyd.detection.views import Seen

ROWS = np.array([0])
NO, YES = np.array([False]), np.array([True])
UNKNOWN = float("nan")

Array = NDArray[np.float64]


def one(figure: float) -> Array:
    return np.array([figure])


def look(score: float) -> Look:
    nothing = one(0.0)
    seen = Seen(np.zeros((7, 1)), nothing, nothing, nothing, nothing, YES)
    kind = np.array([Kind.RESIDUAL if score >= 1.0 else Kind.NONE], dtype=np.int8)
    return Look(
        one(score), kind, one(10.0), one(9.0), one(11.0), nothing, nothing, np.zeros((7, 1)), seen
    )


def held(score: float) -> Held:
    nothing = one(0.0)
    return Held(one(score), one(20.0), one(2.0), *([nothing] * 7))


def astray(score: float) -> Astray:
    return Astray(one(score), one(30.0), one(3.0))


def judged(
    views: float,
    level: float = 0.0,
    others: float = 0.0,
    alarms: float = 0.0,
    firing: NDArray[np.bool_] = NO,
    excused: bool = False,
) -> tuple[float, int, float, float]:
    """Score, kind, and the band of normal values."""
    sustained = Sustained(1)
    if excused:
        sustained.excuse(0)
    verdict = sustained.judge(ROWS, look(views), held(level), astray(others), one(alarms), firing)
    return (
        float(verdict.score[0]),
        int(verdict.kind[0]),
        float(verdict.lower[0]),
        float(verdict.upper[0]),
    )


def test_who_says_most_is_told() -> None:
    """With what it expected and how far from it is still normal."""
    assert (1.5, Kind.RESIDUAL, 9.0, 11.0) == judged(1.5, 1.2, 1.2)
    assert (1.7, Kind.RESIDUAL, 18.0, 22.0) == judged(1.5, 1.7, 1.2)
    assert (1.9, Kind.RELATION, 27.0, 33.0) == judged(1.5, 1.7, 1.9)


def test_below_the_threshold_the_views_are_told() -> None:
    """The score is the highest, but no reference speaks up for what is no fault."""
    assert (0.9, Kind.NONE, 9.0, 11.0) == judged(0.5, 0.9, 0.8)


def test_what_can_not_be_scored_is_not_judged() -> None:
    """Whatever the level and the asset say: it is warming, or behind a gap."""
    score, kind, *_ = judged(UNKNOWN, 5.0, 5.0)
    assert np.isnan(score)
    assert Kind.NONE == kind


def test_after_alarms_the_level_must_say_more_to_raise_one_but_not_to_hold_it() -> None:
    """Half as much again for each alarm of late."""
    assert Kind.NONE == judged(0.0, 1.4, alarms=1.0)[1]
    assert Kind.RESIDUAL == judged(0.0, 1.4, alarms=1.0, firing=YES)[1]
    assert Kind.RESIDUAL == judged(0.0, 1.6, alarms=1.0)[1]


def test_what_is_known_beforehand_is_never_at_fault() -> None:
    """A command or a set-point has a score of zero, until its row is another channel's."""
    assert (0.0, Kind.NONE) == judged(5.0, 5.0, 5.0, excused=True)[:2]
    sustained = Sustained(1)
    sustained.excuse(0)
    sustained.reset(ROWS)
    verdict = sustained.judge(ROWS, look(5.0), held(0.0), astray(0.0), one(0.0), NO)
    assert [5.0] == verdict.score.tolist()
