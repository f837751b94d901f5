"""From recordings and a configuration to a network for a class of assets: which columns are one
asset, which order its members have, what is left out, and what is refused."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from anomalyd.errors import ConfigError, DataError
from anomalyd.model.asset_training import AssetPlan
from anomalyd.runtime import train_asset
from anomalyd.runtime.train_asset import TrainedAsset
from anomalyd.settings import Stream

QUICK = AssetPlan(steps=4, check_every=2)
STREAM = Stream(topic="plant/{machine}/{sensor}", group_by=("machine",), inputs=("valve",))


def record(path: Path, columns: Sequence[str], rows: int = 200, seed: int = 0) -> Path:
    """A wide recording of channels that follow each other."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((rows, 1))
    values = common * np.arange(1, len(columns) + 1) + 0.1 * rng.standard_normal(
        (rows, len(columns))
    )
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["timestamp", *columns])
        out.writerows([at, *each] for at, each in enumerate(values.tolist(), 1_700_000_000))
    return path


def learn(*paths: Path, streams: Sequence[Stream] = (STREAM,)) -> TrainedAsset:
    return train_asset.on_recordings(paths, streams, 1, QUICK, lambda step, loss: None)


def test_assets_of_a_class_are_learnt_together(tmp_path: Path) -> None:
    """Members are in the order of their names, whatever order the columns have."""
    columns = ["a/pressure", "b/flow", "a/valve", "b/valve", "a/flow", "b/pressure"]
    trained = learn(record(tmp_path / "day.csv", columns))
    assert ("flow", "pressure") == trained.network.config.members
    assert ("valve",) == trained.network.config.inputs
    assert 2 == trained.report.assets
    assert {"recordings": ["day.csv"], "assets": 2} == trained.card["data"]
    assert not trained.left_out


def test_what_is_no_whole_asset_is_left_out(tmp_path: Path) -> None:
    """One that lacks a member, and a recording that is too short; columns of no stream are nobody's
    members."""
    whole = record(tmp_path / "day.csv", ["a/flow", "a/pressure", "a/valve", "b/flow", "alone"])
    short = record(tmp_path / "hour.csv", ["a/flow", "a/pressure", "a/valve"], rows=50)
    trained = learn(whole, short)
    assert 1 == trained.report.assets
    assert ["day.csv: b", "hour.csv: a"] == list(trained.left_out)


def test_a_long_recording_is_the_same_as_a_wide_one(tmp_path: Path) -> None:
    """A row is complete when the last member has spoken."""
    wide = record(tmp_path / "wide.csv", ["a/flow", "a/pressure", "a/valve"])
    with wide.open(newline="") as file:
        header, *lines = csv.reader(file)
    long = tmp_path / "long.csv"
    with long.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["timestamp", "channel", "value"])
        for stamp, *cells in lines:
            out.writerows(zip([stamp] * 3, header[1:], cells, strict=True))
    one, other = learn(wide).network.weights, learn(long).network.weights
    assert all(bool((weights == other[name]).all()) for name, weights in one.items())


def test_a_configuration_without_assets_is_refused(tmp_path: Path) -> None:
    """Nothing says what belongs together."""
    path = record(tmp_path / "day.csv", ["a/flow", "a/pressure"])
    with pytest.raises(ConfigError, match="group_by"):
        learn(path, streams=[Stream(topic="plant/{machine}/{sensor}")])


@pytest.mark.parametrize(
    ("columns", "rows"), [(["x", "y"], 200), (["a/flow", "a/valve"], 200), (["a/flow"], 200),
                          (["a/flow", "a/pressure"], 100)],
)  # fmt: skip
def test_recordings_without_an_asset_are_refused(
    tmp_path: Path, columns: list[str], rows: int
) -> None:
    """By name: no member, one member alone, or too few rows."""
    with pytest.raises(DataError, match=r"day\.csv: no asset"):
        learn(record(tmp_path / "day.csv", columns, rows))


def test_an_asset_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """More channels than are compared."""
    columns = [f"a/sensor{index}" for index in range(17)]
    with pytest.raises(DataError, match="17 channels: at most 16"):
        learn(record(tmp_path / "day.csv", columns))
