"""SNMP v3 with the User-based Security Model, authPriv only (RFC 3412, RFC 3414). Pure: bytes, and time as an argument.

What the device is asked first is its engine (RFC 3414 section 4); its time is taken from what it authenticates. A
device that was swapped for another says that it does not know the engine: the new one's is then learnt at once. One
that says nothing is asked for its engine again at the next poll.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

import msgspec

from agent.snmp import ber, keys, pdu
from agent.snmp.ber import BerError
from agent.snmp.port import Credentials
from agent.snmp.reports import Again, Refused

_VERSION_3: Final = ber.integer(3)
_USM: Final = 3
_AUTH, _PRIV, _REPORTABLE = 1, 2, 4
_MAX_SIZE: Final = ber.integer(65_507)
_WINDOW_S: Final = 150
"""RFC 3414 section 2.2.3."""
_MOST_BOOTS: Final = 2**31 - 1
_MOST_MESSAGES: Final = 8
"""Messages of one request whose answers are still taken."""
_STATS: Final = "1.3.6.1.6.3.15.1.1."
_NOT_IN_TIME: Final = f"{_STATS}2.0"
_UNKNOWN_ENGINE: Final = f"{_STATS}4.0"
_REFUSALS: Final = {
    f"{_STATS}1.0": "unsupportedSecurityLevel",
    f"{_STATS}3.0": "unknownUserName",
    f"{_STATS}5.0": "wrongDigest",
    f"{_STATS}6.0": "decryptionError",
    "1.3.6.1.6.3.12.1.4.0": "unavailableContext",
    "1.3.6.1.6.3.12.1.5.0": "unknownContext",
}


class _Engine(msgspec.Struct):
    """An engine: its id, our keys for it, and its clock (RFC 3414 section 2.3)."""

    id: bytes
    boots: int
    time: int
    at: float
    """When ``time`` was told, on our monotonic clock."""
    auth_key: bytes = b""
    priv_key: bytes = b""
    latest: int = 0
    """The latest time that an authenticated message told; ``boots`` and it only grow."""
    trusted: bool = False
    """Whether an authenticated message has told the time; before that it is a guess to ask with."""

    def now(self, now: float) -> int:
        return min(self.time + int(now - self.at), 2**31 - 1)


class _Message(msgspec.Struct, frozen=True):
    """A message taken apart (RFC 3412 section 6, RFC 3414 section 2.4), nothing of it believed yet."""

    number: int
    flags: int
    engine: bytes
    boots: int
    time: int
    user: bytes
    digest: bytes
    digest_at: int
    salt: bytes
    body: bytes
    whole: bytes


class UserSession:
    """Messages of one v3 user to one device. See :class:`agent.snmp.udp.Session`.

    ``randbits`` gives a random number of so many bits.
    """

    def __init__(self, credentials: Credentials, randbits: Callable[[int], int]) -> None:
        self._credentials: Final = credentials
        self._user: Final = credentials.user.encode()
        self._master: tuple[bytes, ...] | None = None
        self._engine: _Engine | None = None
        self._randbits: Final = randbits
        self._salt = randbits(64)
        self._numbers: list[int] = []

    def prepare(self) -> None:
        """Turn both passwords into keys, and those into keys for the engine that was learnt last."""
        credentials = self._credentials
        if self._master is None:
            passwords = (credentials.auth_key, credentials.priv_key)
            self._master = tuple(keys.master_key(password, credentials.auth) for password in passwords)
        engine = self._engine
        if engine is not None and not engine.priv_key:
            auth_master, priv_master = self._master
            engine.auth_key = keys.localized(auth_master, engine.id, credentials.auth)
            engine.priv_key = keys.privacy_key(priv_master, engine.id, credentials.auth, credentials.priv)

    def begin(self) -> None:
        """Forget the messages of the request before."""
        self._numbers.clear()

    def silent(self) -> None:
        """Ask for the engine anew: another device may answer now."""
        self._engine = None

    # --- out ----------------------------------------------------------------------------------------------------------

    def message(self, request: bytes, now: float) -> bytes:
        """Return the message for a request, or while the engine is not known the question for it."""
        number = self._randbits(31)
        self._numbers = [*self._numbers[1 - _MOST_MESSAGES :], number]
        engine = self._engine
        if engine is None:
            asking = pdu.request("get", number, (), 0, pdu.Remembered())
            return self._wrapped(number, _REPORTABLE, (b"", 0, 0, b"", b"", b""), _scoped(b"", asking))
        credentials = self._credentials
        boots, time = engine.boots, engine.now(now)
        self._salt = (self._salt + 1) % 2**64
        sent, salt = keys.encrypt(
            engine.priv_key, _scoped(engine.id, request), credentials.priv, boots, time, self._salt
        )
        blank = bytes(keys.HASHES[credentials.auth][1])
        body = ber.tlv(ber.OCTETS, sent)
        security = (engine.id, boots, time, self._user, blank, salt)
        message = self._wrapped(number, _REPORTABLE | _AUTH | _PRIV, security, body)
        # the digest stands before its neighbour, the salt, and that before the body, which ends the message
        end = len(message) - len(body) - len(ber.tlv(ber.OCTETS, salt))
        digest = keys.digest(engine.auth_key, message, credentials.auth)
        return message[: end - len(blank)] + digest + message[end:]

    @staticmethod
    def _wrapped(number: int, flags: int, security: tuple[bytes, int, int, bytes, bytes, bytes], body: bytes) -> bytes:
        engine, boots, time, user, digest, salt = security
        header = ber.integer(number) + _MAX_SIZE + ber.tlv(ber.OCTETS, bytes((flags,))) + ber.integer(_USM)
        parameters = (
            ber.tlv(ber.OCTETS, engine)
            + ber.integer(boots)
            + ber.integer(time)
            + ber.tlv(ber.OCTETS, user)
            + ber.tlv(ber.OCTETS, digest)
            + ber.tlv(ber.OCTETS, salt)
        )
        security_octets = ber.tlv(ber.OCTETS, ber.tlv(ber.SEQUENCE, parameters))
        return ber.tlv(ber.SEQUENCE, _VERSION_3 + ber.tlv(ber.SEQUENCE, header) + security_octets + body)

    # --- in -----------------------------------------------------------------------------------------------------------

    def read(self, data: bytes, now: float) -> tuple[bytes, pdu.Answer]:
        """Return an authenticated answer to a message of ours, decrypted (RFC 3412 section 7.2, RFC 3414 section 3.2).

        Raises Again and Refused for reports, BerError for everything else.
        """
        message = _taken_apart(data)
        if message.number not in self._numbers:
            raise BerError("expected the answer to a message of ours, found another")
        engine = self._engine
        if not message.flags & _AUTH:
            self._reported(message, now)
        if engine is None or not engine.auth_key or message.engine != engine.id or message.user != self._user:
            raise BerError("expected the engine and user that were asked, found others")
        self._authenticate(message, engine)
        self._in_time(message, engine, now)
        body = message.body
        if message.flags & _PRIV:
            at, end = ber.header(body, 0, len(body), ber.OCTETS)
            try:
                body = keys.decrypt(
                    engine.priv_key, body[at:end], self._credentials.priv, message.boots, message.time, message.salt
                )
            except keys.PrivacyError as error:
                raise BerError(str(error)) from error
        head = _head(body)
        if head.kind == pdu.REPORT:
            self._act_on(_report(body, head))
        if not message.flags & _PRIV:
            raise BerError("expected an encrypted answer, found a plain one")
        return body, head

    def _authenticate(self, message: _Message, engine: _Engine) -> None:
        auth = self._credentials.auth
        length = keys.HASHES[auth][1]
        at = message.digest_at
        blank = message.whole[:at] + bytes(length) + message.whole[at + length :]
        if len(message.digest) != length or not hmac.compare_digest(
            message.digest, keys.digest(engine.auth_key, blank, auth)
        ):
            raise BerError("expected a digest made with our key, found another")

    @staticmethod
    def _in_time(message: _Message, engine: _Engine, now: float) -> None:
        """Believe an authenticated clock that moves on, and no message from too long ago (RFC 3414 section 3.2.7b)."""
        newer = message.boots > engine.boots or (message.boots == engine.boots and message.time > engine.latest)
        if not engine.trusted or newer:
            engine.boots, engine.time, engine.at = message.boots, message.time, now
            engine.latest, engine.trusted = message.time, True
        late = message.boots < engine.boots or message.time < engine.now(now) - _WINDOW_S
        if late or engine.boots == _MOST_BOOTS:
            raise BerError("expected a message within 150 s of the engine's time, found an older one")

    def _reported(self, message: _Message, now: float) -> None:
        """Act on a report that nothing authenticates: it may name an engine or a refusal, never a time or a value.

        Always raises.
        """
        if message.flags & _PRIV:
            raise BerError("expected encryption only with authentication, found it alone")
        head = _head(message.body)
        if head.kind != pdu.REPORT:
            raise BerError("expected an authenticated answer, found one without authentication")
        name = _report(message.body, head)
        if name == _UNKNOWN_ENGINE:
            if not 5 <= len(message.engine) <= 32:
                raise BerError(f"expected an engine id of 5 to 32 octets, found {len(message.engine)}")
            self._engine = _Engine(message.engine, message.boots, message.time, now)
            raise Again
        if name == _NOT_IN_TIME:
            raise BerError("expected an authenticated report of the time, found one without authentication")
        self._act_on(name)

    @staticmethod
    def _act_on(name: str) -> None:
        """Raise what a report asks for."""
        if name == _NOT_IN_TIME:
            raise Again
        if name in _REFUSALS:
            raise Refused(_REFUSALS[name])
        raise BerError(f"expected a report that RFC 3412 or 3414 knows, found {name}")


def _scoped(engine: bytes, request: bytes) -> bytes:
    return ber.tlv(ber.SEQUENCE, ber.tlv(ber.OCTETS, engine) + b"\x04\x00" + request)


def _head(scoped: bytes) -> pdu.Answer:
    """Return the head of the PDU in a scoped PDU; octets behind it are a cipher's padding."""
    at, end = ber.header(scoped, 0, len(scoped), ber.SEQUENCE)
    _, at = ber.read_octets(scoped, at, end)
    _, at = ber.read_octets(scoped, at, end)
    return pdu.read_head(scoped, at, end)


