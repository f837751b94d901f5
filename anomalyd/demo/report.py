"""The demo in words: how far it is, what an alert was worth, what came of it all.

`screen.py` shows the first while it runs, `demo.py` the closing. Pure: facts in, text out.
"""

from __future__ import annotations

from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from anomalyd.demo.ledger import Judged, Ledger
from anomalyd.demo.scenario import describe
from anomalyd.demo.scene import Scene

_WIDE: Final = 112  # columns of the terminal


def status_line(scene: Scene) -> str:
    return (
        f"{scene.step} of {scene.steps} simulated seconds, {scene.channels} channels, "
        f"{scene.scored:,.0f} readings scored ({scene.scored_per_s:,.0f}/s), "
        f"{scene.active:.0f} alerts active"
    )


def alert_line(judged: Judged) -> str:
    alert = judged.alert
    line = f"{judged.judgement}: {alert.channel} ({alert.kind})"
    if judged.fault:
        line += f", {judged.delay_s:.0f} simulated s after the fault"
    return f"{line}, {judged.latency_s * 1000:.0f} ms after its reading: {alert.reason}"


def faults_table(ledger: Ledger, step: int, width: int) -> Table:
    """Each fault and what the daemon made of it so far; what it did, if `width` has room."""
    table = Table(box=None, pad_edge=False)
    for title in ("fault", "channel", "alert"):
        table.add_column(title, no_wrap=True)
    for title in ("delay s", "ms"):
        table.add_column(title, justify="right", no_wrap=True)
    wide = width >= _WIDE
    if wide:
        table.add_column("what happens", no_wrap=True)
    found = ledger.found
    for fault in ledger.faults:
        judged = found.get(fault)
        verdict = Text(judged.alert.kind, "green") if judged else _without_alert(fault.start, step)
        delay = f"{judged.delay_s:.0f}" if judged else ""
        latency = f"{judged.latency_s * 1000:.0f}" if judged else ""
        story = [describe(fault)] if wide else []
        table.add_row(fault.kind, fault.channel, verdict, delay, latency, *story)
    return table


def closing(scene: Scene, began: float, width: int) -> RenderableType:
    """What came of it. `began` is when the command was started."""
    ledger = scene.ledger
    parts: list[RenderableType] = ["", faults_table(ledger, scene.step, width), ""]
    found, false = len(ledger.found), ledger.false_alarms
    parts.append(f"{found} of {len(ledger.faults)} faults found; false alarms: {len(false)}")
    parts += [alert_line(judged) for judged in false]
    if ledger.echoes:
        parts.append(
            f"not counted as false: {len(ledger.echoes)} on another sensor of the faulty one's "
            "machine, naming the faulty one first"
        )
    parts.append(f"{scene.scored:,.0f} readings of {scene.channels} channels scored")
    if scene.first_scored_at is not None:
        wait_s = scene.first_scored_at - began
        parts.append(f"first reading scored {wait_s:.1f} s after the command")
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))


def _without_alert(start: int, step: int) -> Text:
    return Text("none", "red") if step >= start else Text("to come", "dim")
