"""Requests over pysnmp 7: what the kitwatch adapter is checked against, and the fallback (``library: pysnmp``).

One engine serves the whole process (Field note 35: an engine per poll leaks until polling stops). pysnmp binds an
engine's sockets to the event loop it was first used in, so a second loop gets an engine of its own; and its user
table knows one key per user name, so a second device with the same user name and other keys gets one too. MIB look-up
is off: profiles speak in OIDs; even so pysnmp resolves each OID that it is handed, so its resolved objects are kept.
pysnmp holds on to a device's v3 engine id for 300 seconds: a device that answered and no longer does gets a new engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec
from pysnmp.hlapi.v3arch import asyncio as hlapi
from pysnmp.proto import errind

from agent.snmp.port import (
    Credentials,
    Kind,
    Response,
    SnmpBrokenError,
    SnmpError,
    SnmpRefusedError,
    SnmpSilentError,
)
from firmware_profiles.answers import Wire, opaque
from firmware_profiles.capture import TAGS

_AUTH: Final = {
    "md5": hlapi.USM_AUTH_HMAC96_MD5,
    "sha": hlapi.USM_AUTH_HMAC96_SHA,
    "sha224": hlapi.USM_AUTH_HMAC128_SHA224,
    "sha256": hlapi.USM_AUTH_HMAC192_SHA256,
    "sha384": hlapi.USM_AUTH_HMAC256_SHA384,
    "sha512": hlapi.USM_AUTH_HMAC384_SHA512,
}
_PRIV: Final = {
    "des": hlapi.USM_PRIV_CBC56_DES,
    "aes128": hlapi.USM_PRIV_CFB128_AES,
    "aes256": hlapi.USM_PRIV_CFB256_AES,
    "aes256-blumenthal": hlapi.USM_PRIV_CFB256_AES_BLUMENTHAL,
}
_MOST_REMEMBERED: Final = 4096


class _Shared(msgspec.Struct):
    """An engine and the v3 users it knows."""

    engine: Any
    users: dict[str, Credentials] = msgspec.field(default_factory=dict)
    devices: int = 0
    outlived: bool = False
    """Whether it may hold on to the engine id of a device that is no longer there."""


_engines: WeakKeyDictionary[asyncio.AbstractEventLoop, list[_Shared]] = WeakKeyDictionary()


def _engine_for(credentials: Credentials) -> _Shared:
    shared = _engines.setdefault(asyncio.get_running_loop(), [])
    for found in shared:
        if found.outlived and credentials.version == "3":
            continue
        if credentials.version == "2c" or found.users.get(credentials.user, credentials) == credentials:
            break
    else:
        found = _Shared(hlapi.SnmpEngine())
        shared.append(found)
    if credentials.version == "3":
        found.users[credentials.user] = credentials
    found.devices += 1
    return found


def _release(shared: _Shared) -> None:
    """Close an engine's socket when the last device has let go; the next device makes a new one."""
    shared.devices -= 1
    if shared.devices > 0:
        return
    shared.engine.close_dispatcher()
    for others in _engines.values():
        if shared in others:
            others.remove(shared)


def wire_of(value: Any) -> Wire:
    """Return a pysnmp value with its ASN.1 type as a :class:`Wire`; an unknown type becomes ``opaque``."""
    tag = value.tagSet.superTags[-1]
    kind = TAGS.get(int(tag.tagClass) | int(tag.tagId), "opaque")
    if kind in ("absent", "null"):
        return Wire(kind, None)
    if kind == "octets":
        return Wire(kind, bytes(value))
    if kind == "opaque":
        return opaque(bytes(value))
    if kind == "oid":
        return Wire(kind, ".".join(map(str, tuple(value))))
    if kind == "address":
        return Wire(kind, ".".join(map(str, bytes(value))))
    return Wire(kind, int(value))


