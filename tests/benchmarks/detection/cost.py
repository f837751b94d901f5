"""What detection costs: CPU a reading from value to verdict, next to the LSTM's step alone.

1 000 channels, a reading of each in a batch, after 200 batches of warm-up; once each channel by
itself, once in assets of 8. The LSTM's step is the cell with the shipped weights on as many
rows. Both alternate, so a machine whose speed drifts changes both. A file of 22 000 rows and one
channel goes through `replay` as the command does it, the verdict file written.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Readings
from anomalyd.model import checkpoint, lstm
from anomalyd.runtime import registry
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.replay import replay
from anomalyd.settings import Settings
from tests.benchmarks.detection.table import Table

CHANNELS = 1000
_WARMUP, _ROUNDS, _TURNS, _MEMBERS = 200, 50, 5, 8
_FILE_ROWS = 22_000
_START_S = 1_700_000_000.0


def run(seed: int) -> list[Table]:
    """The costs, with what is to be reached."""
    table = Table(f"Cost at {CHANNELS} channels, microseconds of CPU a reading")
    step = _lstm_step()
    for name, members in (("each channel alone", 1), (f"assets of {_MEMBERS}", _MEMBERS)):
        rounds = _pipeline(seed, members)
        for _ in range(_WARMUP):
            rounds()
        turns = [(_us(rounds), _us(step)) for _ in range(_TURNS)]
        whole, alone = (statistics.median(figures) for figures in zip(*turns, strict=True))
        table.add(
            {"what": name, "value to verdict": whole, "LSTM step": alone, "ratio": whole / alone}
        )
    table.notes.append("to reach: 3")
    file = Table(f"Replay of a file of {_FILE_ROWS} rows and one channel")
    elapsed_s, cpu_s = _replay_s(seed)
    file.add({"what": "seconds (to reach: 20)", "elapsed": elapsed_s, "CPU": cpu_s})
    return [table, file]


def _pipeline(seed: int, members: int) -> Callable[[], None]:
    """A call scores one reading of each channel."""
    settings = Settings()
    served = registry.load((), Path(), settings.channels.max)
    pipeline = Pipeline("bench", settings.channels, settings.alerts, (), served.predictors)
    for index in range(CHANNELS):
        asset = f"m{index // members}" if members > 1 else None
        pipeline.add(Channel(f"c{index}", {}, -1, asset=asset))
    rng, rows = np.random.default_rng(seed), np.arange(CHANNELS)
    shared = rng.standard_normal(CHANNELS // members)[rows // members % (CHANNELS // members)]
    at = 0

    def one() -> None:
        nonlocal at
        at += 1
        values = np.sin(at / 20.0 + shared) + 0.1 * rng.standard_normal(CHANNELS)
        pipeline.step(Readings(rows, np.full(CHANNELS, _START_S + at), values))

    return one


def _lstm_step() -> Callable[[], None]:
    network = checkpoint.shipped_network()
    size, weights = network.config.hidden, network.weights
    seen = np.random.default_rng(0).standard_normal((network.config.features, CHANNELS))
    features = seen.astype(np.float32)
    h = c = np.zeros((size, CHANNELS), dtype=np.float32)

    def one() -> None:
        nonlocal h, c
        h, c = lstm.remember(weights, "lstm", lstm.hear(weights, "lstm", features), h, c)

    return one


def _us(call: Callable[[], None]) -> float:
    begun = time.process_time()
    for _ in range(_ROUNDS):
        call()
    return 1e6 * (time.process_time() - begun) / (_ROUNDS * CHANNELS)


def _replay_s(seed: int) -> tuple[float, float]:
    values = np.random.default_rng(seed).standard_normal(_FILE_ROWS).cumsum()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "readings.csv"), Path(folder, "verdicts.csv")
        lines = (f"{_START_S + 300.0 * at},{value}\n" for at, value in enumerate(values.tolist()))
        source.write_text("timestamp,channel\n" + "".join(lines), encoding="utf-8")
        begun, cpu = time.monotonic(), time.process_time()
        replay(Settings(), Path(folder), source, out, lambda block: None)
        return time.monotonic() - begun, time.process_time() - cpu
