"""Sparkplug B: `spBv1.0/{group}/{type}/{node}/{device}`, sections 5 and 6 of its specification 3.0.

A birth names the metrics of a node or device, with their types and aliases; data may then come by
alias alone. What is known of a node holds from its birth to its death; data that no birth explains
is refused as `alias`, and the node is asked to announce itself again. The only codec that keeps
anything between two payloads: nodes and metrics up to a bound, the longest silent go first, and are
asked again when they speak. Runs on the pipeline's thread alone, so it has no lock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from anomalyd.adapters.codec import sparkplug_layout
from anomalyd.adapters.codec import sparkplug_wire as wire
from anomalyd.adapters.codec.payload import (
    Numbers,
    Options,
    Refused,
    Series,
    Time,
    bounded,
)
from anomalyd.adapters.codec.sparkplug_layout import Layout

NAMESPACE = "spBv1.0"
TYPE_LEVEL = 2
_NODE_LEVELS = 4
_BIRTHS, _DATA, _DEATHS = ("NBIRTH", "DBIRTH"), ("NDATA", "DDATA"), ("NDEATH", "DDEATH")
_TYPES = (*_BIRTHS, *_DATA, *_DEATHS)
_COMMANDS = ("NCMD", "DCMD")
_NOTHING = Series((), (), ())

_MOST_METRICS = 200_000
_MOST_DEVICES = 20_000
_LONGEST_NAME = 1024

_GOOD = 192
_BITS = {1: 8, 2: 16, 3: 32, 4: 64}
"""signed datatypes: their two's complement is sent as an unsigned number"""
_NUMERIC = range(1, 11)
_BOOLEAN = 11
_TEXTS = (12, 14)
_OWN = ("Node Control/", "Device Control/")


class _Known(NamedTuple):
    """What a birth said of a metric."""

    name: str
    datatype: int
    unit: str


@dataclass(slots=True)
class _Device:
    by_alias: dict[int, _Known] = field(default_factory=dict)
    by_name: dict[str, _Known] = field(default_factory=dict)
    layout: Layout | None = None
    """how its data was laid out"""
    others: int = 0
    """messages since then that were laid out otherwise"""


@dataclass(slots=True)
class _Node:
    birth: int | None = None
    """bdSeq: the death that belongs to this birth has the same"""
    devices: dict[str, _Device] = field(default_factory=dict)
    """"" = the node's own metrics"""
    metrics: int = 0


