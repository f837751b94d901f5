"""A predictor that scores beside the one that serves, and raises nothing: a challenger before its
promotion, or the former champion after it, so that the way back is short.

Its network has a state of its own, what it expected, and a score baseline of its own, begun from
the serving one's. The experts are shared: they don't depend on the network. `Pipeline.swap`
exchanges all three at once. Owned by the pipeline, on its thread; others read the counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from anomalyd.detection import columns
from anomalyd.detection.alert import AlertRules, AlertStates
from anomalyd.detection.experts import Beats, Outlook
from anomalyd.detection.reading import Flags, Floats, Readings, Rows, State
from anomalyd.detection.reference import Held
from anomalyd.detection.relation import Compared, Relations
from anomalyd.detection.score import Scorer
from anomalyd.detection.sustained import Astray, Sustained
from anomalyd.detection.views import Expected
from anomalyd.model.predictor import NextStepPredictor


class Round(NamedTuple):
    """What the serving model was judged with: B readings, one a channel."""

    readings: Readings
    settling: Flags
    quantum: Floats
    risk: Floats
    held: Held
    astray: Astray
    raised: Flags
    """by what serves"""


@dataclass(frozen=True, slots=True)
class Tally:
    """What has happened since the last swap, or since the shadow began."""

    readings: int
    """that the shadow scored"""
    raised: int
    """alerts that it would have raised"""
    raised_serving: int
    """alerts that what serves has raised on the same readings"""
    promised: float
    """alerts that the budget allows on them"""
    unknown: int
    """of the readings, those that it expected nothing finite of, and what serves did"""
    unknown_serving: int
    """... and the other way round"""


NOTHING = Tally(0, 0, 0, 0.0, 0, 0)


class Shadow:
    """Columns of `capacity` channels, for those that `index` serves."""

    def __init__(
        self,
        capacity: int,
        index: int,
        predictor: NextStepPredictor,
        warmup_readings: int,
        rules: AlertRules,
    ) -> None:
        """`index`: of the predictor in the pipeline that it may take the place of; `predictor`
        shares its bank."""
        self._capacity = capacity
        self.index = index
        self.predictor = predictor
        self.scorer = Scorer(capacity, warmup_readings)
        self.expected = np.zeros((capacity, len(Expected)))
        self.expected[:] = np.nan
        self.states = AlertStates(capacity, rules)
        self.tally = NOTHING

    def begin(self, rows: Rows, scorer: Scorer, states: AlertStates, expected: Floats) -> None:
        """Take over what is normal on the channels in `rows`, what is open, and what is `expected`
        (B, expected) of them until it has said something itself."""
        columns.copy(scorer, self.scorer, self._capacity, rows)
        self.expected[rows] = expected
        self.stand(rows, states)

    def stand(self, rows: Rows, states: AlertStates) -> None:
        """Count from where what serves stands: what is open there is no alert of the shadow's."""
        columns.copy(states, self.states, self._capacity, rows)
        self.tally = NOTHING

    def reset(self, rows: Rows) -> None:
        """Forget the channels in `rows`."""
        self.predictor.reset(rows)
        self.scorer.reset(rows)
        self.states.reset(rows)
        self.expected[rows] = np.nan

    def foresee(self, rows: Rows, outlook: Outlook, beats: Beats) -> None:
        """Look ahead, as the serving predictor does, from the same experts."""
        self.expected[rows] = self.predictor.foresee(rows, outlook, beats).expected.T

    def elect(self, compared: Compared) -> None:
        """See `Scorer.elect`."""
        self.scorer.elect(compared)

    def judge(self, seen: Round, relations: Relations, sustained: Sustained, known: Flags) -> None:
        """Score the readings, learn, and count. `known`: (B,) what serves expected something."""
        rows, times, values = seen.readings.rows, seen.readings.times, seen.readings.values
        expected = np.ascontiguousarray(self.expected[rows].T)
        state = self.states.states(rows)
        look = self.scorer.look(
            rows, times, values, expected, seen.settling, relations, seen.quantum, seen.risk,
            state >= State.PENDING,
        )  # fmt: skip
        firing, alarms = state == State.FIRING, self.scorer.alarms(rows)
        look = sustained.judge(rows, look, seen.held, seen.astray, alarms, firing)
        warming = np.isnan(look.score)
        raised = self.states.advance(rows, times, look.score, look.kind, warming).raised
        learns = ~self.states.quarantined(rows, times)
        self.scorer.learn(rows, values, look, seen.risk, learns, raised)
        self._count(seen, raised, np.isfinite(expected[Expected.NEXT]), known)

    def _count(self, seen: Round, raised: Flags, finite: Flags, known: Flags) -> None:
        before = self.tally
        self.tally = Tally(
            before.readings + raised.size,
            before.raised + int(raised.sum()),
            before.raised_serving + int(seen.raised.sum()),
            before.promised + float(seen.risk.sum()),
            before.unknown + int((known & ~finite).sum()),
            before.unknown_serving + int((finite & ~known).sum()),
        )
