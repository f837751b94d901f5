"""The demo while it plays: the plant speaks, the daemon answers, the screen shows it.

`demo.py` sets it up and calls `play` on the main thread, which publishes, listens, judges and draws
in turn, so nothing here needs a lock. It starts and stops no process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from anomalyd.demo.broker import HOST
from anomalyd.demo.child import Child
from anomalyd.demo.faults import Fault
from anomalyd.demo.ledger import Alert
from anomalyd.demo.listener import Heard, Listener, scrape
from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import Publisher, payload
from anomalyd.demo.scenario import describe
from anomalyd.demo.scene import Scene
from anomalyd.demo.screen import Screen

_CHUNK_STEPS: Final = 50
_MEASURE_EVERY_S: Final = 0.5
_SETTLE_WITHIN_S: Final = 10.0
_LAST_WORDS_S: Final = 0.5  # for alerts on their way when the last reading has been scored
_LISTEN_EVERY_S: Final = 0.02


@dataclass(frozen=True)
class Cast:
    """Those on stage with the plant, all started."""

    daemon: Child
    http_port: int
    """The daemon's, on loopback."""
    listener: Listener
    publisher: Publisher
    screen: Screen


class Stage:
    """The play. Owns the scene, and the times at which readings were published."""

    def __init__(
        self,
        scene: Scene,
        plant: Plant,
        speed: float,
        cast: Cast,
        clock: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        """`speed` is simulated seconds, that is readings of each channel, a second."""
        self._scene = scene
        self._plant = plant
        self._speed = speed
        self._cast = cast
        self._clock = clock
        self._pause = pause
        self._published_at: list[float] = []
        self._measured_at = clock()

    def play(self) -> None:
        """The whole run, and then until the daemon has scored all of it."""
        begin = self._clock()
        while self._scene.step < self._scene.steps:
            for row in self._plant.run(min(_CHUNK_STEPS, self._scene.steps - self._scene.step)):
                self._wait_until(begin + self._scene.step / self._speed)
                self._direct()
                self._publish(row.tolist())
                self._listen()
        self._settle()
        self._cast.screen.leave()

    def _wait_until(self, due: float) -> None:
        ahead = due - self._clock()
        if ahead > 0:
            self._pause(ahead)

    def _direct(self) -> None:
        """Announce what begins or ends with this step, and look where it happens."""
        scene = self._scene
        at = f"{scene.step} s: "
        for fault in scene.ledger.faults:
            if fault.start == scene.step:
                self._cast.screen.say(
                    f"{at}{fault.kind} on {fault.channel}: {describe(fault)}", "bold"
                )
            if fault.end == scene.step and fault.duration > 1:
                self._cast.screen.say(f"{at}{fault.channel} is healthy again", "dim")
        channel = self._of_interest().channel
        if channel != scene.watched:
            if scene.watched:
                self._cast.screen.leave()
            self._cast.listener.watch(channel)
            scene.watched = channel
            scene.points.clear()

    def _of_interest(self) -> Fault:
        """The fault that is on, that has just been, or that comes next."""
        faults = self._scene.ledger.faults
        grace = self._scene.ledger.grace
        return next((f for f in faults if self._scene.step < f.end + grace), faults[-1])

    def _publish(self, row: list[float]) -> None:
        at = self._scene.ledger.start + self._scene.step
        self._published_at.append(self._clock())
        self._cast.publisher.send(
            (f"plant/{name}", payload(at, value))
            for name, value in zip(self._plant.names, row, strict=True)
        )
        self._scene.step += 1

    def _listen(self) -> None:
        for heard in self._cast.listener.take():
            if heard.alert:
                self._judge(heard.alert, heard.at)
            if heard.point:
                self._see(heard)
        if self._clock() - self._measured_at >= _MEASURE_EVERY_S:
            self._cast.daemon.check()
            self._measure()
        self._cast.screen.tick()

    def _judge(self, alert: Alert, at: float) -> None:
        if alert.transition != "raised":
            return
        step = min(max(self._scene.ledger.step_of(alert), 0), len(self._published_at) - 1)
        self._cast.screen.alert(self._scene.ledger.judge(alert, at - self._published_at[step]))

    def _see(self, heard: Heard) -> None:
        if heard.point:
            self._scene.points.append(heard.point)
        if heard.scored and self._scene.first_scored_at is None:
            self._scene.first_scored_at = heard.at

    def _measure(self) -> None:
        series = scrape(HOST, self._cast.http_port)
        scene, now = self._scene, self._clock()
        scored = series.get("anomalyd_readings_scored_total", scene.scored)
        scene.scored_per_s = (scored - scene.scored) / (now - self._measured_at)
        scene.scored = scored
        scene.channels = int(_total(series, "anomalyd_channels"))
        scene.active = _total(series, "anomalyd_alerts_active")
        self._measured_at = now

    def _settle(self) -> None:
        deadline = self._clock() + _SETTLE_WITHIN_S
        while self._scene.scored < self._cast.publisher.sent and self._clock() < deadline:
            self._pause(_LISTEN_EVERY_S)
            self._listen()
        deadline = self._clock() + _LAST_WORDS_S
        while self._clock() < deadline:
            self._pause(_LISTEN_EVERY_S)
            self._listen()


def _total(series: dict[str, float], name: str) -> float:
    """Sum over the labels of a metric."""
    return sum(value for key, value in series.items() if key.partition("{")[0] == name)
