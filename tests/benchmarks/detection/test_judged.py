"""Many files in one replay are judged as each would be in a replay of its own."""

from pathlib import Path

import numpy as np

from anomalyd.adapters.recording import Recording
from anomalyd.runtime.replay import Replay
from anomalyd.settings import Settings, Stream
from tests.benchmarks.detection.judged import Promise, anomalyd
from tests.benchmarks.detection.series import Series, univariate


def wave(seed: int, rows: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    rng = np.random.default_rng(seed)
    values = np.asarray(np.sin(np.arange(rows) / 9.0) + 0.1 * rng.standard_normal(rows), float)
    values[-40] += 5.0
    return np.asarray(values)


def single() -> list[Series]:
    """Different lengths, starts and intervals."""
    return [
        univariate("short", 1.4e9 + 300.0 * np.arange(500.0), wave(1, 500)),
        univariate("long", 1.3e9 + 60.0 * np.arange(800.0), wave(2, 800)),
    ]


def replayed(series: Series, folder: Path) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    path = folder / f"{series.name}.csv"
    lines = zip(series.times.tolist(), series.values[:, 0].tolist(), strict=True)
    text = "".join(f"{time_s!r},{value!r}\n" for time_s, value in lines)
    path.write_text(f"timestamp,{series.name}\n{text}")
    blocks = Replay(Settings(), folder).blocks(Recording(path))
    return np.concatenate([block.verdicts.score for block in blocks])


def test_the_verdicts_of_a_file_are_its_own(tmp_path: Path) -> None:
    series = single()
    for each, judged in zip(series, anomalyd(series, Promise.WEEK), strict=True):
        alone = np.nan_to_num(replayed(each, tmp_path))
        np.testing.assert_allclose(judged.score[:, 0], alone, rtol=1e-5, atol=1e-8)


def test_a_fault_is_raised_where_it_is_and_named() -> None:
    series = single()
    for each, judged in zip(series, anomalyd(series, Promise.READINGS), strict=True):
        at = len(each) - 40
        assert judged.raised[at, 0]
        assert judged.onset[at, 0] == judged.score[at, 0] >= 1.0
        assert (at, each.name) in [(alert.at, alert.channel) for alert in judged.alerts]


def test_channels_of_an_asset_keep_their_columns() -> None:
    values = np.stack([wave(3, 300), 100.0 + wave(4, 300)], axis=1)
    rig = Series("rig1", ("rig1/a", "rig1/b"), 1.5e9 + np.arange(300.0), values)
    stream = Stream(topic="plant/{rig}/{sensor}", group_by=("rig",))
    (judged,) = anomalyd([rig], Promise.WEEK, (stream,))
    expected = judged.expected[200:]
    assert np.all(np.abs(expected - [0.0, 100.0]) < 20.0)
