"""Brings alerts to the broker: durable first, then published until acknowledged.

The pipeline's thread calls `put`, the broker's thread `saw` and `do`: each puts into a bounded
queue and returns. Everything else happens on the thread `outbox`, which alone touches the database,
so a slow disk stops no scoring. Where the database fails, alerts are published from memory, that is
a condition, and they are written when it works again.

A channel has at most one transition on its way to the broker: paho may send again, and in another
order, after a reconnect, and so no channel's order is lost by it. Only while connected anything is
handed to paho. An `updated` that waits is replaced by the next one.

A broker that dies may have acknowledged what it told nobody: what it acknowledged in the last
second before a connection was lost is published again.

What the broker retains is looked at after every connect: the courier listens to its own topics for
a moment. Keeping account of what was published would not find what a daemon left behind whose
database was lost, nor what a broker restored from an old file.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from anomalyd.adapters import outbox as database
from anomalyd.adapters.mqtt import Delivery, MqttClient
from anomalyd.adapters.outbox import Outbox, Transition
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.lanes import Lanes, Post
from anomalyd.settings import Alerts

log = logging.getLogger(__name__)

CONDITION = "outbox"
FAMILIES = ("alert", "forecast", "range", "stale")
"""the topics that alerts are retained on"""

_MOST_HANDED = 10_000
_MOST_UNSAVED = 20_000
_MOST_HELD = 2_000
"""documents in memory of alerts that wait and are durable"""
_MOST_SEEN = 100_000
_WINDOW = 100
"""transitions on their way to the broker"""
_IDLE_S, _SOON_S = 0.5, 0.02
_RETRY_S = 1.0
_SETTLE_S = 1.0
_AGAIN_S = 1.0
_PRUNE_EVERY_S = 3600.0
_OPEN_S = 2.0


class _Shown(msgspec.Struct):
    """What a retained alert says, as far as it matters here."""

    transition: str


class Courier:
    """Owner of the thread `outbox`. `start()`, `stop()`, once each, from one thread."""

    def __init__(
        self,
        root: str,
        directory: Path,
        rules: Alerts,
        mqtt: MqttClient,
        conditions: Conditions,
        opened: Callable[[Outbox], None] = lambda outbox: None,
    ) -> None:
        """`opened` is called on the thread, with a database that has just been opened."""
        self.outbox: Outbox | None = None
        """None: there is none that works; for the thread only"""
        self._root = root
        self._path = directory / database.FILE
        self._rules = rules
        self._mqtt = mqtt
        self._conditions = conditions
        self._opened = opened
        # No locks: append and popleft of a deque are atomic, and one thread takes.
        self._handed: deque[Transition] = deque()
        self._seen: deque[tuple[str, bytes]] = deque(maxlen=_MOST_SEEN)
        self._tasks: deque[Callable[[], None]] = deque(maxlen=1000)
        self._woken, self._ready, self._stopping = (threading.Event() for _ in range(3))
        self._stop_at = 0.0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._seq = 0
        self._lanes = Lanes()
        self._flying: dict[str, tuple[Post, list[Delivery]]] = {}
        self._unsaved: deque[Transition] = deque()
        self._done: set[int] = set()
        self._current: dict[str, Transition] = {}
        """topic -> newest transition of the alert that is open there"""
        self._recent: deque[tuple[float, Post]] = deque()
        """when acknowledged, while connected and for `_AGAIN_S`"""
        self._retry_at = self._prune_at = 0.0
        self._connects = 0
        self._shown: set[str] = set()
        self._settled_at = 0.0

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def unpublished(self) -> int:
        """Transitions that the broker has not acknowledged."""
        return len(self._handed) + len(self._lanes)

    @property
    def unsaved(self) -> int:
        """Transitions that are not durable yet."""
        return len(self._handed) + len(self._unsaved)

    def start(self) -> None:
        """Returns when the database is open, or failed to, or is too slow to be waited for."""
        self._thread.start()
        self._ready.wait(_OPEN_S)

    def stop(self, timeout_s: float) -> None:
        """Save and publish what is there; what the broker doesn't take in time stays for the next
        start."""
        self._stop_at = time.monotonic() + timeout_s
        self._stopping.set()
        self._woken.set()
        self._thread.join(timeout_s + 1.0)
        if self._thread.is_alive():
            log.error("the outbox did not finish within %g s", timeout_s + 1.0)

    # --- on other threads -------------------------------------------------------------------

    def put(self, transitions: Sequence[Transition]) -> int:
        """Take the transitions of a batch, in order; how many found no room."""
        room = max(_MOST_HANDED - len(self._handed), 0)
        self._handed.extend(transitions[:room])
        self._woken.set()
        return max(len(transitions) - room, 0)

    def saw(self, topic: str, payload: bytes) -> None:
        """The broker retains `payload` on one of the own topics."""
        self._seen.append((topic, payload))

    def do(self, task: Callable[[], None]) -> None:
        """Let the thread `outbox` do it; `task` must not raise anything but sqlite3.Error."""
        self._tasks.append(task)
        self._woken.set()

    # --- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._open(time.monotonic())
            self._ready.set()
            while not self._finished():
                self._woken.wait(_SOON_S if self._flying and self._mqtt.connected else _IDLE_S)
                self._woken.clear()
                self._pass(time.monotonic())
        except Exception:
            trace = " | ".join(traceback.format_exc().splitlines()[1:])
            log.critical("the outbox thread died: %s", trace)
        finally:
            self._ready.set()
            if self.outbox:
                self.outbox.close()

    def _finished(self) -> bool:
        if not self._stopping.is_set():
            return False
        waits = self._mqtt.connected and len(self._lanes)
        undone = self._handed or self._unsaved or self._done or waits
        return not undone or time.monotonic() > self._stop_at

    def _pass(self, now: float) -> None:
        if self.outbox is None and now >= self._retry_at:
            self._open(now)
        self._take(now)
        for _ in range(len(self._tasks)):
            self._guard(self._tasks.popleft(), now)
        self._collect(now)
        self._save(now)
        if self.outbox and now >= self._retry_at and not (self._unsaved or self._done):
            self._conditions.end(CONDITION)
        self._repair(now)
        self._publish(now)
        if now >= self._prune_at:
            self._prune_at = now + _PRUNE_EVERY_S
            self._guard(self._prune, now)

    # --- the database -----------------------------------------------------------------------

    def _open(self, now: float) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._load(Outbox(self._path))
        except (sqlite3.Error, OSError, database.Foreign) as error:
            self._fail(error, now)

    def _load(self, outbox: Outbox) -> None:
        try:
            unpublished = outbox.unpublished()
            self._seq = max(self._seq, outbox.last_seq())
            standing = outbox.alerts(open_only=True)
            self._opened(outbox)
        except BaseException:
            outbox.close()
            raise
        self.outbox = outbox
        cleared = {each.id for each in self._unsaved if each.what == "cleared"}
        for record in standing:
            if record.id not in cleared:
                self._current.setdefault(record.topic, _newest(record))
        known = self._done.union(self._lanes.seqs(), self._lanes.superseded)
        for each in unpublished:
            if each.seq not in known:
                self._lanes.add(Post.of(each, keep_document=False), supersede=False)
        self._lanes.sort(self._flying)

    def _guard(self, task: Callable[[], None], now: float) -> bool:
        """False where the database failed."""
        try:
            task()
        except sqlite3.Error as error:
            self._fail(error, now)
            return False
        return True

    def _fail(self, error: Exception, now: float) -> None:
        self._retry_at = now + _RETRY_S
        if self.outbox and not database.busy(error):
            self.outbox.close()
            self.outbox = None
        if database.damaged(error) and self._set_aside(error):
            return
        saved = "alerts are published, but a restart would lose what isn't"
        self._conditions.begin(CONDITION, f"{self._path}: {error}; {saved}")

    def _set_aside(self, error: Exception) -> bool:
        """Begin a new database, with what waits and is still in memory."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        try:
            aside = database.set_aside(self._path, stamp)
        except OSError:
            return False
        log.error("database=%s is damaged (%s): set aside as %s", self._path, error, aside.name)
        self._retry_at = 0.0
        unsaved = {each.seq: each for each in self._unsaved}
        waiting = set(self._lanes.seqs())
        for each in self._current.values():
            unsaved.setdefault(each.seq, each._replace(published=each.seq not in waiting))
        self._unsaved = deque(unsaved[seq] for seq in sorted(unsaved))
        return True

    def _prune(self) -> None:
        if self.outbox:
            before_s = time.time() - self._rules.keep_days * 86400.0
            self.outbox.prune(before_s, self._rules.keep_mb * 1_000_000)

    # --- in -----------------------------------------------------------------------------------

    def add(self, transition: Transition) -> None:
        """Publish one more transition, after all that wait; on the thread `outbox`."""
        self._handed.append(transition)
        self._woken.set()

    def _take(self, now: float) -> None:
        """Save what was handed over in one transaction, and let it wait to be published."""
        taken = []
        for _ in range(len(self._handed)):
            self._seq = max(self._seq + 1, time.time_ns() // 1000)
            taken.append(self._handed.popleft()._replace(seq=self._seq))
        if not taken:
            return
        earlier = len(self._unsaved)
        self._unsaved.extend(taken)
        kept = self._add(now)
        if kept is None:
            self._bound()
        for each in taken:
            if kept is None or each.seq in kept:
                durable = kept is not None
                self._wait(each, keep_document=not durable or len(self._lanes) < _MOST_HELD)
        if earlier and kept is not None:
            log.info("outbox: %d transitions of the failure are saved", earlier)

    def _add(self, now: float) -> set[int] | None:
        """Save all that isn't; None where that failed."""
        if self.outbox is None or now < self._retry_at:
            return None
        kept: set[int] = set()
        outbox = self.outbox
        if not self._guard(lambda: kept.update(outbox.add(self._unsaved)), now):
            return None
        self._unsaved.clear()
        return kept

    def _bound(self) -> None:
        """Of what can't be saved, forget what was superseded, then what the broker has, then the
        oldest."""
        superseded = set(self._lanes.superseded)
        kept = [each for each in self._unsaved if each.seq not in superseded]
        self._lanes.superseded.clear()
        excess = max(len(kept) - _MOST_UNSAVED, 0)
        spared = {each.seq for each in [e for e in kept if e.seq in self._done][:excess]}
        self._done -= spared
        self._unsaved = deque((e for e in kept if e.seq not in spared), maxlen=_MOST_UNSAVED)

    def _wait(self, each: Transition, keep_document: bool) -> None:
        if each.what == "cleared":
            self._current.pop(each.topic, None)
        else:
            self._current[each.topic] = each
        self._lanes.add(Post.of(each, keep_document), supersede=each.channel not in self._flying)

    # --- out ----------------------------------------------------------------------------------

    def _publish(self, now: float) -> None:
        """Hand over the oldest of each channel, as far as the window is open."""
        if not self._mqtt.connected:
            return
        for channel in self._lanes.free(self._flying, _WINDOW - len(self._flying)):
            post = self._lanes.head(channel)
            document = post.document
            if document is None:
                if self.outbox is None:
                    continue
                try:
                    document = self.outbox.document(post.seq)
                except sqlite3.Error as error:
                    self._fail(error, now)
                    return
            if document is None:
                self._lanes.pop(channel)  # it was in a database that is damaged now
                continue
            self._send(channel, post, document)

    def _send(self, channel: str, post: Post, document: bytes) -> None:
        deliveries = [self._mqtt.send(post.topic, document, True)]
        if post.event:
            deliveries.append(self._mqtt.send(f"{self._root}/event", document, False))
        self._flying[channel] = (post, [each for each in deliveries if each is not None])

    def _collect(self, now: float) -> None:
        """What the broker has acknowledged makes room for the channel's next."""
        steady = self._mqtt.connected and self._mqtt.connects == self._connects
        while steady and self._recent and self._recent[0][0] < now - _AGAIN_S:
            self._recent.popleft()
        for channel, (post, deliveries) in list(self._flying.items()):
            if not all(each.is_published() for each in deliveries):
                continue
            del self._flying[channel]
            # A full queue of paho's took only a part of it: it is sent again.
            if len(deliveries) == 1 + post.event:
                self._lanes.pop(channel)
                if post.seq:
                    self._done.add(post.seq)
                    self._recent.append((now, post))

    def _save(self, now: float) -> None:
        """Note what the broker has, and save what could not be saved."""
        if self._unsaved and self._add(now) is None:
            return
        outbox, superseded = self.outbox, self._lanes.superseded
        if outbox is None or now < self._retry_at or not (self._done or superseded):
            return
        if self._guard(lambda: outbox.published(self._done, superseded), now):
            self._done.clear()
            superseded.clear()

    # --- what the broker retains ----------------------------------------------------------------

    def _repair(self, now: float) -> None:
        topics = [f"{self._root}/{family}/#" for family in FAMILIES]
        if self._mqtt.connected and self._mqtt.connects != self._connects:
            self._connects = self._mqtt.connects
            self._shown.clear()
            self._settled_at = now + _SETTLE_S
            self._mqtt.listen(topics)
            self._tell_again()
        for _ in range(len(self._seen)):
            topic, payload = self._seen.popleft()
            self._settled_at = max(self._settled_at, now + _SETTLE_S)
            try:
                self._look(topic, payload)
            except sqlite3.Error as error:
                self._fail(error, now)
        if self._settled_at and now >= self._settled_at and self._mqtt.connected:
            self._settled_at = 0.0
            self._mqtt.unlisten(topics)
            for topic in self._current.keys() - self._shown:
                self._mend(topic, self._current[topic].document)

    def _tell_again(self) -> None:
        waiting = set(self._lanes.seqs())
        for _, post in self._recent:
            if post.seq not in waiting:
                self._lanes.add(post, supersede=False)
        self._recent.clear()
        self._lanes.sort(self._flying)

    def _look(self, topic: str, payload: bytes) -> None:
        """Hold what the broker shows against what is so."""
        self._shown.add(topic)
        right = self._current.get(topic)
        if right is None and self.outbox is not None:
            right = self.outbox.newest(topic)
        if right is not None:
            if right.document != payload:
                self._mend(topic, right.document)
        elif payload and not _over(payload):
            self._mend(topic, b"")

    def _mend(self, topic: str, document: bytes) -> None:
        """Retain `document`, unless something newer waits to be retained there."""
        channel = topic.removeprefix(f"{self._root}/").partition("/")[2]
        if not self._lanes.waits(channel, topic):
            log.info("channel=%s retained alert repaired", channel)
            self._lanes.add(Post(0, "", channel, topic, "repaired", document, event=False))

    # --- at the start ---------------------------------------------------------------------------

    def close_unknown(self, known: Callable[[], Collection[str]]) -> None:
        """Clear alerts that are open here and not `known` to the pipeline: their channel's state
        was lost in a restart, and nobody else will ever clear them. Not before the database could
        be read."""
        self.do(lambda: self._close_unknown(known))

    def _close_unknown(self, known: Callable[[], Collection[str]]) -> None:
        if self.outbox is None:
            self._tasks.append(lambda: self._close_unknown(known))
            return
        open_now = known()
        for each in list(self._current.values()):
            if each.id not in open_now:
                self.add(_given_up(each))


def _newest(each: database.Record) -> Transition:
    return Transition(
        each.last, each.id, each.channel, each.kind, each.topic, "updated", each.started_s,
        each.document, True,
    )  # fmt: skip


def _given_up(each: Transition) -> Transition:
    alert = msgspec.json.decode(each.document)
    why = f"{database.GIVEN_UP} that lost its channel's state; it was: {alert['reason']}"
    alert |= {"transition": "cleared", "cleared_at": alert["updated_at"], "reason": why}
    return each._replace(what="cleared", document=msgspec.json.encode(alert), published=False)


def _over(payload: bytes) -> bool:
    """A retained document that says that its alert is over."""
    try:
        return msgspec.json.decode(payload, type=_Shown).transition == "cleared"
    except msgspec.MsgspecError:
        return False
