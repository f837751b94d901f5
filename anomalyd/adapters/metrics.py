"""The text that Prometheus scrapes.

`service.py` builds one `Collector`; `http.py` is given its `pieces`, and runs one of them at a time
on the thread `http` only, so the cache needs no lock. The collector looks at a `Snapshot` that the
runtime makes at scrape time; it counts nothing itself and never reaches into the pipeline.

The fixed families go through prometheus_client. The series of each channel are written as text with
cached label prefixes, and a channel that is no longer in the snapshot is gone from the next scrape.
`metrics.per_channel` bounds them. The text comes in pieces, each the work of well below a
millisecond: whoever writes it keeps the interpreter from the pipeline no longer than that.

A stream's wildcards become labels. A name that Prometheus or this file already uses (`channel`,
`instance`, `job`, `le`, `quantile`, or `__` in front) gets `label_` in front, so `{instance}` is
`label_instance`; a character that a label name can't have becomes `_`; two that are then the same
get a `_` behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress, product
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from anomalyd.settings import Metrics

Flags = NDArray[np.bool_]
_Lines = tuple[Any, ...]
"""the labels, and a format of a line for each of FIGURES"""

# (family, field of the snapshot, meaning)
_COUNTERS = (
    ("anomalyd_messages_received", "messages_received", "MQTT messages received."),
    ("anomalyd_readings_scored", "readings_scored", "Readings that got a verdict."),
    ("anomalyd_batches", "batches", "Batches that the pipeline scored."),
    ("anomalyd_mqtt_connects", "mqtt_connects", "Connections made to the broker."),
    ("anomalyd_mqtt_deaf", "mqtt_deaf", "Connections given up because nothing came any more."),
    (
        "anomalyd_regime_changes",
        "regime_changes",
        "Alerts that lasted until their level was accepted as the new normal.",
    ),
    (
        "anomalyd_regimes_withdrawn",
        "regimes_withdrawn",
        "Accepted levels that have gone again: what was normal before them is so again.",
    ),
    ("anomalyd_history_readings", "history_kept", "Readings kept on disk for training."),
    (
        "anomalyd_history_dropped",
        "history_dropped",
        "Readings that could not be kept for training: disk full or too slow.",
    ),
)
_GAUGES = (
    ("anomalyd_mqtt_connected", "mqtt_connected", "1 while connected to the broker."),
    (
        "anomalyd_state_saved_timestamp_seconds",
        "state_saved_s",
        "When the newest generation of the state was copied; 0 before the first.",
    ),
    ("anomalyd_state_save_seconds", "state_save_s", "What writing it took."),
    ("anomalyd_state_copy_seconds", "state_copy_s", "What copying it took: scoring waits for it."),
    (
        "anomalyd_state_channels_restored",
        "state_channels_restored",
        "Channels that went on at the start from what was saved.",
    ),
    ("anomalyd_retrain_progress", "retrain_progress", "Of the fine-tuning that goes on; 0: none."),
    (
        "anomalyd_retrain_success_timestamp_seconds",
        "retrain_success_s",
        "When a challenger last passed the gate; 0 before the first since the start.",
    ),
    (
        "anomalyd_channels_drifted",
        "channels_drifted",
        "Channels whose residuals have grown or shrunk since the predictor learnt last.",
    ),
    (
        "anomalyd_retrain_interval_seconds",
        "retrain_interval_s",
        "How often it is to retrain by itself; 0: never.",
    ),
    (
        "anomalyd_model_judged_timestamp_seconds",
        "model_judged_s",
        "When what serves was last held against a newer model; before the first, the start.",
    ),
    ("anomalyd_inbox_messages", "inbox_messages", "Messages received and not yet scored."),
    ("anomalyd_inbox_capacity", "inbox_capacity", "Messages that the inbox holds at most."),
    (
        "anomalyd_alerts_unpublished",
        "alerts_unpublished",
        "Transitions of alerts that the broker has not acknowledged.",
    ),
    (
        "anomalyd_outbox_unsaved",
        "outbox_unsaved",
        "Transitions of alerts that are not on disk: a restart now would lose them.",
    ),
    (
        "anomalyd_alarm_budget_per_week",
        "alarm_budget_per_week",
        "False alarms that the whole instance may raise a week.",
    ),
    (
        "anomalyd_alarm_rate_per_week",
        "alarm_rate_per_week",
        "Alarms that the whole instance raises a week, as measured.",
    ),
    (
        "anomalyd_channels_silent",
        "channels_silent",
        "Channels that have been silent for longer than their pace explains.",
    ),
    ("anomalyd_disk_free_bytes", "disk_free_bytes", "Free where the state is kept."),
    ("anomalyd_disk_size_bytes", "disk_size_bytes", "Size of the file system of the state."),
    ("anomalyd_memory_limit_bytes", "memory_limit_bytes", "Memory that the process may use."),
)

_PERCENTILES = (10, 50, 90)
_TAKEN = frozenset({"channel", "instance", "job", "le", "quantile"})
_CHANNELS_A_PIECE = 500

FIGURES = (
    ("anomalyd_score", "Anomaly score of a channel's last reading; 1 is the alert threshold."),
    ("anomalyd_value", "A channel's last reading, in its own unit; none while it is silent."),
    ("anomalyd_expected", "What was expected of a channel's last reading."),
    ("anomalyd_lower", "Lower end of the band that a channel's last reading was expected in."),
    ("anomalyd_upper", "Upper end of the band that a channel's last reading was expected in."),
)
"""(family, meaning) of the series that each channel has"""

# A counter that begins at 1 has no increase: every transition is there from the start.
_KINDS = ("residual", "relation", "stuck", "range", "forecast")
_TRANSITIONS = ("raised", "updated", "cleared")
_ALERTS = tuple(product(_KINDS, ("warning", "critical"), _TRANSITIONS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is known at the time of a scrape: counts since the start, and states of now.

    `latency_counts` has one count per bucket (not cumulative) and one more for what was slower
    than the last of `latency_bounds_s`. `channel_names`, `channel_labels` and `figures` are columns
    of the same length; a figure that is NaN has no series. While no channel comes or goes,
    `channel_names` is the same object.
    """

    version: str
    messages_received: int
    readings_scored: int
    batches: int
    rejected: Mapping[str, int]  # reason
    channels: Mapping[str, int]  # state
    latency_bounds_s: Sequence[float]
    latency_counts: Sequence[int]
    latency_sum_s: float
    alerts: Mapping[tuple[str, str, str], int]  # kind, severity, transition
    alerts_active: Mapping[str, int]  # severity
    regime_changes: int
    regimes_withdrawn: int
    history_kept: int
    history_dropped: int
    alarm_budget_per_week: float
    alarm_rate_per_week: float
    models: Sequence[Mapping[str, str]]  # labels of anomalyd_model_info
    retrained: Mapping[str, int]  # result
    retrain_progress: float
    retrain_success_s: float
    channels_drifted: int
    retrain_interval_s: float
    model_judged_s: float
    model_steps: Mapping[str, int]  # step
    degraded: Sequence[str]  # names of the conditions that hold now
    alerts_unpublished: int
    outbox_unsaved: int
    commands: Mapping[tuple[str, str], int]  # verb, result
    state_saved_s: float
    state_save_s: float
    state_copy_s: float
    state_channels_restored: int
    mqtt_connected: bool
    mqtt_connects: int
    mqtt_deaf: int
    inbox_messages: int
    inbox_capacity: int
    channel_names: Sequence[str]
    channel_labels: Sequence[Mapping[str, str]]
    channels_silent: int
    figures: NDArray[np.floating[Any]]  # (len(FIGURES), channels)
    disk_free_bytes: int  # of the file system that the state is on
    disk_size_bytes: int
    memory_limit_bytes: int
    skill: NDArray[np.floating[Any]]  # (channels,), NaN where unknown


