"""A bad network between a client and a broker: a TCP proxy that stalls, delays, resets, truncates.

Test code, with a thread of its own around an asyncio loop. What it does to connections is set from
any thread and holds for those that are open and those to come.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from types import TracebackType
from typing import Self

from tests.programs import free_port

_PIECE = 4096
_DELAY_S = 0.05


class Proxy:
    """Listens on `port` and passes on to `target`. Use it as a context manager."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._closed = False
        self._truncates = False
        self._delay_s = 0.0
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._call(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- faults -----------------------------------------------------------------------------

    def close(self) -> None:
        """Cut what is open, and take no new connections until `open`."""
        self._closed = True
        self.reset()

    def open(self) -> None:
        """Everything passes again."""
        self._closed = self._truncates = False
        self._delay_s = 0.0
        self._loop.call_soon_threadsafe(self._flows.set)

    def stall(self) -> None:
        """Nothing passes, and nobody is told, until `open`."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def delay(self) -> None:
        """Every piece is late."""
        self._delay_s = _DELAY_S

    def reset(self) -> None:
        """RST to both sides."""
        self._loop.call_soon_threadsafe(self._abort)

    def truncate(self) -> None:
        """Of the next piece half is passed on, then the connection is cut."""
        self._truncates = True

    # --- in the loop ------------------------------------------------------------------------

    def _call(self, coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)  # type: ignore[arg-type]

    async def _listen(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _shut(self) -> None:
        self._server.close()
        self._flows.set()
        self._abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:
            writer.transport.abort()
            return
        try:
            behind, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, back)
        self._pairs.add(pair)
        passing = [self._pass(reader, back), self._pass(behind, writer)]
        tasks = [asyncio.ensure_future(each) for each in passing]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in tasks:
            each.cancel()
        self._pairs.discard(pair)
        for end in pair:
            end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(_PIECE):
                await self._flows.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if self._truncates:
                    self._truncates = False
                    writer.write(piece[: len(piece) // 2])
                    await writer.drain()
                    return
                writer.write(piece)
                await writer.drain()
        except OSError:
            return

    def _abort(self) -> None:
        for pair in list(self._pairs):
            for end in pair:
                connection = end.get_extra_info("socket")
                linger = struct.pack("ii", 1, 0)
                if connection is not None and connection.fileno() >= 0:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                end.transport.abort()
