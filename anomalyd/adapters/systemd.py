"""What the daemon tells systemd: ready, status, progress, stopping; as in sd_notify(3).

`service.py` calls it on the main thread. Every call opens, sends and closes, so there is no state
and no lock. It never raises and never blocks for long: what systemd hears must not stop the daemon.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

_SEND_TIMEOUT_S = 1.0


class Notifier:
    """Speaks to `address`, the value of NOTIFY_SOCKET; does nothing when that is absent."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    def ready(self) -> None:
        """The daemon can do its work: `systemctl start` returns."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is read again; `ready` ends it."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_us}")

    def stopping(self) -> None:
        """The daemon is draining."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send("STATUS=" + " ".join(text.splitlines()))

    def watchdog(self) -> None:
        """The pipeline made progress."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # "@" stands for the zero byte that an abstract socket's name begins with.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.settimeout(_SEND_TIMEOUT_S)
                notify.sendto(message.encode(), address)
        except OSError:
            # The socket's queue may be full, or systemd may be re-executing. A lost status harms
            # nobody, and a lost watchdog ping is followed by another within half its time.
            return


def watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """How often to call `watchdog()`: half of the time that systemd allows; None = not watched."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        allowed_us = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return allowed_us / 2e6 if allowed_us > 0 else None
