"""The SNMP port on pysnmp 7: v2c, and v3 with authPriv.

One engine serves the whole process (Field note 35: an engine per poll leaks until polling stops). pysnmp binds an
engine's sockets to the event loop it was first used in, so a second loop gets an engine of its own; and its user
table knows one key per user name, so a second device with the same user name and other keys gets one too. MIB look-up
is off: profiles speak in OIDs. A device that comes back with another v3 engine id is understood again when pysnmp lets
go of the old one, after 300 seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

from pysnmp.hlapi.v3arch import asyncio as hlapi
from pysnmp.proto import errind

from agent.snmp.port import SnmpBrokenError, SnmpError, SnmpRefusedError, SnmpSilentError, Walk
from firmware_profiles.answers import Wire, oid_key
from firmware_profiles.capture import TAGS

_AUTH: Final = {
    "md5": hlapi.USM_AUTH_HMAC96_MD5,
    "sha": hlapi.USM_AUTH_HMAC96_SHA,
    "sha256": hlapi.USM_AUTH_HMAC192_SHA256,
    "sha512": hlapi.USM_AUTH_HMAC384_SHA512,
}
_PRIV: Final = {
    "des": hlapi.USM_PRIV_CBC56_DES,
    "aes128": hlapi.USM_PRIV_CFB128_AES,
    "aes256": hlapi.USM_PRIV_CFB256_AES,
}
_GET_SIZE: Final = 20
_COLUMNS_AT_ONCE: Final = 6
_REPETITIONS: Final = 8
"""48 objects an answer: what fits one packet of most devices."""
_TOO_BIG, _NO_SUCH_NAME, _GEN_ERR = 1, 2, 5


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to speak to a device: a community (v2c), or a user with both keys (v3 authPriv). Never shown in a repr."""

    version: Literal["2c", "3"]
    community: str = field(default="", repr=False)
    user: str = ""
    auth: Literal["md5", "sha", "sha256", "sha512"] = "sha256"
    auth_key: str = field(default="", repr=False)
    priv: Literal["des", "aes128", "aes256"] = "aes128"
    priv_key: str = field(default="", repr=False)


@dataclass(slots=True)
class _Shared:
    """An engine and the v3 users it knows."""

    engine: Any
    users: dict[str, Credentials] = field(default_factory=dict)
    devices: int = 0


_engines: WeakKeyDictionary[asyncio.AbstractEventLoop, list[_Shared]] = WeakKeyDictionary()


def _engine_for(credentials: Credentials) -> _Shared:
    shared = _engines.setdefault(asyncio.get_running_loop(), [])
    for found in shared:
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
    if kind in ("octets", "opaque"):
        return Wire(kind, bytes(value))
    if kind == "oid":
        return Wire(kind, ".".join(map(str, tuple(value))))
    if kind == "address":
        return Wire(kind, ".".join(map(str, bytes(value))))
    return Wire(kind, int(value))


