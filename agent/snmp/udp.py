"""The kitwatch adapter's edge: one connected UDP socket a device, one request at a time.

A connected socket takes datagrams from the address and port that were asked, and from nobody else. What comes while no
answer is waited for is left, and lost, in the kernel: the first one of it ends the listening until the next request.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from agent.snmp import pdu
from agent.snmp.ber import BerError
from agent.snmp.community import CommunitySession
from agent.snmp.port import Credentials, Kind, Response, SnmpBrokenError, SnmpError, SnmpRefusedError, SnmpSilentError
from agent.snmp.reports import Again, Refused

_MOST_IGNORED: Final = 64
"""Datagrams that are no answer, in one request: more are a flood, and the device is left alone."""
_MOST_REPORTS: Final = 4
"""Messages sent for one request because the device told its engine, time or boots."""
_BUFFER: Final = bytearray(65_536)


class Session(Protocol):
    """Messages to one device and back: the version's security, without I/O. ``now`` is monotonic seconds."""

    def prepare(self) -> None:
        """Compute what takes longer than the event loop may be held: before the first message, and after Again."""
        ...

    def begin(self) -> None:
        """Forget the messages of the request before: their answers are nobody's now."""
        ...

    def message(self, request: bytes, now: float) -> bytes:
        """Return the message to send for a request; a question for the engine where that comes first."""
        ...

    def read(self, data: bytes, now: float) -> tuple[bytes, pdu.Answer]:
        """Return an answer: the bytes that hold it, and its head.

        Raises BerError for what is no answer to a message of ours, Again, and Refused.
        """
        ...

    def silent(self) -> None:
        """Forget what may be the reason that the device does not answer."""
        ...


def session_for(credentials: Credentials) -> Session:
    """Return the session for the version that is configured; v3 alone needs ``cryptography``."""
    if credentials.version == "2c":
        return CommunitySession(credentials)
    from agent.snmp.usm import UserSession

    return UserSession(credentials, secrets.randbits)


class UdpExchange:
    """Requests to one device over UDP. See :class:`agent.snmp.port.Exchange`."""

    def __init__(
        self,
        address: str,
        port: int,
        credentials: Credentials,
        timeout: float = 2.0,
        retries: int = 1,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        number: Callable[[], int] = lambda: secrets.randbits(31),
    ) -> None:
        self.address: Final = f"{address}:{port}"
        self.answered = 0
        self._endpoint: Final = (address, port)
        self._timeout: Final = timeout
        self._tries: Final = 1 + retries
        self._monotonic: Final = monotonic
        self._number: Final = number
        self._session: Final = session_for(credentials)
        self._remembered: Final = pdu.Remembered()
        self._prepared = False
        self._socket: socket.socket | None = None
        self._listening = False
        self._waiting: asyncio.Future[None] | None = None
        self._asked = 0
        self._most = 0
        self._reasons: list[str] = []
        """Why datagrams were not taken as the answer, in this request."""
        self._response: Response | None = None

    async def ask(self, kind: Kind, oids: Sequence[str], repetitions: int = 1, *, tries: int | None = None) -> Response:
        """Send a request until an answer comes. An answer to an earlier try is as good as one to the last."""
        self._asked = self._number()
        self._most = len(oids) * (repetitions if kind == "bulk" else 1)
        self._reasons.clear()
        try:
            request = pdu.request(kind, self._asked, oids, repetitions, self._remembered)
        except BerError as error:
            raise SnmpBrokenError(self.address, str(error)) from error
        await self._ready()
        self._session.begin()
        for _ in range(self._tries if tries is None else tries):
            response = await self._once(request)
            if response is not None:
                return response
        self._forget()
        if any(self._reasons):
            raise SnmpBrokenError(self.address, f"no answer but others ({self._reasons[-1]})")
        raise SnmpSilentError(self.address, "no answer")

    async def _once(self, request: bytes) -> Response | None:
        """Send once, and anew after each report that asks for it; return None when nothing comes in time."""
        for _ in range(_MOST_REPORTS):
            try:
                if not await self._answer(self._session.message(request, self._monotonic())):
                    return None
            except Again:
                await asyncio.to_thread(self._session.prepare)
                continue
            response, self._response = self._response, None
            return response
        raise SnmpBrokenError(self.address, "reports again and again that it cannot read our messages")

    async def _answer(self, message: bytes) -> bool:
        """Send a message and return whether the answer came in time. Raises what :meth:`_take` found."""
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        waiting = self._waiting = loop.create_future()
        if not self._listening:
            self._listening = True
            loop.add_reader(self._socket, self._readable)
        timer = loop.call_later(self._timeout, _give_up, waiting)
        try:
            self._send(message)
            await waiting
        except TimeoutError:
            return False
        finally:
            timer.cancel()
            self._waiting = None
        return True

    def _send(self, message: bytes) -> None:
        assert self._socket is not None
        for _ in range(2):
            try:
                self._socket.send(message)
            except ConnectionRefusedError:
                continue  # what the kernel was told about the datagram before; this one has not been sent
            except OSError:
                pass  # no route for now: the next try may find one, and the poll has its deadline
            return

    def _readable(self) -> None:
        waiting = self._waiting
        if self._socket is None or waiting is None or waiting.done():
            self._deafen()  # nobody asked: it can wait in the kernel
            return
        try:
            size = self._socket.recv_into(_BUFFER)
        except OSError:
            return  # nothing there after all, or the kernel was told that nobody listens: the time-out will say so
        try:
            taken = self._take(bytes(memoryview(_BUFFER)[:size]))
        except (Again, SnmpError) as error:
            waiting.set_exception(error)
        else:
            if taken:
                waiting.set_result(None)

    def _take(self, data: bytes) -> bool:
        """Return whether the datagram is the answer that is waited for. Raises Again and SnmpError."""
        try:
            holding, head = self._session.read(data, self._monotonic())
            if head.number != self._asked:
                raise BerError("expected the answer to this request, found one to another")
        except Refused as error:
            self.answered += 1
            raise SnmpRefusedError(self.address, f"credentials are refused ({error})") from error
        except BerError as error:
            self._reasons.append(str(error))
            if len(self._reasons) > _MOST_IGNORED:
                raise SnmpBrokenError(self.address, f"sends without end what is no answer ({error})") from error
            return False
        self.answered += 1
        try:
            self._response = pdu.read_body(holding, head, self._most, self._remembered.names)
        except BerError as error:  # the answer to this very request: waiting for another would be in vain
            raise SnmpBrokenError(self.address, f"an answer that cannot be read ({error})") from error
        return True

    async def _ready(self) -> None:
        if not self._prepared:
            await asyncio.to_thread(self._session.prepare)
            self._prepared = True
        if self._socket is None:
            self._socket = await self._open()

    async def _open(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        host, port = self._endpoint
        try:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
            except socket.gaierror:
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise SnmpSilentError(self.address, f"address cannot be looked up ({error})") from error
        family, kind, protocol, _, sockaddr = found[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setblocking(False)
            made.connect(sockaddr)
        except OSError as error:
            made.close()
            raise SnmpSilentError(self.address, f"no way to it ({error.strerror})") from error
        return made

    def _forget(self) -> None:
        """After silence: a name may mean another address by now, and a v3 device may be another one."""
        self._session.silent()
        self._deafen()
        made, self._socket = self._socket, None
        if made is not None:
            made.close()

    def _deafen(self) -> None:
        if self._listening and self._socket is not None:
            self._listening = False
            asyncio.get_running_loop().remove_reader(self._socket)

    async def close(self) -> None:
        """Close the socket; the next request opens another."""
        self._forget()


def _give_up(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())
