"""SKAB with and without an asset network: `python -m tests.benchmarks.detection.skab_asset DATA`.

DATA is SKAB's data folder (`anomaly-free/`, `valve1/`, ...). The protocol is the leaderboard's: the
first 400 rows of an experiment are free for learning, the rest is scored point by point, pooled
over all experiments. The network is trained by the code of `anomalyd train --predictor asset` on
`anomaly-free` and the first 400 rows of every experiment; every experiment is replayed by the code
of `anomalyd replay` with default settings, from nothing. A row is alarmed while any of its channels
fires.

A sensor has *changed* where in the labelled interval its median is more than 4 robust standard
deviations (of the first 400 rows) from their median, or its robust spread is twice or half theirs.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from anomalyd.adapters.recording import Recording
from anomalyd.detection.reading import State
from anomalyd.model.asset_training import AssetPlan
from anomalyd.runtime import train, train_asset
from anomalyd.runtime.replay import Replay
from anomalyd.settings import Settings, Stream

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEARNT = 400
GROUPS = ("valve1", "valve2", "other")
_SIGMAS, _TIMES = 4.0, 2.0
_SEEDS = (1, 2, 3)
_RIG = "rig"


@dataclass(frozen=True)
class Experiment:
    """One file of the benchmark."""

    name: str
    stamps: Sequence[str]
    sensors: Sequence[str]
    values: Array
    """(rows, sensors)"""
    anomaly: Flags
    """(rows,)"""

    def changed(self) -> set[str]:
        """Sensors that physically changed in the labelled interval."""
        normal, faulty = self.values[:LEARNT], self.values[self.anomaly]
        (centre, sigma), (middle, spread) = _robust(normal), _robust(faulty)
        sigma = np.maximum(sigma, 1e-9)
        moved = np.abs(middle - centre) > _SIGMAS * sigma
        ratio = np.maximum(spread, 1e-9) / sigma
        moved |= (ratio > _TIMES) | (ratio < 1.0 / _TIMES)
        return {name for name, each in zip(self.sensors, moved, strict=True) if each}


@dataclass(frozen=True)
class Told:
    """What the daemon said of one experiment."""

    alarmed: Flags
    """(rows,)"""
    first: str | None
    """sensor of the first alert that was raised in the labelled interval"""
    named: set[str]
    """sensors of all of them"""


def read(path: Path) -> Experiment:
    """An experiment, or the recording without faults."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file, delimiter=";")
    sensors = [name for name in header[1:] if name not in ("anomaly", "changepoint")]
    cells = np.array([[float(cell) for cell in line[1:]] for line in lines])
    labelled = "anomaly" in header
    anomaly = cells[:, header.index("anomaly") - 1] > 0 if labelled else np.zeros(len(lines), bool)
    stamps = [line[0] for line in lines]
    name = f"{path.parent.name}/{path.stem}"
    return Experiment(name, stamps, sensors, cells[:, : len(sensors)], anomaly)


def write(experiment: Experiment, rows: int, path: Path) -> Path:
    """Its first rows as a recording."""
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["timestamp", *(f"{_RIG}/{name}" for name in experiment.sensors)])
        for stamp, values in zip(experiment.stamps[:rows], experiment.values, strict=False):
            out.writerow([stamp, *values.tolist()])
    return path


def settings(model: Path | None) -> Settings:
    """The shipped configuration, and the bench as one asset."""
    stream = Stream(topic="bench/{rig}/{sensor}", group_by=("rig",), model=model)
    return Settings(streams=(stream,))


