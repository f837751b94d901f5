"""What `anomalyd alerts` shows: a look into the database of alerts, while the daemon writes it.

Called by `cli.py` on the main thread of another process. It only reads, and has no clock.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from anomalyd.adapters.outbox import FILE, Outbox, Record, Transition, Window
from anomalyd.errors import ConfigError, DataError
from anomalyd.runtime.alerts import Alert, iso
from anomalyd.runtime.maintenance import until_s

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_HEAD = ("raised", "id", "channel", "kind", "severity", "score", "state", "reason")


def since(text: str, now_s: float) -> float:
    """Seconds since 1970 of "24h" before now, or of a time in ISO 8601 (UTC where it has no zone).
    Raises ConfigError."""
    ago = re.fullmatch(r"(\d+)([smhd])", text)
    if ago:
        return now_s - float(ago[1]) * _UNITS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--since {text!r}: neither 24h nor a time in ISO 8601") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def listing(
    directory: Path, open_only: bool, channel: str | None, since_s: float, as_json: bool
) -> list[str]:
    """A table, or one JSON document a line, of open and recent alerts. Raises DataError."""
    with _opened(directory) as outbox:
        records = outbox.alerts(open_only, channel, since_s)
        windows = outbox.maintenance()
    if as_json:
        return [_json(each) for each in records]
    rows = [_row(each, windows) for each in records]
    return [*_table([_HEAD, *rows]), f"{len(rows)} alerts"]


def show(directory: Path, identity: str, as_json: bool) -> list[str]:
    """One alert: what people said of it, and its transitions. Raises DataError."""
    with _opened(directory) as outbox:
        record = _find(outbox, identity)
        history = outbox.history(record.id)
        windows = outbox.maintenance()
    if as_json:
        return [_json(record), *(each.document.decode() for each in history)]
    alert = _alert(record.document)
    about = [f"alert {record.id} of {record.channel}: {_state(record, windows)}"]
    if record.acknowledged_s is not None:
        by = (record.acknowledged_by, record.acknowledged_note)
        about.append(_said("acknowledged", record.acknowledged_s, *by))
    if record.verdict is not None and record.verdict_s is not None:
        about.append(
            _said(record.verdict, record.verdict_s, record.verdict_by, record.verdict_note)
        )
    if alert.runbook_url:
        about.append(f"runbook: {alert.runbook_url}")
    head = ("time", "transition", "kind", "severity", "score", "published", "reason")
    return [*about, "", *_table([head, *(_step(each) for each in history)])]


@contextmanager
def _opened(directory: Path) -> Iterator[Outbox]:
    path = directory / FILE
    if not path.is_file():
        raise DataError(f"{path}: no such file; the daemon makes it in state.directory")
    try:
        with closing(Outbox(path, read_only=True)) as outbox:
            yield outbox
    except sqlite3.Error as error:
        raise DataError(f"{path}: {error}") from error


def _find(outbox: Outbox, identity: str) -> Record:
    found = [each for each in outbox.alerts() if each.id.startswith(identity)]
    if len(found) != 1:
        raise DataError(f"{len(found) or 'no'} alerts have an id that begins with {identity!r}")
    return found[0]


def _row(record: Record, windows: Sequence[Window]) -> tuple[str, ...]:
    alert = _alert(record.document)
    return (
        alert.started_at,
        record.id,
        record.channel,
        alert.kind,
        alert.severity,
        f"{alert.score:.3g}",
        _state(record, windows),
        alert.reason,
    )


def _step(each: Transition) -> tuple[str, ...]:
    alert = _alert(each.document)
    published = "yes" if each.published else "no"
    return (
        alert.updated_at, each.what, alert.kind, alert.severity, f"{alert.score:.3g}", published,
        alert.reason,
    )  # fmt: skip


def _state(record: Record, windows: Sequence[Window]) -> str:
    """Open or cleared, and what people said."""
    states = ["open" if record.cleared_s is None else "cleared"]
    if record.acknowledged_s is not None:
        states.append("acknowledged")
    if record.verdict is not None:
        states.append(record.verdict)
    end_s = until_s(windows, record.channel)
    # A window that is over is forgotten with the next command; the alert's own time tells it.
    if record.cleared_s is None and end_s > record.started_s:
        states.append(f"maintenance until {iso(end_s)}")
    return ", ".join(states)


def _said(what: str, at_s: float, by: str | None, note: str | None) -> str:
    return f"{what} {iso(at_s)}{f' by {by}' if by else ''}{f': {note}' if note else ''}"


def _json(record: Record) -> str:
    """The newest document, and beside it what people said."""
    verdict = None
    if record.verdict is not None and record.verdict_s is not None:
        verdict = {
            "verdict": record.verdict,
            "at": iso(record.verdict_s),
            "by": record.verdict_by,
            "note": record.verdict_note,
        }
    acknowledged = None
    if record.acknowledged_s is not None:
        acknowledged = {
            "at": iso(record.acknowledged_s),
            "by": record.acknowledged_by,
            "note": record.acknowledged_note,
        }
    alert = msgspec.json.decode(record.document)
    alert |= {"acknowledged": acknowledged, "feedback": verdict}
    return msgspec.json.encode(alert).decode()


def _alert(document: bytes) -> Alert:
    return msgspec.json.decode(document, type=Alert)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they must be; the last is the reason, and ends where it ends."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
