"""`anomalyd train --predictor asset`: recordings and a configuration in, a network for one class of
assets out.

The streams with `group_by` say which columns are one asset, and which of its members are known
inputs. Every asset of every recording is one example of the class; one that lacks a member of it,
or is too short, is left out. Runs on the caller's thread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalyd.adapters.recording import Recording
from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import LARGEST_VALUE
from anomalyd.detection.relation import MEMBERS
from anomalyd.errors import ConfigError, DataError
from anomalyd.model import asset_training
from anomalyd.model.asset import AssetConfig, AssetNetwork
from anomalyd.model.asset_training import SHORTEST, AssetPlan, AssetReport
from anomalyd.runtime.streams import channel_of, read_streams
from anomalyd.runtime.train import made_by
from anomalyd.settings import Stream


@dataclass(frozen=True, slots=True)
class TrainedAsset:
    """A network, how it did on what was held out, and how it was made."""

    network: AssetNetwork
    report: AssetReport
    card: Mapping[str, object]
    left_out: Sequence[str]
    """assets that lack a member or are too short"""


def on_recordings(
    paths: Sequence[Path],
    streams: Sequence[Stream],
    seed: int,
    plan: AssetPlan,
    progress: Callable[[int, float], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedAsset:
    """Raises ConfigError where no stream makes assets, DataError where the recordings have none."""
    inputs = _inputs(streams)
    ticks = {f"{path.name}: {name}": rows for path in paths for name, rows in _ticks(path, streams)}
    members = _members(ticks)
    known = tuple(sorted(set(inputs) & set(members)))
    config = AssetConfig(tuple(name for name in members if name not in known), known)
    seats = (*config.members, *config.inputs)
    whole = {
        name: np.array([[row[seat] for seat in seats] for row in rows])
        for name, rows in ticks.items()
        if len(rows) >= SHORTEST and set(rows[0]) >= set(seats)
    }
    if not whole or len(config.members) < 2:
        raise DataError(
            f"{', '.join(map(str, paths))}: no asset with {SHORTEST} rows of two members or more"
        )
    network, report = asset_training.train(
        list(whole.values()), config, seed, plan, should_stop, progress
    )
    data: dict[str, object] = {"recordings": [path.name for path in paths], "assets": len(whole)}
    left_out = [name for name in ticks if name not in whole]
    return TrainedAsset(network, report, made_by(seed, plan, data, report), left_out)


def _inputs(streams: Sequence[Stream]) -> tuple[str, ...]:
    grouped = [stream for stream in streams if stream.group_by]
    if not grouped:
        raise ConfigError("train: no stream has a group_by, so the configuration has no assets")
    if len({frozenset(stream.inputs) for stream in grouped}) > 1:
        raise ConfigError("train: streams with different inputs can't share an asset model")
    return grouped[0].inputs


def _members(ticks: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """The members of the class: those of its largest asset."""
    largest = max((rows[0] for rows in ticks.values() if rows), key=len, default={})
    if len(largest) > MEMBERS:
        raise DataError(f"an asset of {len(largest)} channels: at most {MEMBERS} are compared")
    return sorted(largest)


def _ticks(path: Path, streams: Sequence[Stream]) -> list[tuple[str, list[dict[str, float]]]]:
    """(asset, rows) of a recording; a row has a value of every member, and is complete when the
    last of them has spoken, as in service."""
    members = _assets(path, streams)
    spoken: dict[str, dict[str, float]] = defaultdict(dict)
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    for asset, _ in members.values():
        sizes[asset] += 1
    for row in Recording(path).rows():
        for column, value in row.readings:
            if column not in members or not abs(value) <= LARGEST_VALUE:
                continue
            asset, member = members[column]
            spoken[asset][member] = value
            if len(spoken[asset]) == sizes[asset]:
                rows[asset].append(spoken.pop(asset))
    return [(asset.partition(":")[2], rows[asset]) for asset in sizes]


def _assets(path: Path, streams: Sequence[Stream]) -> dict[str, tuple[str, str]]:
    """Column -> asset and member."""
    readers = read_streams(streams)
    found: dict[str, Channel] = {}
    for row in Recording(path).rows():
        for column, _ in row.readings:
            if column not in found:
                found[column] = channel_of(readers, column)
    return {
        column: (channel.asset, channel.member)
        for column, channel in found.items()
        if channel.asset is not None
    }
