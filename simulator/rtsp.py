"""An encoder's RTSP server (RFC 2326): one H.264 track, over the connection itself or over UDP, behind digest."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from simulator.digest import DigestGuard
from simulator.h264 import CLOCK_HZ, FRAMES_PER_SECOND, PAYLOAD_TYPE, SDP_PARAMETERS, Packetiser
from simulator.powered import PoweredPort
from simulator.world import KitState

PATH = "/Streaming/Channels/101"
_HEAD_BYTES = 16_384
_BODY_BYTES = 65_536
_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str]


Send = Callable[[bytes], None]


@dataclass(slots=True)
class _Session:
    """One client: how packets leave, and the task that sends them."""

    id: str = field(default_factory=lambda: secrets.token_hex(4))
    send: Send | None = None
    transport: asyncio.DatagramTransport | None = None
    task: asyncio.Task[None] | None = None

    def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
        if self.transport is not None:
            self.transport.close()


class RtspServer:
    """Plays while the encoder has power. Loss is made here, before the network, as between a camera and its encoder."""

    def __init__(self, state: Callable[[], KitState], user: str, password: str) -> None:
        self.asked: Counter[str] = Counter()
        """Requests by method."""
        self._state = state
        self._password = password
        self._guard = DigestGuard("IP Camera(C6704)", user, password, qop=False)
        self._port = PoweredPort(self._listen, lambda: self._state().encoder_alive)
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen on loopback; return the port."""
        return await self._port.start()

    async def stop(self) -> None:
        """Stop listening and end all sessions."""
        await self._port.stop()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _listen(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", port, limit=_HEAD_BYTES, reuse_address=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session()
        try:
            while (request := await _read(reader)) is not None:
                self.asked[request.method] += 1
                if not self._state().encoder_alive:
                    return
                writer.write(await self._answer(request, session, writer))
                if request.method == "TEARDOWN":
                    await writer.drain()
                    return
                if request.method == "PLAY" and session.send is not None and session.task is None:
                    session.task = asyncio.get_running_loop().create_task(self._play(session.send, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the client is gone, or speaks no RTSP
        finally:
            session.close()
            writer.close()

    async def _answer(self, request: _Request, session: _Session, writer: asyncio.StreamWriter) -> bytes:
        def made(status: str, *headers: str, body: str = "") -> bytes:
            lines = [f"RTSP/1.0 {status}", f"CSeq: {request.headers.get('cseq', '0')}", *headers]
            if body:
                lines += ["Content-Type: application/sdp", f"Content-Length: {len(body.encode())}"]
            return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

        if request.method == "OPTIONS":
            return made("200 OK", f"Public: {_METHODS}")
        self._guard.password = self._password + ("-changed" if self._state().encoder_password_changed else "")
        if not self._guard.accepts(request.headers.get("authorization", ""), request.method, request.url):
            return made("401 Unauthorized", f"WWW-Authenticate: {self._guard.challenge()}")
        if not urlsplit(request.url).path.startswith(PATH):
            return made("404 Not Found")
        named = f"Session: {session.id};timeout=60"
        match request.method:
            case "DESCRIBE":
                return made("200 OK", f"Content-Base: {request.url.rstrip('/')}/", body=_DESCRIPTION)
            case "SETUP":
                transport = await _set_up(request.headers.get("transport", ""), session, writer)
                return made("461 Unsupported Transport") if transport is None else made("200 OK", named, transport)
            case "PLAY":
                return made("200 OK", named, "Range: npt=0.000-")
            case "GET_PARAMETER" | "TEARDOWN":
                return made("200 OK", named)
        return made("501 Not Implemented")

    async def _play(self, send: Send, writer: asyncio.StreamWriter) -> None:
        """Send frames at their times until the encoder loses its power, or the client goes."""
        packets = Packetiser(secrets.randbits(32))
        chance = random.Random(1)
        loop = asyncio.get_running_loop()
        due = loop.time()
        with contextlib.suppress(OSError):
            while True:
                state = self._state()
                if not state.encoder_alive:
                    writer.transport.abort()
                    return
                if state.encoder_has_video:
                    for packet in packets.frame(frozen=state.stream_frozen):
                        if chance.random() * 100 >= state.stream_loss:
                            send(packet)
                    await writer.drain()
                due += 1 / FRAMES_PER_SECOND
                await asyncio.sleep(max(due - loop.time(), 0.0))


async def _read(reader: asyncio.StreamReader) -> _Request | None:
    """Return the next request, passing over what the client tells by RTCP; None at the end."""
    while (first := await reader.read(1)) == b"$":
        head = await reader.readexactly(3)
        await reader.readexactly(int.from_bytes(head[1:], "big"))
    if not first:
        return None
    text = (first + await reader.readuntil(b"\r\n\r\n")).decode("utf-8", "replace")
    line, *rest = text.strip().splitlines()
    method, url, _ = line.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= _BODY_BYTES:
        raise ValueError(f"Content-Length: expected 0 to {_BODY_BYTES}, found {length}")
    await reader.readexactly(length)
    return _Request(method, url, headers)


async def _set_up(asked: str, session: _Session, writer: asyncio.StreamWriter) -> str | None:
    """Prepare the way that the client asks for; return the answer's ``Transport``, None for one that is not known."""
    parameters = {name: value for name, _, value in (one.partition("=") for one in asked.split(";"))}
    if "RTP/AVP/TCP" in parameters:
        channel = int(parameters.get("interleaved", "0-1").partition("-")[0])

        def interleaved(packet: bytes) -> None:
            writer.write(b"$" + bytes((channel,)) + len(packet).to_bytes(2, "big") + packet)

        session.send = interleaved
        return f"Transport: RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}"
    if "client_port" not in parameters or "multicast" in parameters:
        return None
    port = int(parameters["client_port"].partition("-")[0])
    where = (writer.get_extra_info("peername")[0], port)
    loop = asyncio.get_running_loop()
    session.transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    transport = session.transport
    session.send = lambda packet: transport.sendto(packet, where)
    ours = int(transport.get_extra_info("sockname")[1])
    return f"Transport: RTP/AVP;unicast;client_port={port}-{port + 1};server_port={ours}-{ours + 1}"


_DESCRIPTION = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=encoder",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        "a=control:trackID=1",
        f"a=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HZ}",
        f"a=fmtp:{PAYLOAD_TYPE} {SDP_PARAMETERS}",
        "",
    ]
)
