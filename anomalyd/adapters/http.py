"""Metrics and health over HTTP, on a port and a thread of its own.

`service.py` starts and stops it. Everything runs on the thread `http`, in one asyncio loop, so a
slow client waits alone and callbacks never overlap. The callbacks are called on that thread: they
must only read, and return soon. It takes no signals and configures no logging.

The metrics of many channels are much text, and Python runs one thread at a time. So they are
written in pieces with a pause behind each, in which the pipeline goes on at once, and after a whole
text comes a rest of `_REST` times the work that it was. Who asks meanwhile waits, and all who wait
get one text: however often somebody scrapes, it has a twentieth of the interpreter at most.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from anomalyd.errors import ConfigError, ServiceFailed
from anomalyd.logs import Sparse

log = logging.getLogger(__name__)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_CONNECTIONS = 200
STOP_TIMEOUT_S = 2
_JOIN_TIMEOUT_S = STOP_TIMEOUT_S + 3
_PAUSE_S = 0.001
_REST = 19.0
_TELL_EVERY_S = 60.0

_INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>anomalyd</title>
<h1>anomalyd</h1>
<ul>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
<li><a href="/-/healthy">/-/healthy</a>: the process makes progress</li>
<li><a href="/-/ready">/-/ready</a>: it can score, and what is degraded</li>
</ul>
</html>
"""


class HttpServer:
    """Owner of the thread `http`. `start()`, then `stop()`, once each, from one thread."""

    def __init__(
        self,
        host: str,
        port: int,
        metrics: Callable[[], Iterator[bytes]],
        healthy: Callable[[], tuple[bool, str]],
        ready: Callable[[], tuple[bool, Mapping[str, object]]],
        token: str | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        """`metrics`: writes their text anew, in pieces. `token`: what every page but /-/healthy
        asks for. `certificate` and `key`: TLS. Raises ConfigError."""
        self.port = port
        self._host = host
        if certificate and key:
            _check_pair(certificate, key)
        application: ASGIApp = _application(_Exposition(metrics), healthy, ready)
        if token:
            application = _Guard(application, token)
        self._server = _Server(_config(application, certificate, key))
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Returns when requests are answered; `port` is then the real one."""
        listener = _listen(self._host, self.port)
        self.port = listener.getsockname()[1]
        self._thread = threading.Thread(
            target=self._run, args=(listener,), name="http", daemon=True
        )
        self._thread.start()
        self._server.up_or_failed.wait()
        if not self._server.started:
            raise ServiceFailed(f"http: the server on {self._host}:{self.port} did not start")

    def stop(self) -> None:
        """Open requests get `STOP_TIMEOUT_S`, then they are cut."""
        if self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(_JOIN_TIMEOUT_S)
        if self._thread.is_alive():
            log.warning("the http thread does not stop; going on without it")

    def _run(self, listener: socket.socket) -> None:
        with listener:
            try:
                self._server.run(sockets=[listener])
            except Exception:
                # `alive` is now False: service.py sees it and ends the process.
                log.exception("the http thread died")
            finally:
                self._server.up_or_failed.set()


class _Server(uvicorn.Server):
    """uvicorn with an event for "it listens", and none of its signal handlers (not on main)."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up_or_failed = threading.Event()
        self._sparse = Sparse(log, _TELL_EVERY_S)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._tell)
        await super().startup(sockets=sockets)
        self.up_or_failed.set()

    def _tell(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio itself would log thousands of tracebacks where descriptors are short."""
        what, why = context["message"], context.get("exception", "")
        self._sparse.warning(what, time.monotonic(), "http: %s: %s", what, why)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets=sockets)
        # A client that doesn't read keeps its connection past the timeout: cut it.
        for connection in list(self.server_state.connections):
            if transport := getattr(connection, "transport", None):
                transport.abort()


class _Guard:
    """Asks for the bearer token. /-/healthy says nothing that an orchestrator may not know."""

    def __init__(self, application: ASGIApp, token: str) -> None:
        self._application = application
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if scope["path"] == "/-/healthy" or hmac.compare_digest(given, self._expected):
            return await self._application(scope, receive, send)
        challenge = {"WWW-Authenticate": "Bearer"}
        refused = PlainTextResponse("a bearer token, please\n", 401, challenge)
        return await refused(scope, receive, send)


class _Exposition:
    """The text of the metrics, for all who ask. On the thread `http`; the lock makes those wait who
    ask while it is written."""

    def __init__(self, pieces: Callable[[], Iterator[bytes]]) -> None:
        self._pieces = pieces
        self._text: Sequence[bytes] = ()
        self._began_s = self._due_s = -math.inf
        self._writing = asyncio.Lock()

    async def text(self) -> Sequence[bytes]:
        """One that was begun after this was called."""
        asked_s = time.monotonic()
        async with self._writing:
            if self._began_s < asked_s:
                await asyncio.sleep(self._due_s - time.monotonic())
                began_s = time.monotonic()
                await self._write()
                self._began_s = began_s
        return self._text

    async def _write(self) -> None:
        text, pieces, work_s = list[bytes](), self._pieces(), 0.0
        while True:
            began_s = time.thread_time()
            piece = next(pieces, None)
            work_s += time.thread_time() - began_s
            if piece is None:
                break
            text.append(piece)
            await asyncio.sleep(_PAUSE_S)
        self._text, self._due_s = text, time.monotonic() + _REST * work_s


async def _each(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    # One at a time: of what a client doesn't read, no more than a piece is kept for it.
    for piece in pieces:
        yield piece


def _check_pair(certificate: Path, key: Path) -> None:
    """Here, where a mistake is one line, and not on the thread."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"http.certificate_file = {certificate}, http.key_file = {key}: {error}"
        ) from error


def _config(application: ASGIApp, certificate: Path | None, key: Path | None) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )


def _application(
    exposition: _Exposition,
    healthy: Callable[[], tuple[bool, str]],
    ready: Callable[[], tuple[bool, Mapping[str, object]]],
) -> Starlette:
    # async, so that they run on the http thread: a plain function would go to a pool of threads.
    async def metrics(request: Request) -> Response:
        text = await exposition.text()
        length = {"Content-Length": str(sum(map(len, text)))}
        return StreamingResponse(_each(text), media_type=METRICS_TYPE, headers=length)

    async def is_healthy(request: Request) -> Response:
        good, why = healthy()
        return PlainTextResponse(why + "\n", status_code=200 if good else 503)

    async def is_ready(request: Request) -> Response:
        good, conditions = ready()
        return JSONResponse(dict(conditions), status_code=200 if good else 503)

    async def index(request: Request) -> Response:
        return HTMLResponse(_INDEX, headers={"Content-Security-Policy": "default-src 'self'"})

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/-/healthy", is_healthy),
            Route("/-/ready", is_ready),
            Route("/", index),
        ]
    )


def _listen(host: str, port: int) -> socket.socket:
    """Bound here, not by uvicorn, which would log and exit when the port is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        with suppress(OSError):
            listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> ServiceFailed:
    return ServiceFailed(f"http: can't listen on {host}:{port}: {error.strerror or error}")
