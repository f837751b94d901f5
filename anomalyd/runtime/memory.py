"""What a pipeline remembers, as arrays and facts; and put into a fresh one, by the channels' names.

`remember` is called by `state.py` on the pipeline's thread, between two batches; `recall` once,
before any thread runs. Only rows in use are taken. What each class keeps
is found by `detection/columns.py`; here stand the kinds of columns, and what is no column.

| kind         | one row for each | put back                                              |
|--------------|------------------|-------------------------------------------------------|
| `channel/`   | channel          | always                                                |
| `bank/`      | channel          | always: the experts outlive a change of the network   |
| `asset/`     | asset            | always                                                |
| `limit/`     | with limits      | always                                                |
| `probation/` | on probation     | always                                                |
| `blocks/`    | with limits      | where the forecaster's windows are as long as before  |
| `model/NAME/` | it serves       | where that very model serves again; else made anew    |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomalyd.adapters.topics import shared
from anomalyd.detection import columns
from anomalyd.detection.channels import Channel
from anomalyd.detection.columns import Columns
from anomalyd.detection.experts import Beats
from anomalyd.detection.reading import NOTHING, Kind, Rows
from anomalyd.errors import StateError
from anomalyd.model.asset_predictor import AssetPredictor
from anomalyd.model.predictor import Predictor
from anomalyd.runtime.alerts import Alert, Crossing
from anomalyd.runtime.limits import Standing
from anomalyd.runtime.older_state import renewed
from anomalyd.runtime.open_alerts import OpenAlert
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Stream

_ASSET = "relations.asset"
_SERVES = "serves"
"""of a model: indices of its channels in the memory; ..."""
_TRIED = "tried"
"""... of channels on probation: theirs"""


class Kept(msgspec.Struct, frozen=True):
    """A channel."""

    name: str
    labels: Mapping[str, str]
    stream: int
    unit: str
    asset: str | None
    member: str


class KeptAlert(msgspec.Struct, frozen=True):
    """An open alert; `channel`: its index in the memory."""

    channel: int
    id: str
    started_s: float
    reason: str
    accepted: bool


class KeptLimit(msgspec.Struct, frozen=True):
    """An open alert about a limit."""

    channel: int
    id: str
    kind: int
    started_s: float
    limit: float
    reason: str
    score: float
    crossing: Crossing | None


class Facts(msgspec.Struct, frozen=True):
    """What is no array."""

    streams: Sequence[Mapping[str, Any]]
    channels: Sequence[Kept]
    alerts: Sequence[KeptAlert]
    limits: Sequence[KeptLimit]
    raised_s: Sequence[float]
    first_s: float | None
    newest_s: float | None


@dataclass(frozen=True, slots=True)
class Memory:
    """One moment of a pipeline. Its arrays are copies."""

    arrays: Columns
    facts: Facts


@dataclass(frozen=True, slots=True)
class Recalled:
    """What became of a memory."""

    rows: Mapping[str, int]
    """name -> row of the channels that go on"""
    anew: Sequence[str]
    """names of the channels that begin anew"""
    rebuilt: int
    """channels whose network's state was made anew from their windows"""
    cleared: Sequence[Alert]
    """of channels that begin anew"""


def meaning(stream: Stream) -> Mapping[str, Any]:
    """What must be the same for a channel to go on; models may change."""
    return stream.model_dump(mode="json", exclude={"model", "forecast_model"})


def remember(pipeline: Pipeline, streams: Sequence[Stream]) -> Memory:
    """Copy what is kept of the channels in use."""
    # Sorted, they mostly are rows in a row, which are copied much faster.
    listing = sorted(pipeline.table.listing(), key=itemgetter(0))
    rows = np.array([row for row, _ in listing], dtype=np.intp)
    kinds = _Kinds(pipeline)
    index = np.full(pipeline.table.capacity, -1, dtype=np.intp)
    index[rows] = np.arange(rows.size)
    arrays = dict(_named("channel", columns.take(kinds.channel, rows)))
    asset = pipeline.parts.relations.places[0][rows]
    arrays |= _named("asset", columns.take(kinds.asset, np.unique(asset[asset >= 0])))
    arrays |= _named("bank", kinds.take_bank(rows))
    limited = rows[pipeline.parts.limits.limited(rows)]
    arrays |= _named("limit", columns.take(kinds.limit, limited))
    arrays |= _named("blocks", columns.take(kinds.blocks, limited))
    tried = rows[pipeline.parts.probation.on(rows)]
    arrays |= _named("probation", columns.take(kinds.probation, tried))
    arrays[f"probation/{_TRIED}"] = index[tried]
    for model in kinds.models:
        mine = model.rows(rows)
        arrays |= _named(f"model/{model.name}", columns.take(model.columns, mine))
        arrays[f"model/{model.name}/{_SERVES}"] = index[mine]
    return Memory(arrays, _facts(pipeline, streams, listing, index))