class Collector:
    """Renders what `snapshot()` returns, and the process's own metrics."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        metrics: Metrics,
    ) -> None:
        self._snapshot = snapshot
        self._metrics = metrics
        self._known: dict[str, _Lines] = {}
        self._names: Sequence[str] = ()
        self._columns = np.arange(0)
        self._lines: Sequence[_Lines] = ()
        self._formats: dict[tuple[int, int], tuple[bytes, str]] = {}
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    def pieces(self) -> Iterator[bytes]:
        """The exposition, in the text format 0.0.4; no two at a time."""
        snapshot = self._snapshot()
        yield b""  # looking was work too: a pause behind it
        registry = CollectorRegistry()
        registry.register(_Families(snapshot))
        yield generate_latest(registry)
        yield from self._series(snapshot)
        yield generate_latest(self._process)

    def _series(self, snapshot: Snapshot) -> Iterator[bytes]:
        columns = self._shown(snapshot)
        lines = self._lines_of(snapshot, columns)
        for place, (family, meaning) in enumerate(FIGURES):
            yield f"# HELP {family} {meaning}\n# TYPE {family} gauge\n".encode()
            for begin in range(0, columns.size, _CHANNELS_A_PIECE):
                piece = slice(begin, begin + _CHANNELS_A_PIECE)
                figures = snapshot.figures[place, columns[piece]]
                there = ~np.isnan(figures)
                # One call of C for all of a piece's lines: nothing in Python is done for each.
                form = self._format(place, begin, lines[piece], there)
                yield (form % tuple(figures[there].tolist())).encode(errors="replace")

    def _format(self, place: int, begin: int, lines: Sequence[_Lines], there: Flags) -> str:
        """Of the piece of a family that begins there, for the channels that have a figure."""
        known, text = self._formats.get((place, begin), (b"", ""))
        if known != there.tobytes():
            known = there.tobytes()
            text = "".join(compress(map(itemgetter(place + 1), lines), there.tolist()))
            self._formats[place, begin] = known, text
        return text

    def _lines_of(self, snapshot: Snapshot, columns: NDArray[np.intp]) -> Sequence[_Lines]:
        """Of the channels in `columns`; those of the last scrape, where no channel came or went."""
        if snapshot.channel_names is self._names and np.array_equal(columns, self._columns):
            return self._lines
        known, current = self._known, {}
        for at in columns.tolist():
            name, labels = snapshot.channel_names[at], snapshot.channel_labels[at]
            lines = known.get(name)
            if lines is None or lines[0] != labels:
                lines = (dict(labels), *_lines(name, labels))
            current[name] = lines
        self._known, self._lines = current, list(current.values())
        self._names, self._columns = snapshot.channel_names, columns
        self._formats.clear()
        return self._lines

    def _shown(self, snapshot: Snapshot) -> NDArray[np.intp]:
        """Places of the channels that have series."""
        number, mode = len(snapshot.channel_names), self._metrics.per_channel
        if mode == "auto":
            mode = "on" if number <= self._metrics.auto_channels else "topk"
        if mode == "on":
            return np.arange(number)
        if mode == "off":
            return np.arange(0)
        # Stable, so that of equal scores the same channels keep their series.
        order = np.argsort(-np.nan_to_num(snapshot.figures[0]), kind="stable")
        return np.sort(order[: self._metrics.topk])


class _Families:
    """The fixed families of one snapshot, in prometheus_client's form."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        for name, field, meaning in _COUNTERS:
            yield CounterMetricFamily(name, meaning, value=getattr(snapshot, field))
        for name, field, meaning in _GAUGES:
            yield GaugeMetricFamily(name, meaning, value=getattr(snapshot, field))
        yield _rejected(snapshot)
        yield _channels(snapshot)
        yield _alerts(snapshot)
        yield _alerts_active(snapshot)
        yield _commands(snapshot)
        yield _degraded(snapshot)
        yield _counted(
            "anomalyd_retrain", "Retrainings by what came of them.", "result", snapshot.retrained
        )
        yield _counted("anomalyd_model_events", "Steps of models.", "step", snapshot.model_steps)
        yield _latency(snapshot)
        yield from _skill(snapshot)
        yield _info("anomalyd_model_info", "The models in use.", snapshot.models)
        build = {"version": snapshot.version}
        yield _info("anomalyd_build_info", "The version that runs.", [build])


