"""`anomalyd demo`: a broker, a plant with scripted faults, and the real daemon, shown and judged.

`cli.py` calls `run_demo` on the main thread, tests call `play`; besides it only paho's two threads
run, one to publish and one to listen. The daemon is a child process with a configuration file of
its own: nothing of it is imported here, so what is shown is what a plant would get. Everything is
started from sink to source and stopped the other way round, also by Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from anomalyd.demo.broker import HOST, EmbeddedBroker, free_port
from anomalyd.demo.child import Child
from anomalyd.demo.ledger import Ledger
from anomalyd.demo.listener import Listener, fetch
from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import Publisher
from anomalyd.demo.report import closing
from anomalyd.demo.scenario import grace, script
from anomalyd.demo.scene import Scene
from anomalyd.demo.screen import open_screen
from anomalyd.demo.stage import Cast, Stage
from anomalyd.errors import ServiceFailed

DAEMON: Final = (sys.executable, "-m", "anomalyd", "run", "--config")

_FALSE_ALARMS_ALLOWED: Final = 1
_READY_WITHIN_S: Final = 60.0

_START_TIME: Final = 19  # proc(5): field 22 of stat, counted from the one after the name

# What stands between a shell's environment and the demo's own configuration.
_SETTINGS_PREFIX: Final = "ANOMALYD_"

_CONFIG: Final = """\
instance = "demo"

[mqtt]
host = "{host}"
port = {mqtt_port}

[[streams]]
topic = "plant/{{line}}/{{machine}}/{{sensor}}"
value = "value"
time = "ts"
group_by = ["line", "machine"]

[alerts]
publish_scores = true

[http]
port = {http_port}

[state]
directory = "{directory}"
"""

_NEXT: Final = """
Next, your own plant. Put your broker and your topics into a file anomalyd.toml:

    [mqtt]
    host = "your-broker"

    [[streams]]
    topic = "plant/{line}/{machine}/{sensor}"
    value = "value"

    [state]
    directory = "anomalyd-state"

then check it and start the daemon; its alerts arrive on the topic anomalyd/main/event:

    anomalyd check --config anomalyd.toml
    anomalyd run --config anomalyd.toml
"""


@dataclass(frozen=True)
class Demo:
    """How the demo is played."""

    seconds: float = 90.0
    """How long the plant runs, in real seconds."""
    port: int | None = None
    """The embedded broker's; None = any free one."""
    speed: float = 100.0
    """Simulated seconds a second."""
    seed: int = 1
    daemon: tuple[str, ...] = DAEMON
    """The command that takes the path of a configuration."""


def run_demo(seconds: float, port: int | None) -> int:
    """The command: play on standard output, against the clock."""
    return play(Demo(seconds, port), Console(), command_began())


def play(
    options: Demo,
    console: Console,
    began: float,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Play, then judge: 0 if every fault was found and false alarms were at most one, else 1.

    `began` is when the command was started, on `clock`.
    """
    steps = int(options.seconds * options.speed)
    start = now() + options.seconds - steps  # the last reading is of now: none is in the future
    scene = Scene(Ledger(script(steps), start, grace(steps)), steps)
    with tempfile.TemporaryDirectory(prefix="anomalyd-demo-") as directory, _interruptible():
        try:
            _perform(options, scene, Path(directory), console, clock, pause)
        except KeyboardInterrupt:
            console.print("interrupted")
    return _close(scene, console, began)


def _perform(
    options: Demo,
    scene: Scene,
    directory: Path,
    console: Console,
    clock: Callable[[], float],
    pause: Callable[[float], None],
) -> None:
    plant = Plant(options.seed, faults=scene.ledger.faults)
    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(options.port))
        console.print(f"{broker.name} on {broker.host}:{broker.port}; the daemon is starting")
        listener = stack.enter_context(Listener(broker.host, broker.port, "anomalyd/demo", clock))
        http_port = free_port()
        daemon = stack.enter_context(_daemon(options, broker.port, http_port, directory))
        stack.enter_context(_log_if_it_fails(daemon, console))
        daemon.wait_until(lambda: fetch(HOST, http_port, "/-/ready") is not None, _READY_WITHIN_S)
        publisher = stack.enter_context(Publisher(broker.host, broker.port))
        screen = stack.enter_context(open_screen(scene, console, clock))
        cast = Cast(daemon, http_port, listener, publisher, screen)
        Stage(scene, plant, options.speed, cast, clock, pause).play()


def command_began() -> float:
    """When this process was started, on time.monotonic's clock: before Python's own start-up."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        ticks_since_boot = int(fields[_START_TIME])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks_since_boot / os.sysconf(
            "SC_CLK_TCK"
        )
    except (OSError, AttributeError):  # not Linux
        return time.monotonic()
    return time.monotonic() - age_s


def _daemon(options: Demo, mqtt_port: int, http_port: int, directory: Path) -> Child:
    config = directory / "demo.toml"
    text = _CONFIG.format(
        host=HOST, mqtt_port=mqtt_port, http_port=http_port, directory=directory / "state"
    )
    config.write_text(text)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS_PREFIX)
    }
    return Child("anomalyd", [*options.daemon, config], directory / "daemon.log", environment)


@contextmanager
def _log_if_it_fails(daemon: Child, console: Console) -> Iterator[None]:
    """Show the end of the daemon's log before it goes away with its directory."""
    try:
        yield
    except ServiceFailed:
        console.print(daemon.tail(), markup=False, highlight=False)
        raise


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: everything is stopped in order."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _close(scene: Scene, console: Console, began: float) -> int:
    console.print(closing(scene, began, console.width))
    console.print(_NEXT, markup=False, highlight=False, soft_wrap=True)
    ledger = scene.ledger
    complete = scene.step == scene.steps and len(ledger.found) == len(ledger.faults)
    return 0 if complete and len(ledger.false_alarms) <= _FALSE_ALARMS_ALLOWED else 1
