"""What `anomalyd models` shows, and the two things that it changes.

Called by `cli.py` on the main thread, beside a running daemon or without one.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Table

from anomalyd.adapters.models.manifest import ASSET, FORECAST
from anomalyd.adapters.models.store import ModelStore

_STYLES = {"current": "bold green", "rejected": "red", "rolled-back": "red", "shadow": "cyan"}


def show_all(store: ModelStore, as_json: bool) -> int:
    """Every version, a line each."""
    manifests = store.list()
    if as_json:
        return _write_json(manifests)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("version", "role", "status", "created", "parent"):
        table.add_column(name, no_wrap=True)
    table.add_column("reason")
    for each in manifests:
        status = f"[{_STYLES.get(each.status, 'default')}]{each.status}[/]"
        table.add_row(
            each.version, each.role, status, _time(each.created_s), each.parent, each.reason
        )
    Console().print(table)
    return 0


def show(store: ModelStore, version: str, role: str, as_json: bool) -> int:
    """One version: its manifest, whether its file is sound, and what happened to it."""
    manifest = store.show(version, role)
    if as_json:
        return _write_json(manifest)
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in msgspec.to_builtins(manifest).items():
        shown = _time(value) if name.endswith("_s") else value
        if name == "metrics":
            shown = msgspec.json.format(msgspec.json.encode(value)).decode()
        table.add_row(name.removesuffix("_s"), str(shown))
    console = Console()
    console.print(table, markup=False)
    for event in store.events():
        if event.version == version and event.role == manifest.role:
            line = f"{_time(event.time_s)}  {event.event}  {event.reason}"
            console.print(line, markup=False, highlight=False)
    store.check(version, manifest.role)
    return 0


def promote(store: ModelStore, version: str, role: str, reason: str, now_s: float) -> int:
    """Let a version serve, after its file was read as the daemon would."""
    manifest = store.show(version, role)
    store.check(version, manifest.role)
    before = store.current(manifest.role)
    store.promote(version, reason, now_s, role)
    return _tell(manifest.role, version, before)


def roll_back(store: ModelStore, role: str, reason: str, now_s: float) -> int:
    """Let the version serve that did before."""
    before = store.current(role)
    return _tell(role, store.rollback(role, reason, now_s), before)


def _tell(role: str, now: str, before: str) -> int:
    told = f"{role}: {now} serves, {before} did" if now != before else f"{role}: {now} serves"
    when = "when it starts again" if role == FORECAST else "within a second"
    if role.startswith(ASSET):
        when += ", or once none of its channels is under alert"
    sys.stdout.write(f"{told}; a running daemon takes it up {when}\n")
    return 0


def _write_json(thing: object) -> int:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(thing)).decode() + "\n")
    return 0


def _time(time_s: float | None) -> str:
    if not time_s:
        return ""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