def recall(pipeline: Pipeline, streams: Sequence[Stream], memory: Memory, now_s: float) -> Recalled:
    """Let a fresh pipeline go on from a memory. Raises StateError, and has then changed nothing.

    `now_s`: when alerts of channels that don't go on are cleared.
    """
    memory = Memory(renewed(memory.arrays), memory.facts)
    kinds, facts = _Kinds(pipeline), memory.facts
    for kind, ours in (
        ("channel", kinds.channel),
        ("bank", kinds.bank),
        ("asset", kinds.asset),
        ("limit", kinds.limit),
        ("probation", {**kinds.probation, _TRIED: NOTHING.rows}),
    ):
        different = columns.differs(ours, _kind(memory, kind))
        if different:
            raise StateError(
                f"of another version, or channels.window was another: its {kind} {different}"
            )
    rows, goes_on = _add(pipeline, _moved(facts, streams))
    known = rows >= 0
    _put(pipeline, kinds, memory, rows)
    rebuilt = _put_models(pipeline, kinds, memory, rows)
    _put_alerts(pipeline, facts, rows)
    pipeline.recall_silences()
    cleared: list[Alert] = []
    for row in rows[known & ~goes_on].tolist():
        cleared += pipeline.retire(row, now_s)
    names = [channel.name for channel in facts.channels]
    stays = np.flatnonzero(known & goes_on).tolist()
    gone = np.flatnonzero(~(known & goes_on)).tolist()
    return Recalled(
        {names[at]: int(rows[at]) for at in stays}, [names[at] for at in gone], rebuilt, cleared
    )


# --- the kinds of columns -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Model:
    """The columns that one network's weights give their meaning."""

    name: str
    columns: Columns
    served: NDArray[np.bool_]
    """(capacity,)"""

    def rows(self, rows: Rows) -> Rows:
        """Those of `rows` that it serves."""
        return rows[self.served[rows]]


class _Kinds:
    """All columns of a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        parts, capacity = pipeline.parts, pipeline.table.capacity
        networks = parts.networks
        self._parts = parts
        self._capacity = capacity
        own = (
            parts.predictor, parts.relations, networks, parts.limits, parts.probation,
            *parts.predictors,
        )  # fmt: skip
        places = parts.relations.places
        self.channel = {
            **columns.find(pipeline, capacity, (*own, pipeline.shadow)),
            _ASSET: places[0],
            "relations.slot": places[1],
        }
        self.asset = columns.find(parts.relations, capacity, places)
        self.banks = [columns.find(each.bank, capacity) for each in parts.predictors]
        self.bank = self.banks[0]
        self.probation = columns.find(parts.probation, capacity)
        self.limit, self.blocks = (columns.find(one, capacity) for one in parts.limits.columns)

    @property
    def models(self) -> list[_Model]:
        """As things stand: which channel is served by which follows from who has joined."""
        parts = self._parts
        each = [self._predictor(at, one) for at, one in enumerate(parts.predictors)]
        return each + [self._network(one) for one in parts.networks.predictors]

    def _predictor(self, index: int, predictor: Predictor) -> _Model:
        found = columns.find(predictor, self._capacity, (predictor.bank,))
        return _Model(predictor.name, found, self._parts.predictor == index)

    def _network(self, predictor: AssetPredictor) -> _Model:
        networks = self._parts.networks
        apart = (*networks.seating, *networks.predictors)
        found = {
            **columns.find(networks, self._capacity, apart),
            **_named("net", columns.find(predictor, self._capacity)),
        }
        served = np.zeros(self._capacity, dtype=np.bool_)
        served[networks.seated(predictor)] = True
        return _Model(predictor.name, found, served)

    def take_bank(self, rows: Rows) -> Columns:
        """Each channel's experts, from the predictor that serves it."""
        taken = columns.take(self.bank, rows)
        for index, bank in enumerate(self.banks[1:], 1):
            mine = self._parts.predictor[rows] == index
            columns.put(taken, mine.nonzero()[0], columns.take(bank, rows[mine]))
        return taken

    def put_bank(self, rows: Rows, figures: Columns) -> None:
        for index, bank in enumerate(self.banks):
            mine = self._parts.predictor[rows] == index
            columns.put(bank, rows[mine], columns.take(figures, mine.nonzero()[0]))