def _rejected(snapshot: Snapshot) -> Metric:
    family = CounterMetricFamily(
        "anomalyd_rejected", "Messages and readings that were refused.", labels=["reason"]
    )
    for reason, count in snapshot.rejected.items():
        family.add_metric([reason], count)
    return family


def _channels(snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily("anomalyd_channels", "Channels by state.", labels=["state"])
    for state, count in snapshot.channels.items():
        family.add_metric([state], count)
    return family


def _alerts(snapshot: Snapshot) -> Metric:
    labels = ["kind", "severity", "transition"]
    family = CounterMetricFamily("anomalyd_alerts", "Transitions of alerts.", labels=labels)
    for values, count in (dict.fromkeys(_ALERTS, 0) | dict(snapshot.alerts)).items():
        family.add_metric(list(values), count)
    return family


def _commands(snapshot: Snapshot) -> Metric:
    labels = ["verb", "result"]
    family = CounterMetricFamily("anomalyd_commands", "Commands over MQTT.", labels=labels)
    for values, count in snapshot.commands.items():
        family.add_metric(list(values), count)
    return family


def _alerts_active(snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily("anomalyd_alerts_active", "Alerts that fire.", labels=["severity"])
    for severity, count in snapshot.alerts_active.items():
        family.add_metric([severity], count)
    return family


def _counted(name: str, meaning: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _degraded(snapshot: Snapshot) -> Metric:
    meaning = "1 for each condition that is wrong with the daemon itself, while it lasts."
    family = GaugeMetricFamily("anomalyd_degraded", meaning, labels=["condition"])
    for condition in snapshot.degraded:
        family.add_metric([condition], 1)
    return family


def _latency(snapshot: Snapshot) -> Metric:
    bounds = [*(str(float(bound)) for bound in snapshot.latency_bounds_s), "+Inf"]
    return HistogramMetricFamily(
        "anomalyd_scoring_latency_seconds",
        "Time from a message's arrival to its verdict.",
        buckets=list(zip(bounds, accumulate(snapshot.latency_counts), strict=True)),
        sum_value=snapshot.latency_sum_s,
    )


def _skill(snapshot: Snapshot) -> Iterator[Metric]:
    """Percentiles over the channels: a series a channel would double the exposition."""
    known = snapshot.skill[~np.isnan(snapshot.skill)]
    family = GaugeMetricFamily(
        "anomalyd_skill",
        "1 - error of the network / of the best simple expert; percentiles over the channels.",
        labels=["percentile"],
    )
    if known.size:
        for percent in _PERCENTILES:
            family.add_metric([str(percent)], float(np.percentile(known, percent)))
    yield family
    yield GaugeMetricFamily(
        "anomalyd_channels_without_skill",
        "Channels that a simple expert forecasts better than the network.",
        value=float((known < 0.0).sum()),
    )


def _info(name: str, meaning: str, things: Sequence[Mapping[str, str]]) -> Metric:
    family = GaugeMetricFamily(name, meaning)
    for labels in things:
        family.add_sample(name, dict(labels), 1)
    return family


def _lines(name: str, labels: Mapping[str, str]) -> tuple[str, ...]:
    """A format of a line for each of FIGURES."""
    names = {"channel": name}
    for label, value in labels.items():
        names[_label_name(label, names)] = value
    inside = ",".join(f'{key}="{_escape(value)}"' for key, value in names.items())
    inside = inside.replace("%", "%%")
    return tuple(f"{family}{{{inside}}} %.6g\n" for family, _ in FIGURES)


def _label_name(wildcard: str, used: Mapping[str, str]) -> str:
    name = re.sub(r"[^a-zA-Z0-9_]", "_", wildcard)
    if name in _TAKEN or not re.match(r"(?!__)[a-zA-Z_]", name):
        name = "label_" + name
    while name in used:
        name += "_"
    return name


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
