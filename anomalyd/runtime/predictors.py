"""Which predictor serves which channel, and what each channel is expected to read next.

Every stream has one, several streams may share it, and channels of no stream have the default. One
of them can be put in another's place. Owned by the pipeline, on its thread: no locks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalyd.detection.experts import Beats
from anomalyd.detection.reading import Floats, Rows
from anomalyd.detection.views import Expected
from anomalyd.model.predictor import NextStepPredictor, Predictor
from anomalyd.runtime.shadow import Shadow


class Predictors:
    """The predictors, and columns of `capacity` channels."""

    def __init__(self, capacity: int, of_stream: Sequence[Predictor]) -> None:
        """`of_stream`: one for each stream, then the default."""
        self.each = list({id(each): each for each in of_stream}.values())
        """without repeats"""
        self.of_row = np.zeros(capacity, dtype=np.int32)
        """(capacity,) which of them serves each channel"""
        self.expected = np.zeros((capacity, len(Expected)))
        self.scale = np.full(capacity, np.nan)
        """(capacity,) of the forecast of each channel's next value, channel units"""
        self._of_stream = [self.each.index(each) for each in of_stream]

    @property
    def default(self) -> int:
        """The one for channels whose stream names none."""
        return self._of_stream[-1]

    @property
    def serving(self) -> Predictor:
        """That one."""
        return self.each[self.default]

    def join(self, rows: Rows, stream: int) -> None:
        """New channels; `stream`: -1 = of none."""
        self.of_row[rows] = self._of_stream[stream]
        self.each[self._of_stream[stream]].reset(rows)
        self.expected[rows] = np.nan
        self.scale[rows] = np.nan

    def name(self, row: int) -> str:
        """Of the one that serves the channel."""
        return self.each[int(self.of_row[row])].name

    def among(self, rows: Rows, index: int) -> Rows:
        """Those of `rows` that it serves."""
        return rows if len(self.each) == 1 else rows[self.of_row[rows] == index]

    def observe(self, rows: Rows, values: Floats, beats: Beats, shadow: Shadow | None) -> None:
        """Take the last value (B,) of channels that begin a new step; so does the `shadow`."""
        for index, predictor in enumerate(self.each):
            mine = slice(None) if len(self.each) == 1 else self.of_row[rows] == index
            own = rows[mine]
            if not own.size:
                continue
            when = beats.take(mine)
            said = predictor.observe(own, values[mine], when)
            self.expected[own] = said.expected.T
            self.scale[own] = said.scale
            if shadow is not None and shadow.index == index:
                shadow.foresee(own, said.outlook, when)

    def quantum(self, rows: Rows) -> Floats:
        """(B,) the channels' resolutions; 0 while they have never changed."""
        return self._chosen([each.quantum(rows) for each in self.each], rows)

    def told(self, rows: Rows) -> Floats:
        """(B,) what the channels' networks said of the next value, whoever serves."""
        return self._chosen([each.bank.told(rows) for each in self.each], rows)

    def skill(self, rows: Rows) -> Floats:
        """(B,) 1 - the network's running error / the best simple expert's; NaN while unknown."""
        return self._chosen([each.skill(rows) for each in self.each], rows)

    def swap(self, shadow: Shadow, rows: Rows) -> None:
        """The shadow's predictor serves the channels in `rows` now, and the other way round."""
        former = self.each[shadow.index]
        if not isinstance(former, NextStepPredictor):
            raise TypeError(f"{former.name} can't be a shadow")
        self.each[shadow.index], shadow.predictor = shadow.predictor, former
        self.scale[rows] = np.nan  # until it looks ahead itself
        kept = self.expected[rows]
        self.expected[rows] = shadow.expected[rows]
        shadow.expected[rows] = kept

    def _chosen(self, figures: list[Floats], rows: Rows) -> Floats:
        """(B,) of each channel, what its own predictor says of it."""
        if len(figures) == 1:
            return figures[0]
        return np.stack(figures)[self.of_row[rows], np.arange(rows.size)]
