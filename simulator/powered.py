"""A listening TCP port that is there only while its device has power."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

_LOOK_S = 0.2
Listen = Callable[[int], Awaitable[asyncio.Server]]
"""Begin to listen on a port (0: any) of loopback."""


class PoweredPort:
    """Listens while ``alive()``; else connections are refused. The port's number stays the same."""

    def __init__(self, listen: Listen, alive: Callable[[], bool]) -> None:
        self._listen = listen
        self._alive = alive
        self._port = 0
        self._server: asyncio.Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Begin; return the port."""
        self._server = await self._listen(0)
        self._port = int(self._server.sockets[0].getsockname()[1])
        self._task = asyncio.create_task(self._follow(), name=f"power of port {self._port}")
        return self._port

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._server is not None:
            self._server.close()

    async def _follow(self) -> None:
        while True:
            if not self._alive() and self._server is not None:
                self._server.close()
                self._server = None
            elif self._alive() and self._server is None:
                with contextlib.suppress(OSError):  # somebody else has taken the port: again at the next look
                    self._server = await self._listen(self._port)
            await asyncio.sleep(_LOOK_S)
