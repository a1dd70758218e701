"""How many connections the pages have at once, and how long each may keep us waiting.

aiohttp waits an hour for the end of a request's head and for ever for an answer to be read, over as many connections as
the process may open; with no descriptor left the site's own connection to the broker could not come back. So each
connection is a protocol of ours that passes everything on to aiohttp's and counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from collector.web.requests import Handler

log = logging.getLogger(__name__)
SHARE: Final = 2
"""Pages take at most this part of the descriptors that the process may open."""
AT_ONCE: Final = 8
"""Newcomers that are accepted before they are looked at: each holds a descriptor until it is refused."""
QUEUE: Final = 128
"""Newcomers that the kernel keeps for us meanwhile (listen(2))."""
TELL_S: Final = 60.0


class Limits(msgspec.Struct, frozen=True):
    """The bounds, times in seconds."""

    connections: int
    """Most at once."""
    request_s: float = 10.0
    """From a connection's beginning, or from the first byte of a further request, to the end of the request's head."""
    idle_s: float = 75.0
    """Between two requests; longer than nginx keeps a connection to us (60 s)."""
    unread_s: float = 60.0
    """How long the other side may take nothing of what we send."""

    @classmethod
    def of_this_process(cls, connections: int) -> Limits:
        """Return the limits with at most ``connections``, and never more than our share of the descriptors."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(connections if soft == resource.RLIM_INFINITY else min(connections, max(1, soft // SHARE)))


class Counts(msgspec.Struct):
    """What has come of connections, for ``/metrics``."""

    open: int = 0
    late: int = 0
    """Closed because a request's head was not whole in time."""
    displaced: int = 0
    """Closed for a newcomer, while they waited for a request."""
    refused: int = 0
    """Closed at once, because all the others were at work."""


class WebConnections:
    """Makes a protocol for each connection (``loop.create_server``) and keeps them within the limits.

    Over the limit the one that has waited longest for a request gives way: it is half a request or nobody's, while whom
    we answer has a whole one.
    """

    def __init__(self, make: Callable[[], asyncio.Protocol], limits: Limits, counts: Counts) -> None:
        self._make: Final = make
        self.limits: Final = limits
        self.counts: Final = counts
        self._waiting: Final[dict[_Connection, None]] = {}
        self._told_s = -TELL_S

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return _Connection(self, self._make)

    def admit(self) -> bool:
        """Count a new connection and make room for it; ``False``: there is none."""
        if self.counts.open >= self.limits.connections:
            self._tell()
            longest = next(iter(self._waiting), None)
            if longest is None:
                self.counts.refused += 1
                return False
            self.counts.displaced += 1
            longest.drop()
        self.counts.open += 1
        return True

    def gone(self, connection: _Connection) -> None:
        """Note that one has ended."""
        self.counts.open -= 1
        self._waiting.pop(connection, None)

    def waits(self, connection: _Connection) -> None:
        """Note that one waits for a request from now on."""
        self._waiting[connection] = None

    def works(self, connection: _Connection) -> None:
        """Note that one has a whole request."""
        self._waiting.pop(connection, None)

    def _tell(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._told_s >= TELL_S:
            self._told_s = now_s
            log.warning("pages: all %d connections are taken: newcomers displace who waits", self.limits.connections)


class _Connection(asyncio.Protocol):
    """One connection; everything is aiohttp's matter but the time that its requests take."""

    def __init__(self, all: WebConnections, make: Callable[[], asyncio.Protocol]) -> None:
        self._all = all
        self._make = make
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._late: asyncio.TimerHandle | None = None
        self._at_work = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if not self._all.admit():
            transport.abort()
            return
        self._transport, self._inner = transport, self._make()
        line = transport.get_extra_info("socket")
        if line is not None and line.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):  # tcp(7), Linux
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self._all.limits.unread_s * 1000))
        self._all.waits(self)
        self._begin_timer()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            if not self._at_work and self._late is None:
                self._begin_timer()
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_timer()
        inner, self._inner = self._inner, None
        if inner is not None:
            if self._transport is not None:
                self._all.gone(self)
            inner.connection_lost(exc)

    def drop(self) -> None:
        """Close it at once."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._all.gone(self)
            transport.abort()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """A request's head is whole, and we answer it meanwhile."""
        self._at_work = True
        self._end_timer()
        self._all.works(self)
        try:
            yield
        finally:
            self._at_work = False
            if self._transport is not None:
                self._all.waits(self)

    def _begin_timer(self) -> None:
        self._late = asyncio.get_running_loop().call_later(self._all.limits.request_s, self._too_late)

    def _end_timer(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._all.counts.late += 1
        self.drop()


@web.middleware
async def note_work(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the request's connection that it is whole."""
    connection = request.transport.get_protocol() if request.transport is not None else None
    if not isinstance(connection, _Connection):
        return await handler(request)
    with connection.at_work():
        return await handler(request)


async def serve(
    stack: contextlib.AsyncExitStack,
    app: web.Application,
    limits: Limits,
    counts: Counts,
    *,
    tcp: tuple[str, int] | None,
    path: Path | None = None,
) -> str:
    """Serve an application within limits as long as the stack stands; return its address over TCP, empty without.

    ``path`` is a socket for the users of this machine, open to all of them: who speaks is seen. Raises OSError.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=limits.idle_s)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    assert runner.server is not None
    connections = WebConnections(runner.server, limits, counts)
    loop = asyncio.get_running_loop()
    if path is not None:
        people = await loop.create_unix_server(connections, path, backlog=AT_ONCE)
        _let_queue(people)
        stack.callback(path.unlink, missing_ok=True)
        stack.callback(people.close)
        os.chmod(path, 0o666)
    if tcp is None:
        return ""
    try:
        server = await loop.create_server(connections, *tcp, backlog=AT_ONCE)
    except OSError as error:
        where = "{}:{}".format(*tcp)
        raise OSError(f"web: {where} cannot be listened on: {os.strerror(error.errno or 0)}") from None
    stack.callback(server.close)
    _let_queue(server)
    address, bound = server.sockets[0].getsockname()[:2]
    return f"http://[{address}]:{bound}" if ":" in address else f"http://{address}:{bound}"


def _let_queue(server: asyncio.Server) -> None:
    """Let the kernel keep more newcomers than are accepted at once: asyncio takes one number for both."""
    for line in server.sockets:
        with socket.socket(fileno=os.dup(line.fileno())) as same:
            same.listen(QUEUE)
