"""The report's rules: it names what was found, what was missed, and what was false."""

import io
from datetime import UTC, datetime

from rich.console import Console, RenderableType

from anomalyd.demo.faults import Fault
from anomalyd.demo.ledger import Alert, Contributor, Ledger
from anomalyd.demo.report import closing, faults_table
from anomalyd.demo.scene import Scene

FAULTY = "line1/pump1/flow"
NEIGHBOUR = "line1/pump1/current"
FAULTS = (Fault("stuck", FAULTY, 100, 50), Fault("spike", "line1/pump2/flow", 300, 1, 10.0))


def a_scene(step: int) -> Scene:
    """The first fault found and echoed, one false alarm, the second fault not found."""
    scene = Scene(Ledger(FAULTS, start=0.0, grace=10), steps=400, step=step, channels=24)
    scene.scored, scene.first_scored_at = 4800.0, 12.5
    for at_s, channel, kind in (
        (103, FAULTY, "stuck"),
        (110, NEIGHBOUR, "relation"),
        (180, NEIGHBOUR, "residual"),
    ):
        at = datetime.fromtimestamp(at_s, UTC)
        names = (Contributor(FAULTY),)
        alert = Alert(channel, "raised", kind, at, reason="why", contributors=names)
        scene.ledger.judge(alert, 0.012)
    return scene


def shown(part: RenderableType, width: int = 120) -> str:
    said = io.StringIO()
    Console(file=said, width=width).print(part)
    return said.getvalue()


def test_the_table_fits_a_narrow_terminal_and_tells_more_on_a_wide_one() -> None:
    ledger = a_scene(step=200).ledger
    narrow = [line.split() for line in shown(faults_table(ledger, 200, 80), 80).splitlines()]
    assert narrow == [
        ["fault", "channel", "alert", "delay", "s", "ms"],
        ["stuck", FAULTY, "stuck", "3", "12"],
        ["spike", "line1/pump2/flow", "to", "come"],
    ]
    assert "repeats one value for 50 s" in shown(faults_table(ledger, 200, 120))


def test_the_closing_tells_what_was_found_missed_and_false() -> None:
    lines = shown(closing(a_scene(step=400), began=10.0, width=80)).splitlines()
    assert lines[3].split() == ["spike", "line1/pump2/flow", "none"]
    assert lines[5:] == [
        "1 of 2 faults found; false alarms: 1",
        f"false alarm: {NEIGHBOUR} (residual), 12 ms after its reading: why",
        "not counted as false: 1 on another sensor of the faulty one's machine, "
        "naming the faulty one first",
        "4,800 readings of 24 channels scored",
        "first reading scored 2.5 s after the command",
    ]
