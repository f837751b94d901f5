"""The daemon: builds every part, starts them from the sink, watches them, stops from the source.

| thread   | may touch                                   | ends when                            |
|----------|---------------------------------------------|--------------------------------------|
| main     | signals, liveness, the watchdog             | a signal, or any thread below is dead |
| mqtt     | the inbox and its own counters              | disconnected and stopped             |
| pipeline | all columns, alone                          | the inbox is closed and empty        |
| outbox   | the database of alerts, what is published   | stopped: saved, and published or late |
| history  | batches that the pipeline has let go, files | the pipeline has ended, all is written |
| retrain  | a copy of the history, the registry, what   | stopped, within a second             |
|          | it asks of the pipeline's thread            |                                      |
| http     | read-only snapshots                         | stopped                              |
| journal  | batches of readings, the acknowledgements   | stopped, after the last save         |
| state    | copies of the columns, the state directory  | finished, after the pipeline         |

A broker that is down is a state to report, not a reason to exit. A thread that dies takes the
service with it (exit status 1), and systemd starts it again.
"""

from __future__ import annotations

import gc
import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import msgspec
import numpy as np

from anomalyd import __version__, logs
from anomalyd.adapters.codec.payload import LARGEST_PAYLOAD
from anomalyd.adapters.codec.sparkplug_wire import rebirth
from anomalyd.adapters.http import HttpServer
from anomalyd.adapters.machine import disk_usage, memory_available_bytes, memory_limit_bytes
from anomalyd.adapters.metrics import Collector, Snapshot
from anomalyd.adapters.models.manifest import NEXT_STEP, SHIPPED
from anomalyd.adapters.mqtt import MqttClient
from anomalyd.adapters.outbox import Outbox, Record
from anomalyd.adapters.systemd import Notifier, watchdog_interval_s
from anomalyd.detection.reading import Flags, Floats, Rows
from anomalyd.errors import ConfigError, ModelError, ServiceFailed
from anomalyd.runtime import registry
from anomalyd.runtime.alerts import Acknowledgement
from anomalyd.runtime.announce import Announcer
from anomalyd.runtime.commands import LARGEST_COMMAND, Commands
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.courier import FAMILIES, Courier
from anomalyd.runtime.hearing import Hearing
from anomalyd.runtime.history import History
from anomalyd.runtime.inbox import Inbox, Message
from anomalyd.runtime.intake import Intake
from anomalyd.runtime.journal import DAMAGED, Journal
from anomalyd.runtime.journal_entry import Asked
from anomalyd.runtime.maintenance import Maintenance
from anomalyd.runtime.pipeline import Outcome, Pipeline
from anomalyd.runtime.receipts import NOTHING_SIFTED
from anomalyd.runtime.recovery import Recovery
from anomalyd.runtime.reload import compare
from anomalyd.runtime.retrain import Retrainer
from anomalyd.runtime.state import StateKeeper
from anomalyd.runtime.streams import read_streams, reorder_for
from anomalyd.runtime.trial import Step
from anomalyd.runtime.worker import LATENCY_BOUNDS_S, Worker
from anomalyd.settings import Settings

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_STATUS_EVERY_S = 10.0
_STUCK_S = 30.0
_DRAIN_S = 2.0
_APPLY_S = 10.0
_SAVE_S = 10.0
_PUBLISH_S = 1.5
_OWN = ("status", "event", "model")
_UNHEARD = ("score", "command", "reply")
_LEAST_MEMORY = 256 * 2**20
_MEMORY_SHORT, _MEMORY_ENOUGH = 64 * 2**20, 128 * 2**20
_BUSY = 0.1  # of the inbox


@dataclass(frozen=True, slots=True)
class _Listing:
    """The channels, as a scrape shows them. `stamp`: another one whenever one came or went."""

    stamp: tuple[int, int]
    rows: Rows
    names: Sequence[str]
    labels: Sequence[Mapping[str, str]]