class SparkplugCodec:
    """Births, data and deaths of all nodes of a stream."""

    def __init__(self, options: Options) -> None:
        options.without("sparkplug", "value", "time", "step", "quality")
        self._numbers: Numbers = options.numbers
        self._nodes: OrderedDict[str, _Node] = OrderedDict()
        self._metrics = self._devices = 0

    def decode(self, payload: bytes, topic: str = "") -> Series:
        """Raises Refused: `size`, `topic` or `protobuf`."""
        levels = topic.split("/")
        check(levels)
        kind = levels[TYPE_LEVEL]
        if kind in _COMMANDS or levels[1] == "STATE":
            return _NOTHING
        bounded(payload)
        group, node = levels[1], levels[3]
        device = levels[4] if len(levels) > 4 else ""
        if kind in _DATA:
            return self._data(group, node, device, payload)
        read = wire.read(payload)
        if kind == "NDEATH":
            return self._end_node(group, node, read)
        if kind == "DDEATH":
            return self._end_device(group, node, device)
        if kind in _BIRTHS:
            self._begin(group, node, device, read)
        return self._readings(group, node, device, read)

    # --- births and deaths ------------------------------------------------------------------

    def _begin(self, group: str, name: str, device: str, read: wire.Payload) -> None:
        if not device:
            self._forget(f"{group}/{name}")
        node = self._node(group, name)
        if not device:
            node.birth = _birth(read)
        self._drop(node, device)
        known = _Device()
        for metric in read.metrics:
            if metric.name and metric.datatype is not None and len(metric.name) <= _LONGEST_NAME:
                unit = wire.properties(metric.properties).get("engUnit", "")
                said = _Known(metric.name, metric.datatype, unit if isinstance(unit, str) else "")
                known.by_name[metric.name] = said
                if metric.alias is not None:
                    known.by_alias[metric.alias] = said
        node.devices[device] = known
        node.metrics += len(known.by_name)
        self._metrics += len(known.by_name)
        self._devices += 1
        self._keep_to_bounds()

    def _end_node(self, group: str, name: str, read: wire.Payload) -> Series:
        node = self._nodes.get(f"{group}/{name}")
        birth = _birth(read)
        if node and node.birth is not None and birth is not None and birth != node.birth:
            return _NOTHING  # the will of a connection before this one
        self._forget(f"{group}/{name}")
        return _NOTHING._replace(dead=_place(group, name, ""))

    def _end_device(self, group: str, name: str, device: str) -> Series:
        node = self._nodes.get(f"{group}/{name}")
        if node:
            self._drop(node, device)
        return _NOTHING._replace(dead=_place(group, name, device))

    def _node(self, group: str, name: str) -> _Node:
        key = f"{group}/{name}"
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = _Node()
        self._nodes.move_to_end(key)
        return node

    def _drop(self, node: _Node, device: str) -> None:
        known = node.devices.pop(device, None)
        if known is not None:
            node.metrics -= len(known.by_name)
            self._metrics -= len(known.by_name)
            self._devices -= 1

    def _forget(self, key: str) -> None:
        node = self._nodes.pop(key, None)
        if node is not None:
            self._metrics -= node.metrics
            self._devices -= len(node.devices)

    def _keep_to_bounds(self) -> None:
        while self._metrics > _MOST_METRICS or self._devices > _MOST_DEVICES:
            self._forget(next(iter(self._nodes)))

    # --- readings ---------------------------------------------------------------------------

    def _data(self, group: str, name: str, device: str, payload: bytes) -> Series:
        """As the message before it, where its bytes lie as that one's."""
        node = self._nodes.get(f"{group}/{name}")
        known = node.devices.get(device) if node else None
        layout = known.layout if known else None
        found = layout.read(payload) if layout else None
        if known and layout and found:
            self._nodes.move_to_end(f"{group}/{name}")
            known.others = 0
            return Series(layout.names, *found, layout.units)
        series = self._readings(group, name, device, wire.read(payload))
        if known and not series.refused:
            known.others += 1
            # Ever more seldom, where no two messages are alike.
            if known.others & (known.others - 1) == 0:
                known.layout = sparkplug_layout.learn(payload, series.names, series.units)
        return series

    def _readings(self, group: str, name: str, device: str, read: wire.Payload) -> Series:
        node = self._nodes.get(f"{group}/{name}")
        known = node.devices.get(device) if node else None
        if node:
            self._nodes.move_to_end(f"{group}/{name}")
        names: list[str] = []
        values: list[float] = []
        times: list[Time] = []
        units: dict[str, str] = {}
        refused: list[tuple[str, str]] = []
        for metric in read.metrics:
            said = _look_up(metric, known)
            if said is None:
                refused.append((metric.name or f"alias {metric.alias}", "alias"))
                continue
            if said.name == "bdSeq" or said.name.startswith(_OWN):
                continue
            reason = _what_is_wrong(metric)
            value = None if reason else self._value(metric, said.datatype)
            if reason:
                refused.append((said.name, reason))
            elif value is not None:
                names.append(said.name)
                values.append(value)
                times.append(metric.time_ms if metric.time_ms is not None else read.time_ms)
                if said.unit:
                    units[said.name] = said.unit
        asks = any(reason == "alias" for _, reason in refused)
        ask = f"{NAMESPACE}/{group}/NCMD/{name}" if asks else ""
        return Series(names, values, times, units, refused, ask=ask)

    def _value(self, metric: wire.Metric, datatype: int) -> float | None:
        """None where it is no number and isn't mapped to one."""
        value = metric.value
        if metric.kind == wire.BOOLEAN_VALUE and datatype == _BOOLEAN:
            return self._numbers.of(value)
        if isinstance(value, str):
            return self._numbers.of(value) if datatype in _TEXTS else None
        if datatype not in _NUMERIC or not metric.kind or metric.kind == wire.BOOLEAN_VALUE:
            return None
        bits = _BITS.get(datatype)
        if bits and isinstance(value, int):
            value &= (1 << bits) - 1
            value -= (value >> (bits - 1)) << bits
        return float(value)


def check(levels: list[str]) -> None:
    """Raises Refused (`topic`) where a topic is none of Sparkplug's."""
    if levels[0] == NAMESPACE and len(levels) == 3 and levels[1] == "STATE":
        return
    if levels[0] == NAMESPACE and len(levels) in (4, 5):
        kind = levels[TYPE_LEVEL]
        if kind in (*_TYPES, *_COMMANDS) and (kind[0] == "D") == (len(levels) == 5):
            return
    raise Refused("topic", f"no topic of Sparkplug B; one is {NAMESPACE}/GROUP/DDATA/NODE/DEVICE")


def place(topic: str) -> str:
    """What births, data and deaths of one device have in common; no topic, but one filter."""
    levels = topic.split("/")
    return "/".join([*levels[:TYPE_LEVEL], "+", *levels[TYPE_LEVEL + 1 :]])


def node_of(place: str) -> str:
    """The place of the node that a device's place lies below, or its own; "" where it is none of
    Sparkplug's."""
    levels = place.split("/")
    fits = levels[0] == NAMESPACE and levels[TYPE_LEVEL : TYPE_LEVEL + 1] == ["+"]
    return "/".join(levels[:_NODE_LEVELS]) if fits else ""


def _place(group: str, node: str, device: str) -> str:
    return f"{NAMESPACE}/{group}/+/{node}" + f"/{device}" * bool(device)


def _birth(read: wire.Payload) -> int | None:
    for metric in read.metrics:
        if metric.name == "bdSeq" and isinstance(metric.value, int) and metric.kind:
            return metric.value
    return None


def _look_up(metric: wire.Metric, known: _Device | None) -> _Known | None:
    """What the birth, or the metric itself, says it is."""
    if metric.name:
        said = known.by_name.get(metric.name) if known else None
        if metric.datatype is None:
            return said
        if said is None or said.datatype != metric.datatype:
            return _Known(metric.name, metric.datatype, said.unit if said else "")
        return said
    return known.by_alias.get(metric.alias) if known and metric.alias is not None else None


def _what_is_wrong(metric: wire.Metric) -> str:
    if metric.is_null:
        return "null"
    if metric.properties:
        quality = wire.properties(metric.properties).get("Quality", _GOOD)
        if quality != _GOOD:
            return "quality"
    return ""