def _report(scoped: bytes, head: pdu.Answer) -> str:
    """Return the OID of a report's counter."""
    told = pdu.read_body(scoped, head, 1, ber.Names()).bindings
    if not told:
        raise BerError("expected the counter of a report, found none")
    return told[0][0]


def _taken_apart(data: bytes) -> _Message:
    at, end = ber.header(data, 0, len(data), ber.SEQUENCE)
    whole = data[:end]
    version, at = ber.read_integer(whole, at, end)
    if version != 3:
        raise BerError(f"expected SNMP version 3, found {version}")
    at, body_at = ber.header(whole, at, end, ber.SEQUENCE)
    number, at = ber.read_integer(whole, at, body_at)
    _, at = ber.read_integer(whole, at, body_at)
    flags, at = ber.read_octets(whole, at, body_at)
    model, at = ber.read_integer(whole, at, body_at)
    if model != _USM or len(flags) != 1:
        raise BerError(f"expected security model 3 and one octet of flags, found {model} and {len(flags)}")
    at, security_end = ber.header(whole, body_at, end, ber.OCTETS)
    body = whole[security_end:]
    at, stop = ber.header(whole, at, security_end, ber.SEQUENCE)
    engine, at = ber.read_octets(whole, at, stop)
    boots, at = ber.read_integer(whole, at, stop)
    time, at = ber.read_integer(whole, at, stop)
    user, at = ber.read_octets(whole, at, stop)
    digest, at = ber.read_octets(whole, at, stop)
    digest_at = at - len(digest)
    salt, at = ber.read_octets(whole, at, stop)
    if at != stop or stop != security_end:
        raise BerError("expected security parameters and nothing behind them, found more")
    if not (0 <= boots <= _MOST_BOOTS and 0 <= time <= _MOST_BOOTS):
        raise BerError("expected boots and time of 31 bits, found others")
    return _Message(number, flags[0], engine, boots, time, user, digest, digest_at, salt, body, whole)
