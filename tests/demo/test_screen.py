"""The screen's rules: lines where nobody watches, a page in place on a terminal, the same facts."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from anomalyd.demo.faults import Fault
from anomalyd.demo.ledger import Alert, Ledger
from anomalyd.demo.plot import Point
from anomalyd.demo.scene import Scene
from anomalyd.demo.screen import LineScreen, LiveScreen, open_screen

FAULTY = "line1/pump1/flow"
FAULTS = (Fault("stuck", FAULTY, 100, 50), Fault("spike", "line1/pump2/flow", 300, 1, 10.0))


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def a_scene() -> Scene:
    """At step 200: the first fault found, one false alarm, the second fault to come."""
    scene = Scene(Ledger(FAULTS, start=0.0, grace=10), steps=400, step=200, channels=24)
    scene.scored, scene.watched, scene.first_scored_at = 4800.0, FAULTY, 12.5
    scene.points.extend(Point(float(at % 7), -1.0, 8.0) for at in range(90))
    for step, channel in ((103, FAULTY), (180, "line1/pump1/current")):
        at = datetime.fromtimestamp(step, UTC)
        scene.ledger.judge(Alert(channel, "raised", "stuck", at, reason="why"), 0.012)
    return scene


def a_console(terminal: bool = False) -> tuple[Console, io.StringIO]:
    said = io.StringIO()
    return Console(file=said, width=120, height=40, force_terminal=terminal), said


@pytest.mark.parametrize(("terminal", "kind"), [(True, LiveScreen), (False, LineScreen)])
def test_the_console_decides(terminal: bool, kind: type) -> None:
    console, _ = a_console(terminal)
    assert isinstance(open_screen(a_scene(), console, Clock()), kind)


def test_lines_tell_what_happens_and_how_far_it_is() -> None:
    console, said = a_console()
    clock, scene = Clock(), a_scene()
    with LineScreen(scene, console, clock) as screen:
        screen.say("100 s: stuck")
        screen.alert(scene.ledger.judged[0])
        screen.tick()
        clock.at = 11.0
        screen.tick()
        screen.tick()
    assert said.getvalue().splitlines() == [
        "100 s: stuck",
        f"  found: {FAULTY} (stuck), 3 simulated s after the fault, 12 ms after its reading: why",
        "200 of 400 simulated seconds, 24 channels, 4,800 readings scored (0/s), 0 alerts active",
    ]


def test_lines_leave_a_picture_of_the_fault() -> None:
    console, said = a_console()
    LineScreen(a_scene(), console, Clock()).leave()
    title, *picture = said.getvalue().splitlines()
    assert title == f"  {FAULTY}: value █, expected ░, last 90 s"
    assert len(picture) == 6


def test_without_a_scored_reading_there_is_no_picture() -> None:
    """The machine is so busy that the fault comes and goes first."""
    console, said = a_console()
    scene = a_scene()
    scene.points.clear()
    LineScreen(scene, console, Clock()).leave()
    assert said.getvalue() == ""


def test_the_page_shows_channel_faults_and_alerts() -> None:
    console, said = a_console(terminal=True)
    clock, scene = Clock(), a_scene()
    with LiveScreen(scene, console, clock) as screen:
        screen.alert(scene.ledger.judged[1])
        clock.at = 1.0
        screen.tick()
    page = said.getvalue()
    for fact in ("4,800 readings scored", FAULTY, "░", "█", "to come", "false alarm: line1/pump1"):
        assert fact in page
