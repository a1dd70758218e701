"""SNMP v3 (RFC 3414): keys against the standard's own examples, and what a session believes of what comes back."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from agent.snmp import ber, keys, pdu
from agent.snmp.ber import BerError, Names
from agent.snmp.port import Auth, Credentials, Priv
from agent.snmp.reports import Again, Refused
from agent.snmp.usm import UserSession, _taken_apart
from firmware_profiles.answers import Wire

ENGINE = bytes.fromhex("80001f8804616d62756c616e63652d31")
OTHER = bytes.fromhex("80001f8804616d62756c616e63652d32")
USER = b"watcher"
AUTH, PRIV = "auth-pass-phrase", "priv-pass-phrase"
UPTIME = "1.3.6.1.2.1.1.3.0"
STATS = "1.3.6.1.6.3.15.1.1."


@pytest.mark.parametrize(
    ("auth", "localized"),
    [("md5", "526f5eed9fcce26f8964c2930787d82b"), ("sha", "6695febc9288e36282235fc7151f128497b38f3f")],
)
def test_the_standards_own_keys(auth: Auth, localized: str) -> None:
    """RFC 3414 sections A.3.1 and A.3.2: the password maplesyrup at engine 2."""
    master = keys.master_key("maplesyrup", auth)
    assert keys.localized(master, bytes.fromhex("000000000000000000000002"), auth).hex() == localized


@dataclass
class Engine:
    """The other side: an engine with its clock, which answers as it is told to, well or badly."""

    id: bytes = ENGINE
    boots: int = 3
    time: int = 1000
    auth: Auth = "sha256"
    priv: Priv = "aes128"
    auth_key: bytes = field(init=False)
    priv_key: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.auth_key = keys.localized(keys.master_key(AUTH, self.auth), self.id, self.auth)
        self.priv_key = keys.privacy_key(keys.master_key(PRIV, self.auth), self.id, self.auth, self.priv)

    def pdu(self, kind: int, number: int, oid: str, value: bytes = b"\x43\x01\x2a") -> bytes:
        listed = ber.tlv(ber.SEQUENCE, ber.tlv(ber.SEQUENCE, ber.tlv(ber.OID, ber.oid(oid)) + value))
        scoped = ber.tlv(kind, ber.integer(number) + b"\x02\x01\0\x02\x01\0" + listed)
        return ber.tlv(ber.SEQUENCE, ber.tlv(4, self.id) + b"\x04\0" + scoped)

    def message(self, number: int, body: bytes, flags: int, user: bytes = USER) -> bytes:
        """Return the message with ``body``, a scoped PDU: encrypted and authenticated as the flags say."""
        salt = b""
        if flags & 2:
            sealed, salt = keys.encrypt(self.priv_key, body, self.priv, self.boots, self.time, 77)
            body = ber.tlv(4, sealed)
        blank = bytes(keys.HASHES[self.auth][1]) if flags & 1 else b""
        session = (self.id, self.boots, self.time, user, blank, salt)
        whole = UserSession._wrapped(number, flags, session, body)
        if not flags & 1:
            return whole
        at = _taken_apart(whole).digest_at
        return whole[:at] + keys.digest(self.auth_key, whole, self.auth) + whole[at + len(blank) :]

    def answer(self, number: int, flags: int = 3, user: bytes = USER) -> bytes:
        return self.message(number, self.pdu(pdu.RESPONSE, 9, UPTIME), flags, user)

    def report(self, number: int, counter: int, flags: int = 0) -> bytes:
        return self.message(number, self.pdu(pdu.REPORT, 9, f"{STATS}{counter}.0", b"\x41\x01\x01"), flags)


REQUEST = pdu.request("get", 9, [UPTIME], 0, pdu.Remembered())


def session(auth: Auth = "sha256", priv: Priv = "aes128") -> UserSession:
    credentials = Credentials("3", user=USER.decode(), auth=auth, auth_key=AUTH, priv=priv, priv_key=PRIV)
    made = UserSession(credentials, random.Random(1).getrandbits)
    made.prepare()
    return made


def sent(one: UserSession, now: float) -> int:
    """Send the request and return the number of its message."""
    return _taken_apart(one.message(REQUEST, now)).number


def introduced(engine: Engine, now: float = 0.0, auth: Auth = "sha256", priv: Priv = "aes128") -> UserSession:
    """Return a session that knows the engine."""
    one = session(auth, priv)
    with pytest.raises(Again):
        one.read(engine.report(sent(one, now), 4), now)
    one.prepare()
    return one


def values(one: UserSession, data: bytes, now: float) -> list[tuple[str, Wire]]:
    holding, head = one.read(data, now)
    return pdu.read_body(holding, head, 1, Names()).bindings


@pytest.mark.parametrize("auth", keys.HASHES)
@pytest.mark.parametrize("priv", ["des", "aes128", "aes256", "aes256-blumenthal"])
def test_asks_for_the_engine_and_reads_what_it_answers(auth: Auth, priv: Priv) -> None:
    engine = Engine(auth=auth, priv=priv)
    one = introduced(engine, 0.0, auth, priv)
    asked = _taken_apart(one.message(REQUEST, 7.0))
    assert (asked.engine, asked.boots, asked.time, asked.user, asked.flags) == (ENGINE, 3, 1007, USER, 7)
    at, end = ber.header(asked.body, 0, len(asked.body), ber.OCTETS)
    assert REQUEST in keys.decrypt(engine.priv_key, asked.body[at:end], priv, 3, 1007, asked.salt)
    blank = (
        asked.whole[: asked.digest_at] + bytes(len(asked.digest)) + asked.whole[asked.digest_at + len(asked.digest) :]
    )
    assert keys.digest(engine.auth_key, blank, auth) == asked.digest
    engine.time += 7
    assert values(one, engine.answer(asked.number), 7.0) == [(UPTIME, Wire("ticks", 42))]


def test_what_nobody_authenticated_is_no_answer() -> None:
    engine = Engine()
    one = introduced(engine)
    number = sent(one, 0.0)
    good = engine.answer(number)
    stranger = Engine()
    stranger.auth_key = bytes(32)
    other = Engine(id=OTHER)
    tampered = [good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :] for at in range(len(good))]
    for bad in (
        engine.answer(number, flags=0),
        engine.answer(number, flags=1),
        engine.answer(number, flags=2),
        engine.answer(number + 1),
        engine.answer(number, user=b"somebody"),
        stranger.answer(number),
        other.answer(number),
        engine.report(number, 2),
        *tampered,
    ):
        with pytest.raises(BerError):
            one.read(bad, 0.0)
    assert values(one, good, 0.0)


def test_an_answer_out_of_its_time_is_no_answer() -> None:
    engine = Engine()
    one = introduced(engine)
    assert values(one, engine.answer(sent(one, 0.0)), 0.0)
    number = sent(one, 1000.0)
    with pytest.raises(BerError, match="150 s"):
        one.read(engine.answer(number), 1000.0)
    engine.time += 900
    assert values(one, engine.answer(number), 1000.0)
    engine.boots -= 1
    with pytest.raises(BerError, match="150 s"):
        one.read(engine.answer(number), 1000.0)
    engine.boots = 2**31 - 1
    with pytest.raises(BerError, match="150 s"):
        one.read(engine.answer(number), 1000.0)


def test_answers_to_an_earlier_request_are_nobodys() -> None:
    engine = Engine()
    one = introduced(engine)
    number = sent(one, 0.0)
    one.begin()
    sent(one, 0.0)
    with pytest.raises(BerError, match="message of ours"):
        one.read(engine.answer(number), 0.0)


def test_a_restart_is_believed_when_it_is_authenticated() -> None:
    engine = Engine()
    one = introduced(engine)
    assert values(one, engine.answer(sent(one, 0.0)), 0.0)
    engine.boots, engine.time = 4, 5
    number = sent(one, 60.0)
    with pytest.raises(Again):
        one.read(engine.report(number, 2, flags=1), 60.0)
    asked = _taken_apart(one.message(REQUEST, 61.0))
    assert (asked.boots, asked.time) == (4, 6)
    assert values(one, engine.answer(asked.number), 61.0)


def test_another_engine_is_learnt_from_its_report_and_after_silence() -> None:
    one = introduced(Engine())
    other = Engine(id=OTHER, boots=1, time=9)
    with pytest.raises(Again):
        one.read(other.report(sent(one, 0.0), 4), 0.0)
    with pytest.raises(BerError):
        one.read(other.answer(one._numbers[-1]), 0.0)  # before there are keys for it
    one.prepare()
    assert values(one, other.answer(sent(one, 0.0)), 0.0)
    one.silent()
    assert _taken_apart(one.message(REQUEST, 0.0)).engine == b""


@pytest.mark.parametrize(
    ("counter", "word"),
    [(1, "unsupportedSecurityLevel"), (3, "unknownUserName"), (5, "wrongDigest"), (6, "decryptionError")],
)
def test_refusals_are_told_by_their_names(counter: int, word: str) -> None:
    engine = Engine()
    one = introduced(engine)
    with pytest.raises(Refused, match=word):
        one.read(engine.report(sent(one, 0.0), counter), 0.0)


def test_an_engine_id_that_cannot_be_one_is_not_learnt() -> None:
    one = session()
    for strange in (b"", b"1234", bytes(33)):
        engine = Engine()
        engine.id = strange
        with pytest.raises(BerError, match="engine id"):
            one.read(engine.report(sent(one, 0.0), 4), 0.0)


def test_no_salt_comes_twice() -> None:
    one = introduced(Engine())
    salts = {_taken_apart(one.message(REQUEST, 0.0)).salt for _ in range(100)}
    assert len(salts) == 100