def fit(free: Experiment, experiments: Sequence[Experiment], seed: int, folder: Path) -> Path:
    """Train the network of this seed."""
    paths = [write(free, len(free.stamps), folder / "free.csv")]
    paths += [write(each, LEARNT, folder / f"head-{at}.csv") for at, each in enumerate(experiments)]
    trained = train_asset.on_recordings(
        paths, settings(None).streams, seed, AssetPlan(), lambda step, loss: None
    )
    out = folder / f"skab-{seed}.safetensors"
    train.write(trained.network, trained.card, out)
    report = trained.report
    _say(
        f"seed {seed}: held-out mae {report.mae:.3f} sd "
        f"(linear {report.mae_linear:.3f}, mean {report.mae_mean:.3f})"
    )
    return out


def replay(experiment: Experiment, model: Path | None, folder: Path) -> Told:
    """One experiment through the daemon's code."""
    recording = Recording(write(experiment, len(experiment.stamps), folder / "experiment.csv"))
    alarmed = np.zeros(len(experiment.stamps), dtype=np.bool_)
    raised: list[tuple[str, str]] = []
    row = {stamp: at for at, stamp in enumerate(experiment.stamps)}
    for block in Replay(settings(model), folder).blocks(recording):
        states = block.verdicts.state == State.FIRING
        for stamp, fires in zip(block.stamps, states, strict=True):
            alarmed[row[stamp]] |= fires
        raised += [
            (alert.started_at, alert.labels["sensor"])
            for alert in block.alerts
            if alert.transition == "raised"
        ]
    during = [sensor for began, sensor in raised if _within(began, experiment)]
    return Told(alarmed, during[0] if during else None, set(during))


def _within(began: str, experiment: Experiment) -> bool:
    labelled = np.flatnonzero(experiment.anomaly)
    first, last = (experiment.stamps[int(at)] for at in labelled[[0, -1]])
    return first <= began[:19].replace("T", " ") <= last


def figures(experiments: Sequence[Experiment], told: Mapping[str, Told]) -> str:
    """The row of the table."""
    truth = np.concatenate([each.anomaly[LEARNT:] for each in experiments])
    said = np.concatenate([told[each.name].alarmed[LEARNT:] for each in experiments])
    hit, false = int((truth & said).sum()), int((~truth & said).sum())
    missed, quiet = int((truth & ~said).sum()), int((~truth & ~said).sum())
    changed = {each.name: each.changed() for each in experiments}
    first = sum(told[name].first in sensors for name, sensors in changed.items())
    anyone = sum(bool(told[name].named & sensors) for name, sensors in changed.items())
    count = len(experiments)
    return (
        f"F1 {hit / max(hit + 0.5 * (missed + false), 1e-9):.3f}  "
        f"FAR {100 * false / max(false + quiet, 1):4.1f} %  "
        f"MAR {100 * missed / max(hit + missed, 1):4.1f} %  "
        f"first alert names a changed sensor {first}/{count}, any alert {anyone}/{count}"
    )


def run(data: Path, seeds: Sequence[int]) -> None:
    """Print the table."""
    paths = [path for group in GROUPS for path in sorted((data / group).glob("*.csv"))]
    experiments = [read(path) for path in paths]
    free = read(next((data / "anomaly-free").glob("*.csv")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, model in _models(free, experiments, seeds, folder):
            told = {each.name: replay(each, model, folder) for each in experiments}
            _say(f"{what:24} {figures(experiments, told)}")


def _models(
    free: Experiment, experiments: Sequence[Experiment], seeds: Sequence[int], folder: Path
) -> Iterator[tuple[str, Path | None]]:
    yield "running covariance", None
    for seed in seeds:
        yield f"asset network, seed {seed}", fit(free, experiments, seed, folder)


def _robust(values: Array) -> tuple[Array, Array]:
    middle = np.median(values, axis=0)
    return middle, 1.4826 * np.median(np.abs(values - middle), axis=0)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.detection.skab_asset")
    parser.add_argument("data", type=Path, metavar="DATA", help="SKAB's data folder")
    parser.add_argument("--seed", type=int, metavar="N", help="default: 1, 2 and 3")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run(options.data, (options.seed,) if options.seed is not None else _SEEDS)


if __name__ == "__main__":
    main()
