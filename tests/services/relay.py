"""A TCP relay that plays a bad link: cut, half open, slow. It runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Literal

Mode = Literal["pass", "cut", "stall"]


class Relay:
    """Passes ``port`` on to ``target`` (both on loopback); ``delay`` seconds each way, ``rate`` bytes a second up.

    With a rate it has small buffers of its own, so that who writes waits, as at a slow modem.
    """

    def __init__(self, target: int, rate: int | None = None) -> None:
        self.target = target
        self.rate = rate
        self.passed = 0
        """Bytes that went up."""
        self.port = 0
        self.delay = 0.0
        self.connections = 0
        self._mode: Mode = "pass"
        self._loop = asyncio.new_event_loop()
        self._passing = asyncio.Event()
        self._passing.set()
        self._pairs: set[asyncio.StreamWriter] = set()
        self._forgotten: set[asyncio.StreamWriter] = set()
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        assert self._open.wait(60)

    def stop(self) -> None:
        """Close everything."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def set(self, mode: Mode) -> None:
        """``cut``: connections break and new ones are refused; ``stall``: they stay open and nothing passes."""
        self._loop.call_soon_threadsafe(self._change, mode)

    def forget(self) -> None:
        """Forget all connections, as a balancer does when they were idle: nothing passes, nobody is told."""
        self._loop.call_soon_threadsafe(lambda: self._forgotten.update(self._pairs))

    def _change(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "stall":
            self._passing.clear()
        else:
            self._passing.set()
        if mode == "cut":
            for writer in list(self._pairs):
                writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        listening = socket.create_server(("127.0.0.1", self.port))
        if self.rate is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        limit = 2**16 if self.rate is None else 512
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=listening, limit=limit))
        self.port = server.sockets[0].getsockname()[1]
        self._open.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode == "cut":
            writer.transport.abort()
            return
        self.connections += 1
        try:
            there, other = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._pairs |= {writer, other}
        try:
            ways = [
                asyncio.ensure_future(self._pump(reader, other, self.rate)),
                asyncio.ensure_future(self._pump(there, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
        except asyncio.CancelledError:
            pass  # the relay is stopped
        finally:
            self._pairs -= {writer, other}
            self._forgotten -= {writer, other}
            writer.transport.abort()
            other.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: int | None = None) -> None:
        """Pass bytes on in order, whatever becomes of the delay meanwhile: TCP never swaps them."""
        due, waiting = 0.0, 0

        def write(data: bytes) -> None:
            nonlocal waiting
            waiting -= 1
            if not writer.is_closing():
                writer.write(data)

        with contextlib.suppress(OSError):
            while data := await reader.read(65536 if rate is None else 256):
                await self._passing.wait()
                if writer in self._forgotten:
                    continue
                if rate is not None:
                    self.passed += len(data)
                    await asyncio.sleep(len(data) / rate)
                if self.delay or waiting:
                    waiting += 1
                    due = max(due + 1e-5, self._loop.time() + self.delay)
                    self._loop.call_at(due, write, data)
                else:
                    writer.write(data)
                    await writer.drain()


@contextlib.contextmanager
def relay(target: int, rate: int | None = None) -> Iterator[Relay]:
    """Yield a relay to a loopback port."""
    one = Relay(target, rate)
    one.start()
    try:
        yield one
    finally:
        one.stop()
