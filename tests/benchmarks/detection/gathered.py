"""Many series as one recording: row 0 of each, row 1 of each, ...

One replay then scores a whole set, a round of the pipeline for all series at once, many times
faster than a replay a file. Each reading keeps its own series' time: to the pipeline they are
channels that live at different times, and it judges each by its own clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from anomalyd.adapters.recording import Recording, Row
from anomalyd.detection.reading import Rows
from tests.benchmarks.detection.series import Series


class Gathered(Recording):
    """What `Replay.blocks` reads, from memory."""

    def __init__(self, series: Sequence[Series]) -> None:
        super().__init__(Path("gathered.csv"))
        self._series = series

    @property
    def size(self) -> int:
        return sum(each.values.size for each in self._series)

    def rows(self) -> Iterator[Row]:
        columns = [(each.channels, each.times, each.values) for each in self._series]
        done = 0
        for index in range(max(map(len, self._series))):
            for channels, times, values in columns:
                if index < times.size:
                    done += len(channels)
                    readings = list(zip(channels, values[index].tolist(), strict=True))
                    yield Row("", float(times[index]), readings, done)

    def owners(self) -> Rows:
        """(readings,) which series each reading belongs to, in the order of `rows`."""
        index = np.concatenate([np.arange(len(each)) for each in self._series])
        of = np.repeat(np.arange(len(self._series)), [len(each) for each in self._series])
        widths = np.array([len(each.channels) for each in self._series])
        ordered = of[np.lexsort((of, index))]
        return np.repeat(ordered, widths[ordered])
