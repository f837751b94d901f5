"""The daemon: builds every part, starts them from the sink, watches them, stops from the source.

| thread   | may touch                                   | ends when                            |
|----------|---------------------------------------------|--------------------------------------|
| main     | signals, liveness, the watchdog             | a signal, or any thread below is dead |
| mqtt     | the inbox and its own counters              | disconnected and stopped             |
| pipeline | all columns, alone                          | the inbox is closed and empty        |
| outbox   | the database of alerts, what is published   | stopped: saved, and published or late |
| history  | batches that the pipeline has let go, files | the pipeline has ended, all is written |
| http     | read-only snapshots                         | stopped                              |

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
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import msgspec

from anomalyd import __version__
from anomalyd.adapters.codec.payload import LARGEST_PAYLOAD
from anomalyd.adapters.http import HttpServer
from anomalyd.adapters.metrics import Collector, Snapshot
from anomalyd.adapters.mqtt import MqttClient
from anomalyd.adapters.outbox import Outbox
from anomalyd.adapters.systemd import Notifier, watchdog_interval_s
from anomalyd.errors import ConfigError, ModelError, ServiceFailed
from anomalyd.runtime import registry
from anomalyd.runtime.alerts import Acknowledgement
from anomalyd.runtime.announce import Announcer
from anomalyd.runtime.commands import LARGEST_COMMAND, Commands
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.courier import FAMILIES, Courier
from anomalyd.runtime.history import History
from anomalyd.runtime.inbox import Inbox, Message
from anomalyd.runtime.intake import Intake
from anomalyd.runtime.maintenance import Maintenance
from anomalyd.runtime.pipeline import Outcome, Pipeline
from anomalyd.runtime.worker import LATENCY_BOUNDS_S, Worker
from anomalyd.settings import Settings

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_STATUS_EVERY_S = 10.0
_STUCK_S = 30.0
_DRAIN_S = 10.0
_PUBLISH_S = 1.5
_UNHEARD = ("score", "command", "reply")


class Service:
    """One daemon. `run()` returns after a signal, or raises ServiceFailed."""

    def __init__(self, settings: Settings, folder: Path, environ: Mapping[str, str]) -> None:
        """`folder`: where relative model paths start. Raises ConfigError, ModelError."""
        if not settings.streams:
            raise ConfigError(
                "no [[streams]]: name at least one topic to listen to, for example "
                'topic = "plant/{line}/{machine}/{sensor}"'
            )
        self._conditions = Conditions()
        store = registry.open_store(settings.state.directory, settings.retrain.keep_models)
        try:
            store.sweep()
        except ModelError as error:
            self._conditions.begin("models", str(error))
        served = registry.load(settings.streams, folder, settings.channels.max, store)
        self._settings = settings
        self._models = served.models
        own = f"{settings.mqtt.topic_prefix}/{settings.instance}"
        self._own_topics = tuple(
            f"{own}/{each}"
            for each in ("status", "event", *(f"{each}/" for each in (*FAMILIES, *_UNHEARD)))
        )
        self._command_topics = f"{own}/command/"
        self._alert_topics = tuple(f"{own}/{each}/" for each in FAMILIES)
        self._notifier = Notifier(environ.get("NOTIFY_SOCKET"))
        self._watchdog_s = watchdog_interval_s(environ)
        self._inbox = Inbox(settings.ingest.inbox_messages)
        self._pipeline = Pipeline(
            settings.instance,
            settings.channels,
            settings.alerts,
            settings.streams,
            served.predictors,
            served.assets,
            served.forecasters,
        )
        self._intake = Intake(settings.streams, self._pipeline, settings.channels.max_skew_s)
        self._mqtt = self._build_mqtt(settings)
        root = f"{settings.mqtt.topic_prefix}/{settings.instance}"
        maintenance = Maintenance()
        acknowledged: dict[str, Acknowledgement] = {}
        self._courier = Courier(
            root, settings.state.directory, settings.alerts, self._mqtt, self._conditions,
            self._on_opened,
        )  # fmt: skip
        self._commands = Commands(
            root, self._courier, self._mqtt.publish, maintenance, acknowledged
        )
        self._announcer = Announcer(
            root,
            self._courier.put,
            self._mqtt.publish,
            acknowledged,
            self._pipeline.table,
            settings.alerts.publish_scores,
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
        )
        self._http = HttpServer(
            settings.http.host,
            settings.http.port,
            Collector(self._snapshot).render,
            self._healthy,
            self._ready,
        )
        self._stop = threading.Event()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Called on the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        with ExitStack() as stack:
            # Sink first, source last; left in the other order: what the broker had is still scored,
            # and what came of it is still published.
            self._http.start()
            stack.callback(self._http.stop)
            self._history.start()
            stack.callback(self._history.stop, _DRAIN_S)
            self._courier.start()
            self._courier.close_unknown(self._pipeline.open_ids())
            self._worker.start()
            self._mqtt.start()
            stack.callback(self._mqtt.stop)
            stack.callback(self._courier.stop, _PUBLISH_S)
            stack.callback(self._drain)
            log.info(
                "started version=%s instance=%s http=%s:%d streams=%d",
                __version__,
                self._settings.instance,
                self._settings.http.host,
                self._http.port,
                len(self._settings.streams),
            )
            # What is there now stays: the collector need not look through torch again and again.
            gc.freeze()
            self._notifier.ready()
            self._watch()
            self._notifier.stopping()
        log.info("stopped readings_scored=%d", self._pipeline.readings_scored)

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
        )

    # --- on other threads -------------------------------------------------------------------

    def _on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        # A stream on "#" hears what this daemon publishes, and would answer itself for ever.
        if topic.startswith(self._own_topics):
            self._on_own_message(topic, payload, retained)
            return
        # One byte over the limit is refused like a million, and doesn't fill the memory.
        kept = payload[: LARGEST_PAYLOAD + 1]
        self._inbox.put(Message(topic, kept, time.monotonic(), retained))

    def _on_own_message(self, topic: str, payload: bytes, retained: bool) -> None:
        if retained and topic.startswith(self._alert_topics):
            self._courier.saw(topic, payload)
        elif topic.startswith(self._command_topics) and self._settings.commands.enabled:
            self._commands.take(topic, payload[: LARGEST_COMMAND + 1], retained)

    def _on_opened(self, outbox: Outbox) -> None:
        self._commands.remember(outbox)

    def _tell(self, outcome: Outcome) -> None:
        """On the pipeline's thread, after each batch."""
        self._announcer.tell(outcome)
        self._history.record(outcome.verdicts)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()

    def _healthy(self) -> tuple[bool, str]:
        still_s = time.monotonic() - self._worker.progress_at
        if still_s > _STUCK_S:
            return False, f"the pipeline has made no progress for {still_s:.0f} s"
        return True, "ok"

    def _ready(self) -> tuple[bool, Mapping[str, object]]:
        degraded = [f"{name}: {why}" for name, why in self._conditions.now().items()]
        if not self._mqtt.connected:
            degraded.append("mqtt: not connected to the broker")
        degraded += [
            f"mqtt: the broker refuses the subscription to {topic}"
            for topic in self._mqtt.refused_topics
        ]
        if not self._healthy()[0]:
            degraded.append("pipeline: no progress")
        if len(self._inbox) > self._inbox.capacity // 2:
            degraded.append("inbox: more than half full, readings arrive faster than are scored")
        return not degraded, {"ready": not degraded, "degraded": degraded}

    def _snapshot(self) -> Snapshot:
        """Read-only, on the http thread: counters may be one batch apart from each other."""
        pipeline, channels = self._pipeline, self._pipeline.table.listing()
        rejected = Counter(inbox=self._inbox.dropped)
        for counted in (self._intake.rejected, pipeline.rejected, self._announcer.lost):
            rejected.update(dict(counted))
        return Snapshot(
            version=__version__,
            messages_received=self._inbox.received,
            readings_scored=pipeline.readings_scored,
            batches=self._worker.batches,
            rejected=rejected,
            channels=pipeline.count_states([row for row, _ in channels]),
            latency_bounds_s=LATENCY_BOUNDS_S,
            latency_counts=self._worker.latency_counts.tolist(),
            latency_sum_s=self._worker.latency_sum_s,
            alerts=dict(pipeline.open_alerts.transitions),
            alerts_active=pipeline.count_active(),
            history_kept=self._history.kept,
            history_dropped=self._history.dropped,
            regime_changes=pipeline.open_alerts.regime_changes,
            alarm_budget_per_week=pipeline.plant_budget_per_week,
            alarm_rate_per_week=pipeline.open_alerts.alarm_rate_per_week,
            models=self._models,
            degraded=list(self._conditions.now()),
            alerts_unpublished=self._courier.unpublished,
            outbox_unsaved=self._courier.unsaved,
            commands=dict(self._commands.counts),
            mqtt_connected=self._mqtt.connected,
            mqtt_connects=self._mqtt.connects,
            inbox_messages=len(self._inbox),
            inbox_capacity=self._inbox.capacity,
            channel_names=[channel.name for _, channel in channels],
            channel_labels=[channel.labels for _, channel in channels],
            scores=pipeline.scores([row for row, _ in channels]),
            skill=pipeline.skill([row for row, _ in channels]),
        )

    # --- on the main thread -----------------------------------------------------------------

    def _watch(self) -> None:
        told_at = -_STATUS_EVERY_S
        look_s = min(_LOOK_EVERY_S, self._watchdog_s or _LOOK_EVERY_S)
        while not self._stop.wait(look_s):
            for part, alive in (
                ("pipeline", self._worker.alive),
                ("outbox", self._courier.alive),
                ("mqtt", self._mqtt.alive),
                ("history", self._history.alive),
                ("http", self._http.alive),
            ):
                if not alive:
                    raise ServiceFailed(f"the {part} thread is dead; see the log above")
            now = time.monotonic()
            if self._watchdog_s is not None and now - self._worker.progress_at < self._watchdog_s:
                self._notifier.watchdog()
            if now - told_at >= _STATUS_EVERY_S:
                told_at = now
                self._notifier.status(self._status())

    def _status(self) -> str:
        connected = "connected" if self._mqtt.connected else "waiting for the broker"
        states = self._pipeline.count_states([row for row, _ in self._pipeline.table.listing()])
        return (
            f"{connected}, {len(self._pipeline.table)} channels, {states['warming']} warming, "
            f"{states['firing']} firing, {self._pipeline.readings_scored} readings scored"
        )

    def _drain(self) -> None:
        """Score what the broker had for us; after this nothing more is taken."""
        self._mqtt.stop_listening()
        self._inbox.close()
        if not self._worker.join(_DRAIN_S):
            log.error("the pipeline did not finish within %g s", _DRAIN_S)
