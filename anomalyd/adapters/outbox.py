"""The alerts that must not be lost, in one SQLite file: what was raised, published, acknowledged.

`runtime/courier.py` owns the one `Outbox` that writes, on its thread `outbox`; `anomalyd alerts`
and the gate of retraining open another with `read_only`, while the daemon runs (WAL). Every method
may raise sqlite3.Error; the caller decides what goes on without a database. Nothing here waits for
a lock longer than `BUSY_S`, knows MQTT, or looks at a clock.

A transition is one row with the bytes that are published; its alert is a row that sums them up,
with what people said of it. Commits are synced (`synchronous = FULL`), but for what only saves
work.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

FILE = "alerts.sqlite"
VERSION = 1
BUSY_S = 0.25

_SCHEMA = f"""
PRAGMA user_version = {VERSION};
CREATE TABLE alert (
    id TEXT PRIMARY KEY, channel TEXT NOT NULL, kind TEXT NOT NULL, topic TEXT NOT NULL,
    started_s REAL NOT NULL, cleared_s REAL, last INTEGER NOT NULL,
    acknowledged_s REAL, acknowledged_by TEXT, acknowledged_note TEXT,
    verdict TEXT, verdict_s REAL, verdict_by TEXT, verdict_note TEXT
) WITHOUT ROWID;
CREATE INDEX alert_last ON alert (last);
CREATE TABLE transition (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL, channel TEXT NOT NULL, kind TEXT NOT NULL,
    topic TEXT NOT NULL, what TEXT NOT NULL, at_s REAL NOT NULL, document BLOB NOT NULL,
    published INTEGER NOT NULL
);
CREATE INDEX transition_id ON transition (id, seq);
CREATE INDEX transition_topic ON transition (topic, seq);
CREATE INDEX transition_unpublished ON transition (seq) WHERE published = 0;
CREATE UNIQUE INDEX transition_once ON transition (id, what) WHERE what != 'updated';
CREATE TABLE maintenance (
    pattern TEXT PRIMARY KEY, until_s REAL NOT NULL, at_s REAL NOT NULL, by TEXT, note TEXT
) WITHOUT ROWID;
"""
_FORGETTABLE = """
CREATE TEMP VIEW forgettable AS SELECT id, last FROM alert
WHERE cleared_s IS NOT NULL AND verdict IS NOT 'confirmed' AND NOT EXISTS
(SELECT 1 FROM transition WHERE transition.id = alert.id AND published = 0)
"""
_PRAGMAS = (
    "PRAGMA auto_vacuum = INCREMENTAL",  # before the first table
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA journal_size_limit = 4194304",
)
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")
GIVEN_UP = "given up at a restart"
"""how the reason begins where an alert was cleared because nobody knew of it any more"""
_FEWEST_FREED = 200
_MOST_AGED_S = 7200.0
_EVERY, _NEVER = -1, 2**62


class Foreign(Exception):
    """The file is of another version of this program."""


class Transition(NamedTuple):
    """One transition of one alert, as it is published."""

    seq: int
    """rises with every transition, over restarts too: microseconds since 1970 when it was told, or
    one more than the last"""
    id: str
    channel: str
    kind: str
    topic: str
    """where it is retained"""
    what: str
    """raised, updated or cleared"""
    at_s: float
    """seconds since 1970, of the reading that led to it"""
    document: bytes
    published: bool = False


class Window(NamedTuple):
    """Channels in maintenance."""

    pattern: str
    """shell wildcards over names of channels"""
    until_s: float
    at_s: float
    by: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Record:
    """One alert, and what people said of it."""

    id: str
    channel: str
    kind: str
    topic: str
    started_s: float
    cleared_s: float | None
    """None: it is open"""
    last: int
    acknowledged_s: float | None
    acknowledged_by: str | None
    acknowledged_note: str | None
    verdict: str | None
    """"confirmed", "false_alarm", or None where nobody said"""
    verdict_s: float | None
    verdict_by: str | None
    verdict_note: str | None
    document: bytes
    """of its newest transition"""


class Outbox:
    """The database. Used by one thread; `close` it."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        """Open `path`; it is made where there is none. Raises sqlite3.Error, Foreign."""
        self.path = path
        self._connection = _connect_read_only(path) if read_only else _connect(path)
        if not read_only:
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        for pragma in _PRAGMAS:
            self._connection.execute(pragma)
        version = self._number("PRAGMA user_version")
        if version not in (0, VERSION):
            raise Foreign(f"{self.path} has version {version}, this program reads {VERSION}")
        if version == 0:
            self._connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
        self._connection.execute(_FORGETTABLE)
        # A file that can be read and not written is told now, not at the first alert.
        self._connection.executescript("BEGIN IMMEDIATE;ROLLBACK;")

    def close(self) -> None:
        self._connection.close()

    # --- transitions ------------------------------------------------------------------------

    def add(self, transitions: Sequence[Transition]) -> set[int]:
        """Keep them, all or none, and return the `seq` of those that were kept: a raise or a clear
        that is here already is a repeat, and so is what comes after a clear. Only an alert that was
        given up, and is raised again, is open again."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            return {each.seq for each in transitions if self._add(each)}

    def _add(self, each: Transition) -> bool:
        found = self._connection.execute(
            "SELECT cleared_s FROM alert WHERE id = ?", (each.id,)
        ).fetchone()
        if found is not None and (found[0] is not None or each.what == "raised"):
            if not (each.what == "raised" and found[0] is not None and self._take_up(each.id)):
                return False
            each = each._replace(what="updated")  # an alert is raised once
        self._connection.execute(
            "INSERT INTO transition VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*each[:8], int(each.published)),
        )
        self._connection.execute(
            "INSERT INTO alert (id, channel, kind, topic, started_s, last) "
            "VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET last = excluded.last, kind = excluded.kind",
            (each.id, each.channel, each.kind, each.topic, each.at_s, each.seq),
        )
        if each.what == "cleared":
            self._connection.execute(
                "UPDATE alert SET cleared_s = ? WHERE id = ?", (each.at_s, each.id)
            )
        return True

    def _take_up(self, identity: str) -> bool:
        """Let an alert that was given up be open again; False where it was not."""
        given_up = self._connection.execute(
            "UPDATE transition SET what = 'updated' WHERE id = ? AND what = 'cleared' "
            "AND instr(document, CAST(? AS BLOB))",
            (identity, f'"reason":"{GIVEN_UP}'),
        )
        if given_up.rowcount:
            self._connection.execute("UPDATE alert SET cleared_s = NULL WHERE id = ?", (identity,))
        return given_up.rowcount > 0

    def published(self, sequence: Iterable[int], superseded: Iterable[int]) -> None:
        """The broker has those of `sequence`; `superseded` are never published, and forgotten. Not
        synced, so that no alert waits for it: what a power cut undoes is published again."""
        self._connection.execute("PRAGMA synchronous = NORMAL")
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(
                    "UPDATE transition SET published = 1 WHERE seq = ?",
                    ((seq,) for seq in sequence),
                )
                self._connection.executemany(
                    "DELETE FROM transition WHERE seq = ? AND what = 'updated'",
                    ((seq,) for seq in superseded),
                )
        finally:
            self._connection.execute("PRAGMA synchronous = FULL")

    def unpublished(self) -> list[Transition]:
        """In order, with empty documents: they are fetched when it is their turn."""
        rows = self._connection.execute(
            "SELECT seq, id, channel, kind, topic, what, at_s, x'', 0 FROM transition "
            "WHERE published = 0 ORDER BY seq"
        )
        return [_transition(row) for row in rows]

    def document(self, seq: int) -> bytes | None:
        """What is published as `seq`."""
        found = self._connection.execute("SELECT document FROM transition WHERE seq = ?", (seq,))
        row = found.fetchone()
        return None if row is None else bytes(row[0])

    def newest(self, topic: str) -> Transition | None:
        """What should be retained there; None where nothing is known of it."""
        row = self._connection.execute(
            "SELECT * FROM transition WHERE topic = ? ORDER BY seq DESC LIMIT 1", (topic,)
        ).fetchone()
        return None if row is None else _transition(row)

    def last_seq(self) -> int:
        """0 where there is none."""
        return self._number("SELECT coalesce(max(seq), 0) FROM transition")

    # --- reading ----------------------------------------------------------------------------

    def alerts(
        self, open_only: bool = False, channel: str | None = None, since_s: float = 0.0
    ) -> list[Record]:
        """Open ones, and those that were cleared at `since_s` or later, by the clock; newest first.
        `channel`: a name, or a pattern with shell wildcards."""
        rows = self._connection.execute(
            "SELECT alert.*, transition.document FROM alert "
            "JOIN transition ON transition.seq = alert.last "
            "WHERE (cleared_s IS NULL OR (NOT ? AND last >= ?)) AND alert.channel GLOB ? "
            "ORDER BY started_s DESC, alert.last DESC",
            (open_only, int(since_s * 1e6), channel or "*"),
        )
        return [Record(*row) for row in rows]

    def confirmed(self) -> list[Record]:
        """The plant's own incidents: alerts that somebody confirmed, oldest first. They are kept
        for good."""
        return [each for each in reversed(self.alerts()) if each.verdict == "confirmed"]

    def faults(self) -> Mapping[str, float]:
        """Channel -> the end of its last confirmed alert, or the beginning of one that is open."""
        return dict(
            self._connection.execute(
                "SELECT channel, max(coalesce(cleared_s, started_s)) FROM alert "
                "WHERE verdict = 'confirmed' GROUP BY channel"
            ).fetchall()
        )

    def find(self, identity: str) -> Record | None:
        """The alert of that id."""
        row = self._connection.execute(
            "SELECT alert.*, transition.document FROM alert "
            "JOIN transition ON transition.seq = alert.last WHERE alert.id = ?",
            (identity,),
        ).fetchone()
        return None if row is None else Record(*row)

    def history(self, identity: str) -> list[Transition]:
        """All transitions of an alert that are kept, in order."""
        rows = self._connection.execute(
            "SELECT * FROM transition WHERE id = ? ORDER BY seq", (identity,)
        )
        return [_transition(row) for row in rows]

    # --- what people say --------------------------------------------------------------------

    def acknowledge(self, identity: str, at_s: float, by: str | None, note: str | None) -> bool:
        """Somebody has taken notice; False where there is no such alert."""
        return self._change(
            "UPDATE alert SET acknowledged_s = ?, acknowledged_by = ?, acknowledged_note = ? "
            "WHERE id = ?",
            (at_s, by, note, identity),
        )

    def judge(
        self, identity: str, verdict: str, at_s: float, by: str | None, note: str | None
    ) -> bool:
        """Somebody says what it was; False where there is no such alert."""
        return self._change(
            "UPDATE alert SET verdict = ?, verdict_s = ?, verdict_by = ?, verdict_note = ? "
            "WHERE id = ?",
            (verdict, at_s, by, note, identity),
        )

    def maintain(self, windows: Iterable[Window], ended: Iterable[str], now_s: float) -> None:
        """Begin `windows`, end those of the patterns `ended`, forget those that are over."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM maintenance WHERE until_s <= ?", (now_s,))
            self._connection.executemany(
                "DELETE FROM maintenance WHERE pattern = ?", ((each,) for each in ended)
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO maintenance VALUES (?, ?, ?, ?, ?)", windows
            )

    def maintenance(self) -> tuple[Window, ...]:
        """Windows that were begun and not ended; some may be over."""
        rows = self._connection.execute("SELECT * FROM maintenance ORDER BY pattern")
        return tuple(Window(*row) for row in rows)

    # --- bounds -----------------------------------------------------------------------------

    def prune(self, before_s: float, most_bytes: int) -> None:
        """Forget alerts that were cleared before `before_s` (of the clock, not of the readings),
        then the oldest until the file is no larger than `most_bytes`. Open, unpublished and
        confirmed ones are kept, and at once no more goes than `_MOST_AGED_S` of the history: a
        clock that is wrong for an hour must not cost the alerts of a year."""
        oldest = self._number("SELECT coalesce(min(last), 0) FROM forgettable")
        self._forget(min(int(before_s * 1e6), oldest + int(_MOST_AGED_S * 1e6)), _EVERY)
        while self._bytes() > most_bytes and self._forget(_NEVER, _FEWEST_FREED):
            pass
        # As a script: `execute` would free one page.
        self._connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")

    def _forget(self, before: int, most: int) -> bool:
        """The `most` oldest whose last `seq` is less than `before`; False where there are none."""
        chosen = "SELECT id FROM forgettable WHERE last < ? ORDER BY last LIMIT ?"
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            found = self._connection.execute(chosen, (before, most)).fetchall()
            self._connection.executemany("DELETE FROM transition WHERE id = ?", found)
            self._connection.executemany("DELETE FROM alert WHERE id = ?", found)
        return bool(found)

    def _bytes(self) -> int:
        pages = self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")
        return pages * self._number("PRAGMA page_size")

    def _number(self, question: str) -> int:
        return int(self._connection.execute(question).fetchone()[0])

    def _change(self, statement: str, values: Sequence[Any]) -> bool:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            return self._connection.execute(statement, values).rowcount > 0


def damaged(error: Exception) -> bool:
    """The file itself is at fault; anything else may pass."""
    return getattr(error, "sqlite_errorname", "").startswith(_DAMAGED)


def busy(error: Exception) -> bool:
    """Somebody else writes; after anything else the database is better opened anew."""
    return getattr(error, "sqlite_errorname", "").startswith(_BUSY)


def set_aside(path: Path, stamp: str) -> Path:
    """Rename a damaged database, with its journal; its new name. Raises OSError."""
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _transition(row: Sequence[Any]) -> Transition:
    return Transition._make(row)._replace(published=bool(row[-1]))


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """A reader who may not write to the directory can't have a WAL of his own: after a clean stop
    there is none, and the file is read as it lies."""
    uri = path.resolve().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        with closing(connection.execute("SELECT 1 FROM sqlite_master")) as found:
            found.fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(path.name + "-wal").exists():
            raise
        return sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None)
    return connection
