"""A TCP proxy on loopback that behaves as bad networks do: cut, refuse, stall, and heal again."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from wvs_project.stack.waiting import LOOPBACK, free_port

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: close says RST, not FIN."""
_CHUNK: Final = 65_536
_ANSWER_SECONDS: Final = 10.0


class TcpProxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target`. Every method returns when it is so; from any thread."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)

    def start(self) -> None:
        """Begin to forward."""
        self._thread.start()
        self._run(self._listen())

    def cut(self) -> None:
        """Reset every connection; new ones are forwarded."""
        self._run(self._reset_all())

    def refuse(self) -> None:
        """Reset every connection, and refuse new ones until heal()."""
        self._run(self._close_listener())
        self.cut()

    def stall(self) -> None:
        """Half-open: connections are accepted and none is closed, but nothing passes until heal()."""
        self._call(self._flowing.clear)

    def heal(self) -> None:
        """Accept and forward again, also what was held up."""
        self._call(self._flowing.set)
        self._run(self._listen())

    def stop(self) -> None:
        """Reset all and end. Harmless when it is over."""
        if not self._thread.is_alive():
            return
        self.refuse()
        self._run(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many connections pass through it now."""
        return len(self._writers) // 2

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_SECONDS)

    def _call(self, what: Callable[[], None]) -> None:
        async def call() -> None:
            what()

        self._run(call())

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, backlog=256)

    async def _close_listener(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)
        self._writers.clear()

    async def _end_tasks(self) -> None:
        self._ending = True
        await asyncio.sleep(0)  # who is just being accepted comes to _accept
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._ending:
            _reset(writer)
        else:
            self._spawn(self._connect(reader, writer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            _reset(writer)  # what a client would see that came to the dead server itself
            return
        except asyncio.CancelledError:
            _reset(writer)
            raise
        pair = {writer, far_writer}
        self._writers |= pair
        self._spawn(self._pump(reader, far_writer, pair))
        self._spawn(self._pump(far_reader, writer, pair))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: set[asyncio.StreamWriter]
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        await self._flowing.wait()
        self._writers -= pair
        for end in pair:
            with suppress(OSError, RuntimeError):
                end.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    plain: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
