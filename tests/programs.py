"""Programs that tests start for real: found, or the test is skipped with what to install.

`.ci/run` sets ANOMALYD_REQUIRE_PROGRAMS=1: there a missing program fails the test instead, so that
nothing is skipped for months without anybody noticing.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Debian puts daemons where an ordinary user's PATH doesn't look, pip programs beside Python.
_ELSEWHERE = os.pathsep.join(
    ["/usr/local/sbin", "/usr/sbin", "/sbin", str(Path(sys.executable).parent)]
)
_UP_WITHIN_S = 10.0


def require(program: str, package: str) -> str:
    """Path of `program`; without it the test is skipped, or fails in CI."""
    path = shutil.which(program) or shutil.which(program, path=_ELSEWHERE)
    if path:
        return path
    line = f"no {program}: install {package}"
    if os.environ.get("ANOMALYD_REQUIRE_PROGRAMS") == "1":
        pytest.fail(line)
    pytest.skip(line)


def root(what: str) -> None:
    """Skip the test where it can't `what`: only root may."""
    if os.geteuid() != 0:
        pytest.skip(f"{what} needs root: run the tests with sudo")


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def certify(folder: Path) -> Path:
    """An authority in `folder`, and what it has signed for a broker and for a daemon: ca, broker
    and daemon, each .crt and .key."""
    new = ("req", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    _openssl(folder, *new, "-x509", "-subj", "/CN=plant", "-keyout", "ca.key", "-out", "ca.crt")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("broker", "daemon"):
        _openssl(folder, *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", "csr")
        _openssl(
            folder, "x509", "-req", "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", f"{name}.crt",
        )  # fmt: skip
    return folder


def _openssl(folder: Path, *arguments: str) -> None:
    command = [require("openssl", "openssl"), *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def tls_listener(port: int, certificates: Path, *more: str) -> str:
    """Lines of mosquitto's configuration, with what `certify` made."""
    lines = [f"listener {port} 127.0.0.1", f"certfile {certificates}/broker.crt"]
    lines += [f"keyfile {certificates}/broker.key", f"cafile {certificates}/ca.crt", *more]
    return "\n".join(lines) + "\n"


class Mosquitto:
    """A real mosquitto on a loopback port that it keeps across `stop`, `kill` and `start`.

    `config` is the text of its configuration; the listener is added to it.
    """

    def __init__(self, directory: Path, config: str, port: int | None = None) -> None:
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self._config = directory / "mosquitto.conf"
        # As root it would become the user mosquitto, who can't write to a test's directory.
        user = "user root\n" if os.geteuid() == 0 else ""
        self._config.write_text(f"{config}\n{user}listener {self.port} {self.host}\n")
        self._log = directory / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the port accepts connections."""
        program = require("mosquitto", "mosquitto")
        with self._log.open("ab") as log:
            command = [program, "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _UP_WITHIN_S
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"mosquitto is not up: {self._log.read_text()}")
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """Of its process, which runs."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """SIGTERM: it writes its state and goes."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """SIGKILL: what it has not written is lost."""
        self._end(subprocess.Popen.kill)

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self._process is None:
            return
        how(self._process)
        self._process.wait(timeout=_UP_WITHIN_S)
        self._process = None

    def _accepts(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except OSError:
            return False
        return True


@contextmanager
def running(broker: Mosquitto) -> Iterator[Mosquitto]:
    """Start `broker`, and kill it at the end whatever happened."""
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()
