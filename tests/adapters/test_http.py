"""Metrics and health are answered on one port, whatever a client does or fails to do."""

import http.client
import itertools
import json
import logging
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from anomalyd.adapters.http import MAX_CONNECTIONS, HttpServer
from anomalyd.errors import ConfigError, ServiceFailed
from tests.programs import require

Start = Callable[..., HttpServer]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(...)`: a running server on a free port; a part not given is a good one."""
    with ExitStack() as servers:

        def run(
            metrics: Callable[[], Iterator[bytes]] = lambda: iter([b"up ", b"1\n"]),
            healthy: Callable[[], tuple[bool, str]] = lambda: (True, "ok"),
            ready: Callable[[], tuple[bool, Mapping[str, object]]] = lambda: (True, {}),
            port: int = 0,
            **security: Any,
        ) -> HttpServer:
            server = HttpServer("127.0.0.1", port, metrics, healthy, ready, **security)
            server.start()
            servers.callback(server.stop)
            return server

        yield run


def _get(server: HttpServer, path: str) -> tuple[int, str, bytes]:
    """(status, content type, body), redirections not followed."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def _nothing() -> Iterator[bytes]:
    return iter(())


def test_metrics_are_answered_as_written(start: Start) -> None:
    expected = 200, "text/plain; version=0.0.4; charset=utf-8", b"up 1\n"
    assert expected == _get(start(), "/metrics")


def test_others_are_answered_between_two_pieces_of_the_metrics(start: Start) -> None:
    """However much text it is, a probe doesn't wait for its end."""
    going = threading.Event()

    def endless() -> Iterator[bytes]:
        while not going.is_set():
            yield b"up 1\n"

    server = start(metrics=endless)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")
        assert 200 == _get(server, "/-/healthy")[0]
        going.set()
        assert client.recv(64).startswith(b"HTTP/1.1 200")


def test_who_asks_together_gets_one_text_and_it_is_newer_than_the_question(start: Start) -> None:
    """Forty clients cost what two do: those who ask while a text is written share the next."""
    written = itertools.count(1)
    held, asked = threading.Event(), threading.Event()

    def count() -> Iterator[bytes]:
        number = next(written)
        asked.set()
        while number == 1 and not held.is_set():
            yield b""
        yield f"{number}\n".encode()

    server = start(metrics=count)
    with ExitStack() as clients:
        first, *others = (
            clients.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            for _ in range(40)
        )
        question = b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        first.sendall(question)
        assert asked.wait(5)
        for each in others:
            each.sendall(question)
        # Answered after the questions were read: the server has one thread, and takes turns.
        assert 200 == _get(server, "/-/healthy")[0]
        held.set()
        assert b"1" == _all(first).split()[-1]
        assert {b"2"} == {_all(each).split()[-1] for each in others}


def test_writing_gets_a_twentieth_of_the_time(start: Start) -> None:
    """However often somebody asks."""
    spent = [0.0]

    def work() -> Iterator[bytes]:
        began = time.thread_time()
        while time.thread_time() - began < 0.02:
            pass
        spent[0] += time.thread_time() - began
        yield b"up 1\n"

    server = start(metrics=work)
    began = time.monotonic()
    for _ in range(4):
        _get(server, "/metrics")
    assert spent[0] <= 0.03 + 0.05 * (time.monotonic() - began)


def _all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


def test_healthy_says_why_not(start: Start) -> None:
    good = start(healthy=lambda: (True, "ok"))
    bad = start(healthy=lambda: (False, "pipeline has made no progress for 31 s"))
    assert (200, b"ok\n") == _get(good, "/-/healthy")[::2]
    assert (503, b"pipeline has made no progress for 31 s\n") == _get(bad, "/-/healthy")[::2]


@pytest.mark.parametrize(("good", "status"), [(True, 200), (False, 503)])
def test_ready_lists_its_conditions_as_json(start: Start, good: bool, status: int) -> None:
    server = start(ready=lambda: (good, {"mqtt": "disconnected"}))
    answer = _get(server, "/-/ready")
    assert (status, "application/json") == answer[:2]
    assert {"mqtt": "disconnected"} == json.loads(answer[2])


def test_the_first_page_leads_to_the_others(start: Start) -> None:
    status, kind, page = _get(start(), "/")
    assert (200, "text/html; charset=utf-8") == (status, kind)
    for path in (b"/metrics", b"/-/healthy", b"/-/ready"):
        assert b'href="' + path + b'"' in page


def test_an_unknown_path_is_not_found(start: Start) -> None:
    assert 404 == _get(start(), "/nothing")[0]


def test_a_port_that_is_taken_is_one_line_naming_it(start: Start) -> None:
    port = start().port
    with pytest.raises(ServiceFailed, match=f"127.0.0.1:{port}: Address already in use$"):
        start(port=port)


def test_a_host_that_does_not_exist_is_one_line_naming_it() -> None:
    server = HttpServer("203.0.113.1", 1, _nothing, lambda: (True, ""), lambda: (True, {}))
    with pytest.raises(ServiceFailed, match=r"can't listen on 203\.0\.113\.1:1: "):
        server.start()
    assert not server.alive


def test_clients_that_never_finish_a_request_do_not_hold_up_others(start: Start) -> None:
    server = start()
    with ExitStack() as slow:
        for _ in range(50):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=5)
            slow.enter_context(client).sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        assert 200 == _get(server, "/metrics")[0]


def test_connections_are_bounded(start: Start) -> None:
    server = start()
    with ExitStack() as idle:
        for _ in range(MAX_CONNECTIONS):
            idle.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        assert 503 == _get(server, "/-/healthy")[0]


def test_stop_cuts_a_client_that_does_not_read(start: Start) -> None:
    server = start(metrics=lambda: iter([b"x" * 50_000] * 1000))
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")
        client.recv(1)
        server.stop()
        assert not server.alive


def test_a_callback_that_fails_is_an_answer_of_500_and_the_server_lives(start: Start) -> None:
    def broken() -> Iterator[bytes]:
        yield b"up 1\n"
        raise RuntimeError("no snapshot")

    server = start(metrics=broken)
    assert 500 == _get(server, "/metrics")[0]
    assert 200 == _get(server, "/-/healthy")[0]


def test_a_crash_of_the_thread_is_seen(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = start()

    async def crash(counter: int) -> bool:
        raise RuntimeError("planted")

    monkeypatch.setattr(server._server, "on_tick", crash)
    assert server._thread
    server._thread.join(5)
    assert not server.alive
    assert ["the http thread died"] == [line.message for line in caplog.records]


def test_the_thread_has_its_name_and_leaves_signals_and_logging_alone(start: Start) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    server = start()
    _get(server, "/metrics")
    assert "http" in {thread.name for thread in threading.enumerate()}
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    assert [] == logging.getLogger("uvicorn").handlers


def test_stop_ends_the_thread_and_frees_the_port(start: Start) -> None:
    first = start()
    _get(first, "/metrics")
    first.stop()
    assert not first.alive
    assert 200 == _get(start(port=first.port), "/metrics")[0]


def test_stop_without_start_does_nothing() -> None:
    HttpServer("127.0.0.1", 0, _nothing, lambda: (True, ""), lambda: (True, {})).stop()


# --- strangers --------------------------------------------------------------------------------


def _status(server: HttpServer, path: str, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("wrong", 401), ("t0ken", 200)])
@pytest.mark.parametrize("path", ["/", "/metrics", "/-/ready"])
def test_a_token_is_asked_for(start: Start, path: str, token: str | None, status: int) -> None:
    assert status == _status(start(token="t0ken"), path, token)


def test_whether_it_is_healthy_is_no_secret(start: Start) -> None:
    """An orchestrator's probe has no token."""
    assert 200 == _status(start(token="t0ken"), "/-/healthy", None)


def _pair(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    certificate, key = directory / "http.crt", directory / "http.key"
    command = (
        f"{require('openssl', 'openssl')} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
        f"-nodes -days 2 -subj /CN=lab -addext subjectAltName=IP:127.0.0.1 "
        f"-out {certificate} -keyout {key}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return certificate, key


def test_tls_is_spoken_with_the_given_certificate(start: Start, tmp_path: Path) -> None:
    certificate, key = _pair(tmp_path)
    server = start(certificate=certificate, key=key, token="t0ken")
    trust = ssl.create_default_context(cafile=str(certificate))
    client = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=5, context=trust)
    client.request("GET", "/metrics", headers={"Authorization": "Bearer t0ken"})
    assert 200 == client.getresponse().status
    client.close()


def test_a_certificate_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    certificate, key = _pair(tmp_path)
    key.write_text("no key")
    with pytest.raises(ConfigError, match=r"^http\.certificate_file = .*http\.crt, http\.key_file"):
        HttpServer(
            "127.0.0.1", 0, _nothing, lambda: (True, ""), lambda: (True, {}),
            certificate=certificate, key=key,
        )  # fmt: skip


def test_clients_that_stop_in_the_middle_of_the_handshake_hold_up_nobody(
    start: Start, tmp_path: Path
) -> None:
    certificate, key = _pair(tmp_path)
    server = start(certificate=certificate, key=key)
    trust = ssl.create_default_context(cafile=str(certificate))
    with ExitStack() as slow:
        for _ in range(50):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=5)
            slow.enter_context(client).sendall(b"\x16\x03\x01")
        good = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=5, context=trust)
        good.request("GET", "/metrics")
        assert 200 == good.getresponse().status
        good.close()


def test_headers_without_end_are_refused(start: Start) -> None:
    """So much is read, and no more."""
    server = start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 200_000)
        assert client.recv(64).startswith(b"HTTP/1.1 400")
    assert 200 == _get(server, "/metrics")[0]
