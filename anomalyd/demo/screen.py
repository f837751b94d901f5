"""What the demo shows while it runs: a live page on a terminal, plain lines elsewhere.

`stage.py` calls it on the main thread, which draws; there is no drawing thread. Both screens are
called alike, so the caller never asks which one it has. It decides nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.text import Text

from anomalyd.demo.ledger import Judged
from anomalyd.demo.plot import plot
from anomalyd.demo.report import alert_line, faults_table, status_line
from anomalyd.demo.scene import Scene

_REFRESH_S: Final = 0.12
_STATUS_EVERY_S: Final = 10.0
_PLOT_LINES: Final = (3, 10)  # at least and at most, as the terminal has room
_SAID_LINES: Final = (3, 8)
_OTHER_LINES: Final = 14  # of the page
_SMALL_PLOT: Final = (76, 6)
_PICTURE_POINTS: Final = 532  # the longest fault, its grace, and some time before
_STYLES: Final = {"found": "bold green", "again": "", "echo": "yellow", "false alarm": "bold red"}


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
            # A bar alone doesn't end its line, and the panel's title would follow it unseen.
            Padding(ProgressBar(total=scene.steps, completed=scene.step), 0),
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
        """A picture of the fault and of the time around it; none where nothing was scored yet."""
        points = list(self._scene.points)[-_PICTURE_POINTS:]
        if not points:
            return
        self.say(f"  {self._scene.watched}: value █, expected ░, last {len(points)} s")
        width, height = _SMALL_PLOT
        self._console.print(plot(points, width, height, per_column=-(-len(points) // width)))

    def tick(self) -> None:
        now = self._clock()
        if now - self._told_at < _STATUS_EVERY_S:
            return
        self._told_at = now
        self.say(status_line(self._scene))


def _within(lines: int, bounds: tuple[int, int]) -> int:
    least, most = bounds
    return min(max(lines, least), most)