class Service:
    """One daemon. `run()` returns after a signal, or raises ServiceFailed."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        environ: Mapping[str, str],
        read_settings: Callable[[], Settings],
    ) -> None:
        """`folder`: where relative model paths start. `read_settings`: for SIGHUP, as `settings`
        were read. Raises ConfigError, ModelError."""
        _want_streams(settings)
        self._conditions = Conditions()
        self._store = registry.open_store(
            settings.state.directory, settings.retrain.keep_models, settings.streams, folder
        )
        served = registry.load(settings.streams, folder, settings.channels.max, self._store)
        self._settings = settings
        self._models = list(served.models)
        self._served = served.predictors[-1].name
        self._asset_models = {at: each.name for at, each in enumerate(served.assets) if each}
        self._tell_damage()
        self._memory_limit = memory_limit_bytes()
        self._root = root = f"{settings.mqtt.topic_prefix}/{settings.instance}"
        families = (f"{each}/" for each in (*FAMILIES, *_UNHEARD))
        self._own_topics = tuple(f"{root}/{each}" for each in (*_OWN, *families))
        self._command_topics = f"{root}/command/"
        self._alert_topics = tuple(f"{root}/{each}/" for each in FAMILIES)
        self._notifier = Notifier(environ.get("NOTIFY_SOCKET"))
        self._watchdog_s = watchdog_interval_s(environ)
        self._inbox = Inbox(settings.ingest.inbox_messages, settings.ingest.inbox_mb << 20)
        self._pipeline = Pipeline(
            settings.instance,
            settings.channels,
            settings.alerts,
            settings.streams,
            served.predictors,
            served.assets,
            served.forecasters,
        )
        self._reorder = reorder_for(settings.streams, self._pipeline.table)
        self._intake = Intake(settings.streams, self._pipeline, settings.channels.max_skew_s)
        self._mqtt = self._build_mqtt(settings)
        self._maintenance = maintenance = Maintenance()
        self._faults: Mapping[str, float] = {}
        acknowledged: dict[str, Acknowledgement] = {}
        self._courier = Courier(
            root, settings.state.directory, settings.alerts, self._mqtt, self._conditions,
            self._on_opened,
        )  # fmt: skip
        self._commands = Commands(
            root, self._courier, self._mqtt.publish, maintenance, acknowledged, self._retrain,
            self._judged, self._remember,
        )  # fmt: skip
        self._announcer = Announcer(
            root,
            self._courier.put,
            self._mqtt.publish,
            acknowledged,
            self._pipeline.table,
            settings.alerts.publish_scores,
        )
        self._journal = Journal(
            settings.state.directory / "journal",
            settings.state.journal_mb,
            self._pipeline.table,
            self._intake.topic,
            self._mqtt.acknowledge,
            self._conditions,
        )
        self._state = StateKeeper(
            settings.state.directory,
            settings.state.save_every_s,
            settings.streams,
            self._pipeline,
            self._intake,
            self._conditions,
            self._mark,
            self._journal.forget,
        )
        self._history = History(
            settings.state.directory / "history",
            settings.history,
            self._pipeline.table,
            self._conditions,
        )
        self._worker = Worker(
            self._inbox,
            self._intake,
            self._pipeline,
            self._tell,
            settings.ingest.linger_s,
            settings.channels.retire_after_s,
            maintenance,
            self._state.tick,
            lambda: self._mqtt.connects if self._mqtt.connected else 0,
            self._mqtt.ask,
            self._mqtt.echo,
            self._conditions,
            self._journal,
            self._reorder,
        )
        self._retrainer = Retrainer(
            settings,
            self._store,
            self._history,
            self._pipeline,
            self._worker.ask,
            self._conditions,
            self._tell_model,
            self._busy,
        )
        self._hearing, self._heard = Hearing(), -1
        self._http = HttpServer(
            settings.http.host,
            settings.http.port,
            Collector(self._snapshot, settings.metrics).pieces,
            self._healthy,
            self._ready,
            token=settings.http_token.get_secret_value() if settings.http_token else None,
            certificate=settings.http.certificate_file,
            key=settings.http.key_file,
        )
        self._listing = _Listing((0, 0), np.arange(0), (), ())
        self._read_settings = read_settings
        self._stop = threading.Event()
        self._reload = threading.Event()
        self._refused = ""

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Called on the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        with ExitStack() as stack:
            # Sink first, source last; left in the other order: what the broker had is still scored,
            # and what came of it is still published.
            self._state.open()
            stack.callback(self._journal.stop, _DRAIN_S)
            stack.callback(self._save)
            self._sweep_models()
            recalled = self._state.restore(time.time())
            self._http.start()
            stack.callback(self._http.stop)
            self._state.start()
            self._history.start()
            stack.callback(self._history.stop, _DRAIN_S)
            self._courier.start()
            if recalled and recalled.cleared:
                self._announcer.tell(Outcome.of(recalled.cleared))
            self._recover()
            self._courier.close_unknown(self._pipeline.open_ids)
            self._worker.start()
            self._mqtt.start()
            stack.callback(self._mqtt.stop)
            stack.callback(self._courier.stop, _PUBLISH_S)
            stack.callback(self._drain)
            self._retrainer.start()
            stack.callback(self._retrainer.stop, _DRAIN_S)
            log.info(
                "started version=%s instance=%s http=%s:%d streams=%d",
                __version__,
                self._settings.instance,
                self._settings.http.host,
                self._http.port,
                len(self._settings.streams),
            )
            # What is there now stays: the collector need not look through it again and again.
            gc.freeze()
            gc.enable()
            self._notifier.ready()
            self._watch()
            self._notifier.stopping()
        log.info("stopped readings_scored=%d", self._pipeline.readings_scored)

    def _tell_damage(self) -> None:
        """Until another version serves."""
        wanted = self._store.current(NEXT_STEP)
        if wanted not in (SHIPPED, self._served):
            why = f"version={wanted} can't be used, model={self._served} serves in its place"
            self._conditions.begin("model", why)

    def _sweep_models(self) -> None:
        """Only now: before the directory was locked, what is unfinished may be another daemon's."""
        try:
            self._store.sweep()
        except ModelError as error:
            self._conditions.begin("models", str(error))

    def _recover(self) -> None:
        """Do again what was done since the state that is restored."""
        self._pipeline.remember(self._faults)
        recovery = Recovery(
            self._pipeline, self._intake, self._reorder, self._announcer.tell, self._state.saved_s
        )
        self._journal.replay(self._state.journal, recovery.find, recovery.again)
        jump_s = recovery.finish(time.time())
        self._journal.start()
        if jump_s:
            self._journal.note(Asked.SHIFT, np.empty(0, dtype=np.intp), jump_s)
        if self._journal.replayed or DAMAGED in self._conditions.now():
            self._state.hurry()

    def _mark(self) -> int:
        """On the pipeline's thread, or after it. What is held back is in no column yet: it goes
        into the segment that begins here, and is held back again after a restart."""
        number = self._journal.mark()
        for heard_s, readings in self._reorder.held() if self._reorder else ():
            self._journal.keep(readings, NOTHING_SIFTED, heard_s, sync=True)
        return number

    def _command_subscriptions(self, settings: Settings) -> list[str]:
        return [f"{self._command_topics}+"] if settings.commands.enabled else []

    def _build_mqtt(self, settings: Settings) -> MqttClient:
        state = {"instance": settings.instance, "version": __version__}
        password = settings.password.get_secret_value() if settings.password else None
        since = datetime.now(UTC).isoformat(timespec="milliseconds")
        birth = msgspec.json.encode({"state": "online", **state, "since": since})
        return MqttClient(
            settings.mqtt,
            settings.instance,
            password,
            [*self._intake.subscriptions, *self._command_subscriptions(settings)],
            birth=lambda: birth,
            will=msgspec.json.encode({"state": "offline", **state}),
            on_message=self._on_message,
            hold=lambda: self._inbox.full,
        )

    # --- on other threads -------------------------------------------------------------------

    def _on_message(self, topic: str, payload: bytes, retained: bool, ticket: int) -> None:
        # A stream on "#" hears what this daemon publishes, and would answer itself for ever.
        if topic.startswith(self._own_topics):
            self._on_own_message(topic, payload, retained)
            self._mqtt.acknowledge((ticket,))
            return
        # One byte over the limit is refused like a million, and doesn't fill the memory.
        kept = payload[: LARGEST_PAYLOAD + 1]
        self._inbox.put(Message(topic, kept, time.monotonic(), retained, ticket))

    def _on_own_message(self, topic: str, payload: bytes, retained: bool) -> None:
        if retained and topic.startswith(self._alert_topics):
            self._courier.saw(topic, payload)
        elif topic.startswith(self._command_topics) and self._settings.commands.enabled:
            self._commands.take(topic, payload[: LARGEST_COMMAND + 1], retained)

    def _retrain(self) -> None:
        self._retrainer.request()

    def _judged(self, alert: Record) -> None:
        fault = alert.verdict == "confirmed"

        def judge() -> None:
            self._tell(Outcome.of(self._pipeline.judge(alert.channel, alert.id, fault)))
            # What the journal has came before.
            self._state.hurry()

        self._worker.ask(judge)
        if fault:
            self._retrainer.confirmed()

    def _remember(self, faults: Mapping[str, float]) -> None:
        # At a start the main thread takes it, for what is done again; no lock: it is one reference.
        self._faults = {**self._faults, **faults}
        self._worker.ask(lambda: self._pipeline.remember(faults))

    def _on_opened(self, outbox: Outbox) -> None:
        self._commands.remember(outbox)

    def _tell(self, outcome: Outcome) -> None:
        """On the pipeline's thread, after each batch."""
        self._announcer.tell(outcome)
        self._history.record(outcome.verdicts)
        for topic in self._intake.rebirths.take():
            self._mqtt.publish(topic, rebirth(time.time_ns() // 1_000_000), qos=0)

    # --- on the thread `retrain` ------------------------------------------------------------

    def _note_assets(self) -> None:
        """Another version may serve a class of assets."""
        now = {stream: each.name for stream, each in self._pipeline.asset_classes.items()}
        if now == self._asset_models:
            return
        names = {before: now[stream] for stream, before in self._asset_models.items()}
        known = {each.version: each.sha256 for each in self._store.list()}
        for at, each in enumerate(self._models):
            name = names.get(each["model"], each["model"])
            if name != each["model"]:
                label = {"model": name, "sha256": known.get(name, ""), "file": "registry"}
                self._models[at] = label
        self._asset_models = now
        self._state.hurry()

    def _tell_model(self, step: Step, version: str, reason: str) -> None:
        serving = self._pipeline.predictors.serving.name
        names = {each["model"] for each in self._models}
        if serving not in names:
            known = {each.version: each.sha256 for each in self._store.list()}
            label = {"model": serving, "sha256": known.get(serving, ""), "file": "registry"}
            self._models = [
                *(each for each in self._models if each["model"] != self._served),
                label,
            ]
        if serving != self._served:
            self._conditions.end("model")
            self._state.hurry()
        self._served = serving
        self._note_assets()
        document = {
            "step": step,
            "version": version,
            "reason": reason,
            "serving": serving,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        self._mqtt.publish(f"{self._root}/model", msgspec.json.encode(document), 1, True)

    def _busy(self) -> str | None:
        waiting = len(self._inbox)
        if waiting > _BUSY * self._inbox.capacity:
            return f"{waiting} messages wait to be scored"
        available = memory_available_bytes()
        if available is not None and available < _LEAST_MEMORY:
            return f"{available // 2**20} MB of memory are left"
        return None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        self._reload.set()

    def _healthy(self) -> tuple[bool, str]:
        still_s = time.monotonic() - self._worker.progress_at
        if still_s > _STUCK_S:
            return False, f"the pipeline has made no progress for {still_s:.0f} s"
        return True, "ok"

    def _ready(self) -> tuple[bool, Mapping[str, object]]:
        degraded = [f"{name}: {why}" for name, why in self._conditions.now().items()]
        if not self._mqtt.connected:
            degraded.append("mqtt: not connected to the broker")
        elif not self._mqtt.subscribed:
            degraded.append("mqtt: the broker has not answered to the subscriptions yet")
        degraded += [
            f"mqtt: the broker refuses the subscription to {topic}"
            for topic in self._mqtt.refused_topics
        ]
        if self._mqtt.refused_publish:
            why = self._mqtt.refused_publish
            degraded.append(f"mqtt: the broker refuses what is published: {why}")
        if not self._healthy()[0]:
            degraded.append("pipeline: no progress")
        if len(self._inbox) > self._inbox.capacity // 2:
            degraded.append("inbox: more than half full, readings arrive faster than are scored")
        return not degraded, {"ready": not degraded, "degraded": degraded}

    def _snapshot(self) -> Snapshot:
        """Read-only, on the http thread: counters may be one batch apart from each other."""
        pipeline, channels = self._pipeline, self._list()
        rows = channels.rows
        overdue = self._intake.overdue(rows, time.monotonic())
        disk = disk_usage(self._settings.state.directory)
        rejected = Counter(
            inbox=self._inbox.dropped,
            overload=self._inbox.shed,
            repeated=self._journal.receipts.repeated,
        )
        for counted in (self._intake.rejected, pipeline.rejected, self._announcer.lost):
            rejected.update(dict(counted))
        return Snapshot(
            version=__version__,
            messages_received=self._inbox.received,
            readings_scored=pipeline.readings_scored,
            batches=self._worker.batches,
            rejected=rejected,
            channels=pipeline.count_states(rows.tolist()),
            latency_bounds_s=LATENCY_BOUNDS_S,
            latency_counts=self._worker.latency_counts.tolist(),
            latency_sum_s=self._worker.latency_sum_s,
            alerts=dict(pipeline.open_alerts.transitions),
            alerts_active=pipeline.count_active(),
            history_kept=self._history.kept,
            history_dropped=self._history.dropped,
            regime_changes=pipeline.open_alerts.regime_changes,
            regimes_withdrawn=pipeline.open_alerts.regimes_withdrawn,
            alarm_budget_per_week=pipeline.plant_budget_per_week,
            alarm_rate_per_week=pipeline.open_alerts.alarm_rate_per_week,
            models=self._models,
            retrained=dict(self._retrainer.results),
            retrain_progress=self._retrainer.progress,
            retrain_success_s=self._retrainer.success_s,
            channels_drifted=int(pipeline.drift.drifted(rows).sum()),
            retrain_interval_s=self._settings.retrain.every_h * 3600.0,
            model_judged_s=self._retrainer.judged_s,
            model_steps=dict(self._retrainer.steps),
            degraded=list(self._conditions.now()),
            alerts_unpublished=self._courier.unpublished,
            outbox_unsaved=self._courier.unsaved,
            commands=dict(self._commands.counts),
            state_saved_s=self._state.saved_s,
            state_save_s=self._state.save_s,
            state_copy_s=self._state.copy_s,
            state_channels_restored=self._state.restored,
            mqtt_connected=self._mqtt.connected,
            mqtt_connects=self._mqtt.connects,
            mqtt_deaf=self._hearing.reconnects,
            inbox_messages=len(self._inbox),
            inbox_capacity=self._inbox.capacity,
            channel_names=channels.names,
            channel_labels=channels.labels,
            channels_silent=int(overdue.sum()),
            figures=_figures(pipeline, rows, overdue),
            disk_free_bytes=disk.free,
            disk_size_bytes=disk.size,
            memory_limit_bytes=self._memory_limit,
            skill=pipeline.skill(rows.tolist()),
        )

    def _list(self) -> _Listing:
        """The one of the last scrape, where no channel came or went since."""
        table = self._pipeline.table
        stamp = (len(table), table.retired)
        if stamp != self._listing.stamp:
            found = table.listing()
            self._listing = _Listing(
                stamp,
                np.array([row for row, _ in found], dtype=np.intp),
                [channel.name for _, channel in found],
                [channel.labels for _, channel in found],
            )
        return self._listing

    # --- on the main thread -----------------------------------------------------------------

    def _watch(self) -> None:
        told_at = -_STATUS_EVERY_S
        look_s = min(_LOOK_EVERY_S, self._watchdog_s or _LOOK_EVERY_S)
        while not self._stop.wait(look_s):
            if self._reload.is_set():
                self._reload.clear()
                self._change_settings()
            for part, alive in (
                ("pipeline", self._worker.alive),
                ("outbox", self._courier.alive),
                ("mqtt", self._mqtt.alive),
                ("history", self._history.alive),
                ("retrain", self._retrainer.alive),
                ("http", self._http.alive),
                ("state", self._state.alive),
                ("journal", self._journal.alive),
            ):
                if not alive:
                    raise ServiceFailed(f"the {part} thread is dead; see the log above")
            now = time.monotonic()
            if self._watchdog_s is not None and now - self._worker.progress_at < self._watchdog_s:
                self._notifier.watchdog()
            self._listen(now)
            if now - told_at >= _STATUS_EVERY_S:
                told_at = now
                self._follow_memory()
                self._notifier.status(self._status())

    def _change_settings(self) -> None:
        """Whole or not at all: a file with a mistake changes nothing."""
        self._notifier.reloading()
        try:
            wanted = self._read_settings()
            _want_streams(wanted)
            read_streams(wanted.streams)
        except ConfigError as error:
            log.error("not reloaded, the old configuration stays in force: %s", error)
            self._refused = f"not reloaded: {error}; "
        else:
            found = compare(self._settings, wanted)
            self._settings, self._refused = found.settings, ""
            done = threading.Event()
            self._worker.ask(lambda: self._apply(found.settings, done))
            applied = ", ".join(found.applied) or "nothing has changed in flight"
            if done.wait(_APPLY_S):
                log.info("reloaded: %s", applied)
            else:
                log.error("read, and in force when the pipeline has ended its batch: %s", applied)
            if found.waiting:
                log.warning("changed, but needs a restart: %s", ", ".join(found.waiting))
        self._notifier.status(self._status())
        self._notifier.ready()

    def _apply(self, settings: Settings, done: threading.Event) -> None:
        """On the pipeline's thread, between two batches."""
        logs.change_level(settings.log.level)
        self._pipeline.change_rules(settings.alerts)
        self._announcer.publish_scores(settings.alerts.publish_scores)
        self._intake.skew.max_s = settings.channels.max_skew_s
        self._worker.pace(settings.ingest.linger_s, settings.channels.retire_after_s)
        # The journal has what came before under the rules of before.
        self._state.hurry()
        done.set()

    def _listen(self, now_s: float) -> None:
        """A connection over which nothing comes any more is made anew."""
        connects = self._mqtt.connects if self._mqtt.connected else 0
        received = self._inbox.received
        if self._hearing.deaf(now_s, received, connects):
            self._heard = received
            self._conditions.begin("deaf", "connected, but no message for far longer than ever")
            self._mqtt.reconnect()
        elif received != self._heard:
            self._conditions.end("deaf")

    def _follow_memory(self) -> None:
        available = memory_available_bytes()
        if available is None:
            return
        if available < _MEMORY_SHORT:
            why = f"{available // 2**20} MB of memory are left; the next save may fail"
            self._conditions.begin("memory", why)
        elif available > _MEMORY_ENOUGH:
            self._conditions.end("memory")

    def _status(self) -> str:
        connected = "connected" if self._mqtt.connected else "waiting for the broker"
        states = self._pipeline.count_states([row for row, _ in self._pipeline.table.listing()])
        return (
            f"{self._refused}{connected}, {len(self._pipeline.table)} channels, "
            f"{states['warming']} warming, {states['firing']} firing, "
            f"{self._pipeline.readings_scored} readings scored"
        )

    def _drain(self) -> None:
        """Score what the broker had for us; after this nothing more is taken."""
        self._mqtt.stop_listening()
        self._inbox.close()
        if self._worker.join(_DRAIN_S):
            self._journal.settle(_DRAIN_S)
            return
        # Whoever stops a daemon that is behind doesn't wait until it has caught up.
        left = self._inbox.discard()
        log.error("stopping with %d messages unscored; the broker keeps those of QoS 1", left)
        if not self._worker.join(_DRAIN_S):
            log.error("the pipeline did not finish its batch within %g s", _DRAIN_S)

    def _save(self) -> None:
        """Last of all; what a pipeline that died or hangs has left is not to be gone on from."""
        self._state.finish(self._worker.finished, _SAVE_S)


def _want_streams(settings: Settings) -> None:
    """At a start, and at a reload: half a file that an editor has just begun to write has none."""
    if not settings.streams:
        raise ConfigError(
            "no [[streams]]: name at least one topic to listen to, for example "
            'topic = "plant/{line}/{machine}/{sensor}"'
        )


def _figures(pipeline: Pipeline, rows: Rows, overdue: Flags) -> Floats:
    """(5, channels), in the order of metrics.FIGURES. The last value of a channel that fell silent
    is not its value now: without a series, Prometheus shows since when."""
    shown = pipeline.shown(rows)
    shown[0, overdue] = np.nan
    return np.vstack([pipeline.scores(rows.tolist()), shown])