class PysnmpPort:
    """One device over pysnmp. See :class:`agent.snmp.port.SnmpPort`."""

    def __init__(
        self, address: str, port: int, credentials: Credentials, *, timeout: float = 2.0, retries: int = 1
    ) -> None:
        self.address: Final = f"{address}:{port}"
        self.answered = 0
        self._endpoint: Final = (address, port)
        self._credentials: Final = credentials
        self._timeout: Final = timeout
        self._retries: Final = retries
        self._shared: _Shared | None = None
        self._target: Any = None
        self._auth: Any = None

    async def _ready(self) -> tuple[Any, Any, Any]:
        if self._shared is None:
            self._auth = self._auth_data()
            self._shared = _engine_for(self._credentials)
        if self._target is None:
            transport = hlapi.Udp6TransportTarget if ":" in self._endpoint[0] else hlapi.UdpTransportTarget
            try:
                self._target = await transport.create(self._endpoint, timeout=self._timeout, retries=self._retries)
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

    async def get(self, oids: Sequence[str]) -> dict[str, Wire]:
        """Return the scalars that the device has, in GETs of at most 20."""
        found: dict[str, Wire] = {}
        pending = [list(oids[start : start + _GET_SIZE]) for start in range(0, len(oids), _GET_SIZE)]
        while pending:
            batch = pending.pop(0)
            engine, auth, target = await self._ready()
            objects = [hlapi.ObjectType(hlapi.ObjectIdentity(oid)) for oid in batch]
            indication, status, index, bindings = await self._call(
                hlapi.get_cmd(engine, auth, target, hlapi.ContextData(), *objects, lookupMib=False)
            )
            if indication:
                self._raise(indication)
            if int(status) == _TOO_BIG and len(batch) > 1:
                pending[:0] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
            elif int(status) and 0 < int(index) <= len(batch):
                # an agent of the old school refuses the whole request for one object: ask again without it
                rest = batch[: int(index) - 1] + batch[int(index) :]
                pending[:0] = [rest] if rest else []
            elif int(status):
                raise SnmpBrokenError(self.address, f"error status {int(status)}")
            else:
                for name, value in bindings:
                    wire = wire_of(value)
                    if wire.kind != "absent":
                        found[str(name)] = wire
        return found

    async def _call(self, command: Any) -> Any:
        try:
            result = await command
            self.answered += result[0] is None
            return result
        except (SnmpError, asyncio.CancelledError):
            raise
        except Exception as error:  # what pysnmp raises for malformed answers has no common base
            raise SnmpBrokenError(self.address, f"{type(error).__name__}: {error}") from error

    async def walk(
        self, columns: Sequence[str], *, rows: int = 256, seconds: float = 10.0, into: Walk | None = None
    ) -> Walk:
        """Return what stands below the columns, up to six of them in one GETBULK."""
        walk = Walk() if into is None else into
        end = time.monotonic() + seconds
        cursors = {column: column for column in dict.fromkeys(columns)}
        counts = dict.fromkeys(cursors, 0)
        first = True
        while cursors:
            if time.monotonic() >= end:
                walk.truncated += [f"{column}: time is up" for column in cursors]
                break
            batch = list(cursors)[:_COLUMNS_AT_ONCE]
            try:
                bindings = await self._bulk([cursors[column] for column in batch])
            except SnmpError as error:
                if first:
                    raise
                walk.truncated += [f"{column}: {error}" for column in cursors]
                break
            first = False
            _take(walk, batch, bindings, cursors, counts, rows)
        return walk

    async def _bulk(self, starts: list[str]) -> list[tuple[str, Wire]]:
        repetitions = _REPETITIONS
        while True:
            engine, auth, target = await self._ready()
            objects = [hlapi.ObjectType(hlapi.ObjectIdentity(oid)) for oid in starts]
            indication, status, _, bindings = await self._call(
                hlapi.bulk_cmd(
                    engine,
                    auth,
                    target,
                    hlapi.ContextData(),
                    0,
                    repetitions,
                    *objects,
                    lookupMib=False,
                    ignoreNonIncreasingOid=True,
                )
            )
            if indication:
                self._raise(indication)
            if int(status) == _TOO_BIG and repetitions > 1:
                repetitions //= 4
                continue
            if int(status) == _NO_SUCH_NAME:
                return [(start, Wire("absent", None)) for start in starts]
            if int(status):
                raise SnmpBrokenError(self.address, f"error status {int(status)}")
            return [(str(name), wire_of(value)) for name, value in bindings]

    async def close(self) -> None:
        """Let go of the engine; the last device closes its socket."""
        shared, self._shared, self._target = self._shared, None, None
        if shared is not None:
            _release(shared)


def _take(
    walk: Walk,
    batch: list[str],
    bindings: list[tuple[str, Wire]],
    cursors: dict[str, str],
    counts: dict[str, int],
    rows: int,
) -> None:
    """Sort one GETBULK answer into its columns, and end those that are through (RFC 3416 section 4.2.3)."""
    if not bindings:
        for column in batch:
            del cursors[column]
            walk.truncated.append(f"{column}: empty answer")
        return
    for position, (oid, wire) in enumerate(bindings):
        column = batch[position % len(batch)]
        if column not in cursors:
            continue
        if wire.kind == "absent" or not oid.startswith(column + "."):
            del cursors[column]
        elif oid_key(oid) <= oid_key(cursors[column]):
            del cursors[column]
            walk.truncated.append(f"{column}: OIDs do not increase at {oid}")
        elif counts[column] >= rows:
            del cursors[column]
            walk.truncated.append(f"{column}: more than {rows} rows")
        else:
            cursors[column] = oid
            counts[column] += 1
            walk.values[oid] = wire
    # an answer cut short by its size may lack a column altogether: it goes on from where it stood
    missing = [column for column in batch[len(bindings) :] if column in cursors]
    for column in missing:
        cursors[column] = cursors.pop(column)
