"""An encoder's management over HTTP: Hikvision's ISAPI with digest login, which locks an address after failed ones."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from simulator.digest import DigestGuard
from simulator.powered import PoweredPort
from simulator.world import KitState

_ATTEMPTS = 5
_LOCKED_S = 1800.0
"""Hikvision's for a user that is no administrator: five wrong logins, then the address is locked for half an hour."""


@dataclass
class _Visitor:
    failures: int = 0
    locked_until: float = 0.0


class IsapiDevice:
    """Answers device information, status and video inputs while the encoder has power."""

    def __init__(
        self,
        state: Callable[[], KitState],
        user: str,
        password: str,
        serial: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.asked: Counter[str] = Counter()
        """Requests by method."""
        self.logins = 0
        """Requests with credentials."""
        self.failures = 0
        """Those that were wrong."""
        self._state = state
        self._serial = serial
        self._monotonic = monotonic
        self._password = password
        self._guard = DigestGuard("IP Camera(C6704)", user, password)
        self._visitors: dict[str, _Visitor] = {}
        self._server = web.Server(self._handle, access_log=None)
        self._port = PoweredPort(self._listen, lambda: self._state().encoder_alive)

    async def start(self) -> int:
        """Listen on loopback; return the port."""
        return await self._port.start()

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        await self._port.stop()
        await self._server.shutdown(1.0)

    async def _listen(self, port: int) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(self._server, "127.0.0.1", port, reuse_address=True)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked[request.method] += 1
        state = self._state()
        if not state.encoder_alive:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        visitor = self._visitors.setdefault(request.remote or "", _Visitor())
        header = request.headers.get("Authorization")
        self._guard.password = self._password + ("-changed" if state.encoder_password_changed else "")
        if header is not None:
            self.logins += 1
        if self._monotonic() < visitor.locked_until:
            return self._refuse(visitor)
        if header is None:
            return self._refuse(visitor)
        if not self._guard.accepts(header, request.method, request.path_qs):
            self.failures += 1
            visitor.failures += 1
            if visitor.failures >= _ATTEMPTS:
                visitor.failures, visitor.locked_until = 0, self._monotonic() + _LOCKED_S
            return self._refuse(visitor)
        visitor.failures = 0
        page = _page(request.path_qs, state, self._serial) if request.method == "GET" else None
        if page is None:
            return web.Response(status=404, text=_status("Invalid Operation"), content_type="application/xml")
        return web.Response(text=page, content_type="application/xml")

    def _refuse(self, visitor: _Visitor) -> web.Response:
        left = visitor.locked_until - self._monotonic()
        lock = f"<lockStatus>lock</lockStatus><unlockTime>{left:.0f}</unlockTime>" if left > 0 else ""
        return web.Response(
            status=401,
            headers={"WWW-Authenticate": self._guard.challenge()},
            text=f"{_HEAD}<userCheck><statusValue>401</statusValue><statusString>Unauthorized</statusString>{lock}"
            "</userCheck>",
            content_type="application/xml",
        )


_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_SPACE = 'version="2.0" xmlns="http://www.hikvision.com/ver20/XMLSchema"'


def _status(words: str) -> str:
    body = f"<statusCode>4</statusCode><statusString>{words}</statusString>"
    return f"{_HEAD}<ResponseStatus {_SPACE}>{body}</ResponseStatus>"


def _page(path: str, state: KitState, serial: str) -> str | None:
    if path == "/ISAPI/System/deviceInfo":
        return (
            f"{_HEAD}<DeviceInfo {_SPACE}><deviceName>ambulance</deviceName><deviceID>{serial}</deviceID>"
            f"<model>DS-6704HUHI</model><serialNumber>DS-6704HUHI{serial}</serialNumber>"
            "<firmwareVersion>V4.70.141</firmwareVersion><firmwareReleasedDate>build 230515</firmwareReleasedDate>"
            "<deviceType>DVS</deviceType></DeviceInfo>"
        )
    if path == "/ISAPI/System/status":
        return (
            f"{_HEAD}<DeviceStatus {_SPACE}><deviceUpTime>{int(state.seconds) + 3_600}</deviceUpTime>"
            "<CPUList><CPU><cpuDescription>1200.00</cpuDescription>"
            f"<cpuUtilization>{20 + int(state.seconds) % 7}</cpuUtilization></CPU></CPUList>"
            "<MemoryList><Memory><memoryUsage>192</memoryUsage><memoryAvailable>64</memoryAvailable></Memory>"
            "</MemoryList></DeviceStatus>"
        )
    if path == "/ISAPI/System/Video/inputs/channels":
        shown = "1080P25" if state.encoder_has_video else "NO VIDEO"
        return (
            f"{_HEAD}<VideoInputChannelList {_SPACE}><VideoInputChannel><id>1</id><inputPort>1</inputPort>"
            "<videoInputEnabled>true</videoInputEnabled><name>front</name><videoFormat>PAL</videoFormat>"
            f"<resDesc>{shown}</resDesc></VideoInputChannel></VideoInputChannelList>"
        )
    return None