class PysnmpExchange:
    """Requests to one device over pysnmp. See :class:`agent.snmp.port.Exchange`."""

    def __init__(
        self, address: str, port: int, credentials: Credentials, timeout: float = 2.0, retries: int = 1
    ) -> None:
        self.address: Final = f"{address}:{port}"
        self.answered = 0
        self._heard = False
        self._endpoint: Final = (address, port)
        self._credentials: Final = credentials
        self._timeout: Final = timeout
        self._retries: Final = retries
        self._retries_now = retries
        self._shared: _Shared | None = None
        self._target: Any = None
        self._auth: Any = None
        self._objects: Final[dict[str, Any]] = {}

    async def _ready(self) -> tuple[Any, Any, Any]:
        if self._shared is None:
            self._auth = self._auth_data()
            self._shared = _engine_for(self._credentials)
        if self._target is None:
            transport = hlapi.Udp6TransportTarget if ":" in self._endpoint[0] else hlapi.UdpTransportTarget
            try:
                self._target = await transport.create(self._endpoint, timeout=self._timeout, retries=self._retries_now)
            except Exception as error:  # pysnmp wraps name look-up failures in its own base class
                raise SnmpSilentError(self.address, f"address cannot be looked up ({error})") from error
        return self._shared.engine, self._auth, self._target

    def _auth_data(self) -> Any:
        given = self._credentials
        if given.version == "2c":
            return hlapi.CommunityData(given.community, mpModel=1)
        return hlapi.UsmUserData(
            given.user,
            authKey=given.auth_key,
            privKey=given.priv_key,
            authProtocol=_AUTH[given.auth],
            privProtocol=_PRIV[given.priv],
        )

    def _raise(self, indication: Any) -> None:
        if isinstance(indication, errind.RequestTimedOut):
            self._target = None  # a name may mean another address by now
            self._let_go()
            raise SnmpSilentError(self.address, "no answer")
        text = str(indication)
        refusals = (
            errind.UnknownUserName,
            errind.WrongDigest,
            errind.DecryptionError,
            errind.UnsupportedSecurityLevel,
            errind.AuthenticationFailure,
            errind.UnknownSecurityName,
            errind.UnknownCommunityName,
        )
        if isinstance(indication, refusals):
            raise SnmpRefusedError(self.address, f"credentials are refused ({text})")
        raise SnmpBrokenError(self.address, text)

    def _let_go(self) -> None:
        """Take another engine for a v3 device that answered before: another device may stand there now."""
        shared = self._shared
        if self._credentials.version == "3" and self._heard and shared is not None:
            shared.outlived = True
            self._shared, self._heard = None, False
            _release(shared)

    async def ask(self, kind: Kind, oids: Sequence[str], repetitions: int = 1, *, tries: int | None = None) -> Response:
        """Send a request until an answer comes."""
        retries = self._retries if tries is None else tries - 1
        if retries != self._retries_now:
            self._retries_now, self._target = retries, None
        engine, auth, target = await self._ready()
        objects = [self._object(oid) for oid in oids]
        context = hlapi.ContextData()
        if kind == "get":
            command = hlapi.get_cmd(engine, auth, target, context, *objects, lookupMib=False)
        elif kind == "next":
            command = hlapi.next_cmd(
                engine, auth, target, context, *objects, lookupMib=False, ignoreNonIncreasingOid=True
            )
        else:
            command = hlapi.bulk_cmd(
                engine, auth, target, context, 0, repetitions, *objects, lookupMib=False, ignoreNonIncreasingOid=True
            )
        indication, status, index, bindings = await self._call(command)
        if indication:
            self._raise(indication)
        return Response(int(status), int(index), [(str(name), wire_of(value)) for name, value in bindings])

    def _object(self, oid: str) -> Any:
        found = self._objects.get(oid)
        if found is None:
            if len(self._objects) >= _MOST_REMEMBERED:
                self._objects.clear()
            found = self._objects[oid] = hlapi.ObjectType(hlapi.ObjectIdentity(oid))
        return found

    async def _call(self, command: Any) -> Any:
        try:
            result = await command
            self.answered += result[0] is None
            self._heard |= result[0] is None
            return result
        except (SnmpError, asyncio.CancelledError):
            raise
        except Exception as error:  # what pysnmp raises for malformed answers has no common base
            raise SnmpBrokenError(self.address, f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Let go of the engine; the last device closes its socket."""
        shared, self._shared, self._target = self._shared, None, None
        if shared is not None:
            _release(shared)
