"""What the demo shows while it runs: a live page on a terminal, plain lines elsewhere.

`demo.py` calls it on the main thread, which draws; there is no drawing thread. Both screens are
called alike, so the caller never asks which one it has. It decides nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from anomalyd.demo.ledger import Judged, Ledger
from anomalyd.demo.plot import Point, plot
from anomalyd.demo.scenario import describe

_REFRESH_S: Final = 0.12
_STATUS_EVERY_S: Final = 10.0
_PLOT_POINTS: Final = 1000
_WIDE: Final = 112  # columns of the terminal
_PLOT_LINES: Final = (3, 10)  # at least and at most, as the terminal has room
_SAID_LINES: Final = (3, 8)
_OTHER_LINES: Final = 14  # of the page
_SMALL_PLOT: Final = (76, 6)
_PICTURE_POINTS: Final = 532  # the longest fault, its grace, and some time before
_STYLES: Final = {"found": "bold green", "again": "", "echo": "yellow", "false alarm": "bold red"}


@dataclass
class Scene:
    """All that there is to show. Owned and changed by `demo.py`; screens read it."""

    ledger: Ledger
    steps: int
    step: int = 0
    channels: int = 0
    scored: float = 0.0
    scored_per_s: float = 0.0
    active: float = 0.0
    watched: str = ""
    first_scored_at: float | None = None
    points: deque[Point] = field(default_factory=lambda: deque(maxlen=_PLOT_POINTS))


class Screen(Protocol):
    """Where the scene is shown."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def say(self, line: str, style: str = "") -> None:
        """Something has happened."""

    def alert(self, judged: Judged) -> None:
        """The daemon has raised an alert."""

    def leave(self) -> None:
        """The watched channel is about to change, or the play to end."""

    def tick(self) -> None:
        """Called with every step; draws when it is time to."""


def open_screen(scene: Scene, console: Console, clock: Callable[[], float]) -> Screen:
    """The screen that suits the console."""
    if console.is_terminal:
        return LiveScreen(scene, console, clock)
    return LineScreen(scene, console, clock)


class LiveScreen:
    """The whole scene, drawn anew in place several times a second."""

    def __init__(self, scene: Scene, console: Console, clock: Callable[[], float]) -> None:
        self._scene = scene
        self._console = console
        self._clock = clock
        self._drawn_at = clock()
        self._lines: deque[Text] = deque(maxlen=_SAID_LINES[1])
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, line: str, style: str = "") -> None:
        self._lines.append(Text(line, style))

    def alert(self, judged: Judged) -> None:
        self.say(f"  {alert_line(judged)}", _STYLES[judged.judgement])

    def leave(self) -> None:
        """The next picture takes the place of this one."""

    def tick(self) -> None:
        now = self._clock()
        if now - self._drawn_at < _REFRESH_S:
            return
        self._drawn_at = now
        self._live.update(self._draw(), refresh=True)

    def _draw(self) -> RenderableType:
        scene = self._scene
        width = max(20, self._console.width - 4)
        room = self._console.height - _OTHER_LINES
        height = _within(room * 5 // 9, _PLOT_LINES)
        said = Text("\n").join(reversed(self._lines))  # the newest are never cut off
        return Group(
            Text(status_line(scene), "bold", no_wrap=True),
            ProgressBar(total=scene.steps, completed=scene.step),
            Panel(
                plot(list(scene.points), width, height),
                title=f"{scene.watched}: value █, expected ░",
                title_align="left",
            ),
            faults_table(scene.ledger, scene.step, self._console.width),
            Panel(
                said,
                title="what happens, newest first",
                title_align="left",
                height=_within(room - height, _SAID_LINES) + 2,
            ),
        )


class LineScreen:
    """A line for everything that happens, and now and then one on how far it is."""

    def __init__(self, scene: Scene, console: Console, clock: Callable[[], float]) -> None:
        self._scene = scene
        self._console = console
        self._clock = clock
        self._told_at = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return

    def say(self, line: str, style: str = "") -> None:
        self._console.print(Text(line, style), soft_wrap=True)

    def alert(self, judged: Judged) -> None:
        self.say(f"  {alert_line(judged)}", _STYLES[judged.judgement])

    def leave(self) -> None:
        """A picture of the fault and of the time around it."""
        points = list(self._scene.points)[-_PICTURE_POINTS:]
        self.say(f"  {self._scene.watched}: value █, expected ░, last {len(points)} s")
        width, height = _SMALL_PLOT
        self._console.print(plot(points, width, height, per_column=-(-len(points) // width)))

    def tick(self) -> None:
        now = self._clock()
        if now - self._told_at < _STATUS_EVERY_S:
            return
        self._told_at = now
        self.say(status_line(self._scene))


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
    parts.append(f"{found} of {len(ledger.faults)} faults found, {len(false)} false alarms")
    parts += [alert_line(judged) for judged in false]
    if ledger.echoes:
        parts.append(
            f"{len(ledger.echoes)} alerts on another channel of the faulty sensor's machine "
            "named that sensor first: not counted as false"
        )
    parts.append(f"{scene.scored:,.0f} readings of {scene.channels} channels scored")
    if scene.first_scored_at is not None:
        wait_s = scene.first_scored_at - began
        parts.append(f"first reading scored {wait_s:.1f} s after the command")
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))


def _within(lines: int, bounds: tuple[int, int]) -> int:
    least, most = bounds
    return min(max(lines, least), most)


def _without_alert(start: int, step: int) -> Text:
    return Text("none", "red") if step >= start else Text("to come", "dim")
