"""Driving a paho-mqtt client's socket from the asyncio loop: no network thread.

Only the connecting itself, which blocks on name look-up, TCP and TLS, has a thread. What paho's callbacks raise is
never swallowed: it goes to ``on_error`` (eclipse-paho/paho.mqtt.python#894, #504).
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Final

import paho.mqtt.client as paho

from telemetry.keepalive import Motion
from telemetry.tcp_bytes import bytes_on_air, bytes_taken, bytes_waiting
from telemetry.tls import check_not_expired

_BURST: Final = 200
"""Most packets read before other tasks get their turn."""
_BURST_S: Final = 0.02
"""And for how long at most: a packet may have a megabyte."""


class BoundedClient(paho.Client):
    """paho's client that takes no more from a broker than it was told: paho collects whatever comes, up to 256 MiB."""

    most = 2**20
    """Bytes of one packet; what our CONNECT announces as Maximum Packet Size."""

    def _sock_recv(self, bufsize: int) -> bytes:
        """Read the next bytes of a packet. Raises ConnectionError where it is none of ours, which ends the connection.

        QoS 2 is subscribed nowhere, and paho would keep each of its messages for an answer that need not come.
        """
        size = self._in_packet["remaining_length"]
        if size > self.most:
            raise ConnectionError(f"the broker sends a packet of {size} bytes, we take {self.most}")
        if self._in_messages:
            raise ConnectionError("the broker sends with QoS 2, for which nobody asked")
        return super()._sock_recv(bufsize)


class PahoLoop:
    """Reads and writes one client over one connection."""

    def __init__(self, client: paho.Client, on_error: Callable[[Exception], None], on_look: Callable[[], None]) -> None:
        """``on_look`` is called when all that had come has been read."""
        self.handled = 0
        """Packets handled: who has paho's callbacks counts it up, so that reading goes on until nothing is left."""
        self.came = 0
        """How often something came in."""
        self._client = client
        self._on_error = on_error
        self._on_look = on_look
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        self._socket: socket.socket | None = None
        self._writing = False
        self._stopped = False
        self._reading_on = False
        """Whether the loop calls us again by itself. Once a turn: the socket, still readable, calls us in each too."""
        self.certificate_ends_ms: int | None = None
        """When the broker's certificate ends, UTC ms."""
        self._on_air = (0, 0)
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write

    async def connect(self, connect: Callable[[], None]) -> None:
        """Run the blocking ``connect`` in a daemon thread: an exit never waits for a name server. Raises what it does.

        Then read and write whenever the socket is ready. Raises ConnectionError if it was lost meanwhile.
        """
        await self._in_thread(connect)
        sock = self._client.socket()
        if sock is None or self._stopped:
            _close_quietly(sock)
            raise ConnectionError("the connection was lost while it was made")
        self._fd = sock.fileno()
        self._loop.add_reader(self._fd, self._readable)
        if self._client.want_write():
            self._on_register_write(self._client, None, sock)
        self._readable()  # TLS may hold bytes already, for which no event will come

    def stop(self) -> None:
        """Close the socket and let go of the loop; harmless when that is done."""
        self._stopped = True
        self.bytes_on_air()
        self._detach()
        _close_quietly(self._socket)
        self._socket = None

    @property
    def attached(self) -> bool:
        """Whether there is a socket that is read."""
        return self._fd >= 0

    def duplicate(self) -> socket.socket:
        """Return a second socket of the connection, which stays open when paho closes its own."""
        return socket.socket(fileno=os.dup(self._fd))

    def bytes_on_air(self) -> tuple[int, int]:
        """Return (sent, received) with TLS, TCP and IP headers so far, 0 where the kernel does not count them."""
        if self._socket is not None:
            self._on_air = bytes_on_air(self._socket) or self._on_air
        return self._on_air

    def motion(self, *, unacknowledged: bool) -> Motion:
        """Return what the connection looks like now."""
        sock = self._socket
        if sock is None:
            return Motion(self.came, 0, 0, False, unacknowledged)
        more = self._client.want_write()
        return Motion(self.came, bytes_taken(sock), bytes_waiting(sock), more, unacknowledged)

    def ping(self) -> None:
        """Send a PINGREQ.

        paho's own keeping alive (``loop_misc``) is not called: it knows nothing of the broker's Server Keep Alive, and
        it gives a connection up on which the answer is only late behind what the link still carries.
        """
        try:
            self._client._send_pingreq()
        except Exception as error:
            self._on_error(error)

    def pause_reading(self) -> None:
        """Leave the socket unread."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Read it again."""
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._readable)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        done.add_done_callback(_retrieve)

        def settle(error: Exception | None) -> None:
            if done.done():  # nobody waits any more
                _close_quietly(self._client.socket())
            elif error is not None:
                done.set_exception(error)
            else:
                done.set_result(None)

        def run() -> None:
            error: Exception | None = None
            try:
                work()
            except Exception as problem:
                error = problem
            try:
                self._loop.call_soon_threadsafe(settle, error)
            except RuntimeError:  # the loop is closed
                _close_quietly(self._client.socket())

        threading.Thread(target=run, name="mqtt-connect", daemon=True).start()
        await done

    def _detach(self) -> None:
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._writing = False
        self._fd = -1

    def _readable(self) -> None:
        """Read until nothing is left: the TLS layer may hold packets that no select will tell of."""
        self.came += 1
        until_s = self._loop.time() + _BURST_S
        try:
            for _ in range(_BURST):
                before = self.handled
                self._client.loop_read()
                sock = self._client.socket()
                if sock is None or self._fd < 0:
                    return
                pending = sock.pending() if isinstance(sock, ssl.SSLSocket) else 0
                if self.handled == before and not pending:
                    self._on_look()
                    return
                if self._loop.time() >= until_s:
                    break
            if not self._reading_on:
                self._reading_on = True
                self._loop.call_soon(self._read_on)
        except Exception as error:
            self._on_error(error)

    def _read_on(self) -> None:
        self._reading_on = False
        if self._fd >= 0:
            self._readable()

    def _writable(self) -> None:
        try:
            self._client.loop_write()
        except Exception as error:
            self._on_error(error)

    # --- what paho tells of its socket --------------------------------------------------------------------------------

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        """Runs in the connecting thread."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if isinstance(sock, ssl.SSLSocket):
            self.certificate_ends_ms = check_not_expired(sock.getpeercert())
        self._socket = sock

    def _on_socket_close(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        self.bytes_on_air()
        self._socket = None
        self._detach()

    def _on_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        if self._fd >= 0 and not self._writing:  # before that we are in the connecting thread
            self._writing = True
            self._loop.add_writer(self._fd, self._writable)

    def _on_unregister_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        if self._fd >= 0 and self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Mark an error as seen: it is told on another way too."""
    if not future.cancelled():
        future.exception()


def _close_quietly(sock: Any) -> None:
    if sock is not None:
        try:
            sock.close()
        except OSError:
            pass