def _named(kind: str, found: Columns) -> Columns:
    return {f"{kind}/{name}": column for name, column in found.items()}


def _kind(memory: Memory, kind: str) -> Columns:
    head = f"{kind}/"
    return {
        name.removeprefix(head): array
        for name, array in memory.arrays.items()
        if name.startswith(head)
    }


# --- what is no column ----------------------------------------------------------------------


def _facts(
    pipeline: Pipeline,
    streams: Sequence[Stream],
    listing: Sequence[tuple[int, Channel]],
    index: Rows,
) -> Facts:
    raised, first_s, newest_s = pipeline.open_alerts.history()
    spoken = first_s <= newest_s  # JSON has no infinity
    return Facts(
        streams=[meaning(stream) for stream in streams],
        channels=[
            Kept(each.name, each.labels, each.stream, each.unit, each.asset, each.member)
            for _, each in listing
        ],
        alerts=[
            KeptAlert(int(index[row]), each.id, each.started_s, each.reason, each.accepted)
            for row, each in pipeline.open_alerts.open.items()
        ],
        limits=[
            KeptLimit(
                int(index[row]), each.id, int(each.kind), each.started_s, each.limit, each.reason,
                each.score, each.crossing,
            )
            for row, each in pipeline.parts.limits.open.items()
        ],
        raised_s=raised,
        first_s=first_s if spoken else None,
        newest_s=newest_s if spoken else None,
    )  # fmt: skip


def _moved(facts: Facts, streams: Sequence[Stream]) -> list[tuple[Channel, bool]]:
    """The channels as this configuration has them, and whether they go on."""
    ours = [meaning(stream) for stream in streams]
    now = {-1: -1}
    for index, theirs in enumerate(facts.streams):
        now[index] = ours.index(theirs) if theirs in ours else -1
    moved = []
    for each in facts.channels:
        goes_on = each.stream < 0 or now[each.stream] >= 0
        asset = each.asset
        if asset is not None:
            # An asset is named by its stream's number too; one that ends must meet no other.
            asset = shared(f"{now[each.stream] if goes_on else 'over'}:{asset.partition(':')[2]}")
        labels = {name: shared(word) for name, word in each.labels.items()}
        channel = Channel(each.name, labels, now[each.stream], each.unit, asset, each.member)
        moved.append((channel, goes_on))
    return moved


def _add(
    pipeline: Pipeline, channels: Sequence[tuple[Channel, bool]]
) -> tuple[Rows, NDArray[np.bool_]]:
    """(B,) rows, -1 where the table is full, and which go on."""
    rows = pipeline.add_all([channel for channel, _ in channels])
    return (
        np.array([-1 if row is None else row for row in rows], dtype=np.intp),
        np.array([goes_on for _, goes_on in channels], dtype=np.bool_),
    )


def _put(pipeline: Pipeline, kinds: _Kinds, memory: Memory, rows: Rows) -> None:
    """Write the columns, and the places in the assets of this pipeline."""
    _put_probation(kinds, memory, rows)
    known = np.flatnonzero(rows >= 0)
    rows = rows[known]
    columns.put(kinds.channel, rows, columns.take(_kind(memory, "channel"), known))
    kinds.put_bank(rows, columns.take(_kind(memory, "bank"), known))
    _put_assets(pipeline, kinds, memory, rows)
    facts = memory.facts
    had = np.array([_has_limits(facts, each.stream) for each in facts.channels], dtype=np.bool_)
    at = (np.cumsum(had) - 1)[known]
    kept = had[known] & pipeline.parts.limits.limited(rows)
    for ours, kind in ((kinds.limit, "limit"), (kinds.blocks, "blocks")):
        figures = _kind(memory, kind)
        if columns.differs(ours, figures) is None:
            columns.put(ours, rows[kept], columns.take(figures, at[kept]))


