"""systemd hears what it should, and never keeps the daemon from its work."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalyd.adapters import systemd
from anomalyd.adapters.systemd import Notifier, watchdog_interval_s


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """NOTIFY_SOCKET's value, and the socket behind it."""
    path = str(tmp_path / "notify")
    abstract = f"@anomalyd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path if request.param == "path" else "\0" + abstract[1:])
        listener.settimeout(5)
        yield path if request.param == "path" else abstract, listener


def test_each_call_is_one_datagram(manager: tuple[str, socket.socket]) -> None:
    address, listener = manager
    notifier = Notifier(address)
    notifier.ready()
    notifier.status("1000 channels, 3 firing\nREADY=0")
    notifier.watchdog()
    notifier.stopping()
    notifier.reloading()
    assert [
        b"READY=1",
        b"STATUS=1000 channels, 3 firing READY=0",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ] == [listener.recv(4096) for _ in range(4)]
    head, _, since_us = listener.recv(4096).partition(b"\nMONOTONIC_USEC=")
    assert b"RELOADING=1" == head
    assert 0 <= time.monotonic() * 1e6 - int(since_us) < 60e6


@pytest.mark.parametrize("address", [None, ""])
def test_without_an_address_nothing_happens(address: str | None) -> None:
    Notifier(address).ready()


def test_a_systemd_that_is_gone_is_no_error(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "nobody")).watchdog()


def test_a_systemd_that_does_not_read_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_SEND_TIMEOUT_S", 0.01)
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(path)
        for _ in range(1000):
            Notifier(path).watchdog()
            if _is_full(path):
                break
        assert _is_full(path)
        Notifier(path).watchdog()


def _is_full(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            probe.sendto(b"", path)
        except BlockingIOError:
            return True
        return False


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time(
    environ: dict[str, str], interval_s: float | None
) -> None:
    assert interval_s == watchdog_interval_s(environ)
