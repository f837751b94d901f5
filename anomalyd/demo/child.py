"""A child process that ends with us: the embedded broker, and the daemon under the demo.

`broker.py` and `demo.py` start them, on the main thread (Linux ties the death signal to the thread
that started the child). A child has a session of its own, so a Ctrl-C in the terminal reaches the
parent alone, which stops its children in order.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from anomalyd.errors import ServiceFailed

_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.01
_TAIL_LINES: Final = 20


class Child:
    """A started program. Use it as a context manager: it is stopped at the end.

    Owns the process. What it writes goes to `log`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        environment: Mapping[str, str] | None = None,
        stop_within_s: float = 10.0,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._environment = environment
        self._stop_within_s = stop_within_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._running().pid

    def __enter__(self) -> Self:
        try:
            with self.log.open("ab") as log, _undisturbed():
                self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    start_new_session=True,
                    preexec_fn=_before_exec(os.getpid()),  # noqa: PLW1509 - takes no lock
                )
        except KeyboardInterrupt:
            if self._process is not None:
                self.stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """Ask it to end, insist after `stop_within_s`; its exit status."""
        process = self._running()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            return process.wait(self._stop_within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def check(self) -> None:
        """Raise ServiceFailed, with the last line of its log, if it has died."""
        status = self._running().poll()
        if status is not None:
            raise ServiceFailed(f"{self.name} ended with status {status}{self._last_words()}")

    def wait_until(
        self,
        ready: Callable[[], bool],
        within_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Return once `ready()`; raise ServiceFailed if it dies or takes longer than `within_s`."""
        deadline = clock() + within_s
        while not ready():
            self.check()
            if clock() > deadline:
                late = f"{self.name} is not ready after {within_s:g} s"
                raise ServiceFailed(late + self._last_words())
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running().wait(_POLL_S)

    def tail(self) -> str:
        """The last lines that it wrote."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def _last_words(self) -> str:
        last = self.tail().rpartition("\n")[2].strip()
        return f": {last}" if last else ""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServiceFailed(f"{self.name} has not been started")
        return self._process


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep Ctrl-C until the child is known: the fork would swallow it, or leave a child that nobody
    stops. Blocking it would not do: another thread would take it, and interrupt this one."""
    kept: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():  # no other is ever interrupted
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda number, frame: kept.append(number))
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
        for each in kept:
            signal.raise_signal(each)


def _before_exec(parent: int) -> Callable[[], None]:
    """What the child does before it becomes its program: on Linux, ask to be killed when we die."""
    libc = ctypes.CDLL(None)  # loaded before the fork: a forked child must not load anything

    def ask() -> None:
        if sys.platform != "linux":
            return
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the request
            os._exit(1)

    return ask