def _put_probation(kinds: _Kinds, memory: Memory, rows: Rows) -> None:
    figures = dict(_kind(memory, "probation"))
    tried = rows[figures.pop(_TRIED)]
    again = np.flatnonzero(tried >= 0)
    columns.put(kinds.probation, tried[again], columns.take(figures, again))


def _has_limits(facts: Facts, stream: int) -> bool:
    return stream >= 0 and not (
        facts.streams[stream]["low"] is None and facts.streams[stream]["high"] is None
    )


def _put_assets(pipeline: Pipeline, kinds: _Kinds, memory: Memory, rows: Rows) -> None:
    """Assets are numbered as they come: `places` are still those of the memory."""
    relations, assets = pipeline.parts.relations, pipeline.parts.assets
    place, _ = relations.places
    before = place[rows]
    now = [assets.get(pipeline.table[row].asset or "", -1) for row in rows.tolist()]
    member = before >= 0
    numbers, first = np.unique(before[member], return_index=True)
    ours = np.array(now, dtype=np.int64)[member]
    columns.put(kinds.asset, ours[first], _saved_assets(memory, numbers))
    place[rows[member]] = ours
    relations.reseat(rows)


def _saved_assets(memory: Memory, numbers: NDArray[np.int64]) -> Columns:
    """The rows of these assets, by their number in the memory."""
    asset = np.asarray(memory.arrays[f"channel/{_ASSET}"])
    saved = np.unique(asset[asset >= 0])
    return columns.take(_kind(memory, "asset"), np.searchsorted(saved, numbers))


# --- models ---------------------------------------------------------------------------------


def _put_models(pipeline: Pipeline, kinds: _Kinds, memory: Memory, rows: Rows) -> int:
    """Columns of networks that serve again; how many channels' were made anew."""
    parts, rebuilt = pipeline.parts, 0
    known = rows[rows >= 0]
    networks = {id(each) for each in parts.networks.predictors}
    owners = [*parts.predictors, *parts.networks.predictors]
    for model, owner in zip(kinds.models, owners, strict=True):
        figures = dict(_kind(memory, f"model/{model.name}"))
        serves = rows[figures.pop(_SERVES, np.empty(0, dtype=np.intp))]
        fits = columns.differs(model.columns, figures) is None
        again = (serves >= 0) & model.served[serves] if fits else np.zeros(serves.size, np.bool_)
        if fits:
            columns.put(model.columns, serves[again], columns.take(figures, again.nonzero()[0]))
        if id(owner) not in networks:
            lost = np.setdiff1d(model.rows(known), serves[again])
            rebuilt += lost.size
            rebuild(pipeline, owner, lost)
    return rebuilt


def rebuild(pipeline: Pipeline, predictor: Any, rows: Rows) -> None:
    """Replay the windows without their newest values, which no predictor has taken yet."""
    if not rows.size:
        return
    windows, cadence = pipeline.parts.windows, pipeline.parts.cadence
    times, values, filled = windows.before_last(rows)
    interval_s = cadence.interval_s(rows)
    since = np.diff(times, axis=1, prepend=times[:, :1])
    beats = [
        Beats(times[:, step], interval_s, cadence.gaps(rows, since[:, step]))
        for step in range(times.shape[1])
    ]
    predictor.rebuild(rows, values, filled, beats)


def _put_alerts(pipeline: Pipeline, facts: Facts, rows: Rows) -> None:
    for each in facts.alerts:
        if rows[each.channel] >= 0:
            standing = OpenAlert(each.id, each.started_s, each.reason, each.accepted)
            pipeline.open_alerts.open[int(rows[each.channel])] = standing
    for limit in facts.limits:
        if rows[limit.channel] >= 0:
            pipeline.parts.limits.open[int(rows[limit.channel])] = Standing(
                limit.id, Kind(limit.kind), limit.started_s, limit.limit, limit.reason,
                limit.score, limit.crossing,
            )  # fmt: skip
    if facts.first_s is not None and facts.newest_s is not None:
        pipeline.open_alerts.remember(facts.raised_s, facts.first_s, facts.newest_s)
