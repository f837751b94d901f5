"""False alarms on normal data, against the promise: events realised over events promised.

The promise is one false alarm in 10 000 readings of a channel. Nothing is wrong with the data of
these sets as far as is known: SKAB's run without faults (each channel alone, and as an asset), the
stretches of NAB's files of at least 2 500 rows outside the label windows, MSL's training parts, and
a hold-out of the synthetic corpus, of a seed of its own, at a reading a minute. Each series meets
the detector for the first time; its first 1 000 rows are left out. Rows with a score of 1 or more
are merged over gaps of 20 rows into events; an asset's channels count each for itself. The interval
is what 95 % of Poisson counts with that mean would show (Byar's approximation, in Breslow and Day,
"Statistical methods in cancer research II", 1987).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from anomalyd.model.synthetic import corpus
from anomalyd.settings import Stream
from tests.benchmarks.detection import msl, nab, skab
from tests.benchmarks.detection.events import episodes, runs
from tests.benchmarks.detection.judged import PER_READING, Detector, Judged, Promise
from tests.benchmarks.detection.series import NoData, Series, univariate
from tests.benchmarks.detection.table import Table

GAP = 20
_IGNORED, _SHORTEST = 1000, 2500
_SYNTHETIC_SEED, _SYNTHETIC_SERIES, _SYNTHETIC_LENGTH = 910_001, 100, 4000
_NORMAL_QUANTILE = 1.96


def load(
    folder: Path, seed: int, model: Path | None = None
) -> dict[str, tuple[list[Series], tuple[Stream, ...]]]:
    """Name -> series and the streams they need; a set that isn't in `folder` is left out.
    `model`: of SKAB's assets."""
    sets: dict[str, tuple[list[Series], tuple[Stream, ...]]] = {}
    for name, found in (("SKAB", partial(_skab, model=model)), ("NAB", _nab), ("MSL", _msl)):
        try:
            sets |= found(folder)
        except NoData as error:
            print(f"{name} left out: {error}")
    return sets | {"synthetic hold-out": (_synthetic(seed), ())}


def run(
    sets: Mapping[str, tuple[Sequence[Series], tuple[Stream, ...]]],
    detectors: Mapping[str, Detector],
) -> list[Table]:
    """A row for each set and detector."""
    table = Table("False alarms on normal data, promised 1 in 10 000 readings")
    for detector, judge in detectors.items():
        for name, (series, streams) in sets.items():
            judged = judge(series, Promise.READINGS, streams)
            table.add({"set": name, "detector": detector, **_counts(judged)})
    table.notes.append("to reach: 0.5 - 1.5 in each set; aim 0.8 - 1.25; [ ]: 95 % interval")
    return [table]


def _counts(judged: Sequence[Judged]) -> dict[str, float | int | str]:
    alarms = [column for each in judged for column in (each.score[_IGNORED:] >= 1.0).T]
    events = sum(len(episodes(alarm, GAP)) for alarm in alarms)
    raised = sum(int(each.raised[_IGNORED:].sum()) for each in judged)
    readings = sum(alarm.size for alarm in alarms)
    promised = readings * PER_READING
    low, high = poisson_interval(events)
    return {
        "channels": len(alarms),
        "readings": readings,
        "promised": promised,
        "events": events,
        "events / promised": events / promised,
        "interval": f"[{low / promised:.2f}, {high / promised:.2f}]",
        "alerts raised / promised": raised / promised,
    }


def poisson_interval(count: int) -> tuple[float, float]:
    """Means under which `count` events or a more extreme number are not too rare (95 %)."""

    def bound(events: float, sigmas: float) -> float:
        root = 1.0 - 1.0 / (9.0 * events) + sigmas / (3.0 * np.sqrt(events))
        return float(events * root**3)

    low = bound(count, -_NORMAL_QUANTILE) if count else 0.0
    return low, bound(count + 1.0, _NORMAL_QUANTILE)


def _skab(folder: Path, model: Path | None) -> dict[str, tuple[list[Series], tuple[Stream, ...]]]:
    rig = skab.load(folder)
    if rig.free is None:
        raise NoData("no anomaly-free file")
    free = rig.free
    alone = [
        univariate(channel, free.times, values)
        for channel, values in zip(free.channels, free.values.T, strict=True)
    ]
    return {"SKAB free, channels": (alone, ()), "SKAB free, asset": ([free], skab.streams(model))}


def _nab(folder: Path) -> dict[str, tuple[list[Series], tuple[Stream, ...]]]:
    parts = [
        univariate(f"{each.name}:{first}", each.times[first:end], each.values[first:end, 0])
        for each in nab.load(folder)
        for first, end in (runs(~each.label) + np.array([0, 1])).tolist()
        if end - first >= _SHORTEST
    ]
    return {"NAB outside windows": (parts, ())}


def _msl(folder: Path) -> dict[str, tuple[list[Series], tuple[Stream, ...]]]:
    mission = msl.load(folder)
    train = [
        univariate(each.name, each.times[:at], each.values[:at, 0])
        for each, at in zip(mission.series, mission.test_at, strict=True)
        if at > _IGNORED
    ]
    return {"MSL train": (train, ())}


def _synthetic(seed: int) -> list[Series]:
    """Some of these change their level for good, as the corpus does: that counts as a false alarm,
    too."""
    values = corpus(_SYNTHETIC_SEED + seed, _SYNTHETIC_SERIES, _SYNTHETIC_LENGTH).values
    times = msl.times(_SYNTHETIC_LENGTH)
    return [univariate(f"synthetic/{index}", times, row) for index, row in enumerate(values)]
