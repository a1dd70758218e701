"""The SNMP codec: what it reads and refuses, held against pysnmp's, and any bytes at all within bounds."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto import api

from agent.snmp import ber, pdu
from agent.snmp.ber import BerError, Names
from agent.snmp.port import Credentials
from agent.snmp.pysnmp import wire_of
from agent.snmp.reports import Again, Refused
from agent.snmp.usm import UserSession
from firmware_profiles.answers import Wire
from tests.unit.bounds import bounded

FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
V2C: Any = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]
COMMUNITY = b"tests-only-4711"
OID_BYTES = bytes.fromhex("06082b06010201010300")
GET = bytes.fromhex(
    "3081b5020101040f74657374732d6f6e6c792d34373131a2819e02021267020100020100308191304506082b060102010101"
    "0004394c696e757820616d62756c616e63652d7465737420362e312e302d32382d616d64363420233120534d502044656269"
    "616e20362e3120616d64301606082b06010201010200060a2b06010401bf0803020a300d06082b0601020101030043013c30"
    "0d06092b060102010109090080003012060a2b060104018f6504050002040178a634"
)
"""A GET's answer of net-snmp 5.9.3: sysDescr, sysObjectID, sysUpTime, an object that is not there, memTotalReal."""
BULK = bytes.fromhex(
    "3082011f020101040f74657374732d6f6e6c792d34373131a2820107020212670201000201003081fa3012060a2b06010201"
    "0202010a014104083682e03013060b2b060102011f01010106014604083682e03015060d2b06010201041401017f00000140"
    "047f0000013016060b2b060104018f650a01060144079f780440273000300f060a2b060102010202010a024101003010060b"
    "2b060102011f01010106024601003016060e2b060102010414010181400002024004c00002023016060b2b060104018f650a"
    "01060244079f7804405ac800300f060a2b060102010202010a034101003010060b2b060102011f0101010603460100301206"
    "0d2b06010201041401027f0000010201013016060b2b060104018f650a01060344079f7804401f5000"
)
"""A GETBULK's answer of the same: Counter32, Counter64, IpAddress and Opaque floats."""


def read(data: bytes, most: int = 100) -> list[tuple[str, Wire]]:
    return pdu.read_body(data, pdu.read_v2c(data, COMMUNITY), most, Names()).bindings


def message(bindings: bytes, status: int = 0, number: int = 7) -> bytes:
    listed = ber.tlv(ber.SEQUENCE, bindings)
    inner = ber.integer(number) + ber.integer(status) + ber.integer(0) + listed
    return pdu.v2c_message(COMMUNITY, ber.tlv(pdu.RESPONSE, inner))


def binding(value: bytes) -> bytes:
    return ber.tlv(ber.SEQUENCE, OID_BYTES + value)


def test_reads_what_net_snmp_sent() -> None:
    assert read(GET) == [
        ("1.3.6.1.2.1.1.1.0", Wire("octets", b"Linux ambulance-test 6.1.0-28-amd64 #1 SMP Debian 6.1 amd")),
        ("1.3.6.1.2.1.1.2.0", Wire("oid", "1.3.6.1.4.1.8072.3.2.10")),
        ("1.3.6.1.2.1.1.3.0", Wire("ticks", 60)),
        ("1.3.6.1.2.1.1.9.9.0", Wire("absent", None)),
        ("1.3.6.1.4.1.2021.4.5.0", Wire("integer", 24684084)),
    ]
    bulk = read(BULK)
    assert bulk[:4] == [
        ("1.3.6.1.2.1.2.2.1.10.1", Wire("counter32", 137790176)),
        ("1.3.6.1.2.1.31.1.1.1.6.1", Wire("counter64", 137790176)),
        ("1.3.6.1.2.1.4.20.1.1.127.0.0.1", Wire("address", "127.0.0.1")),
        ("1.3.6.1.4.1.2021.10.1.6.1", Wire("number", 2.612305)),
    ]
    assert len(bulk) == 12


VALUES = [
    ("0201fb", Wire("integer", -5)),
    ("020500ffffffff", Wire("integer", 4294967295)),
    ("04020041", Wire("octets", b"\0A")),
    ("0400", Wire("octets", b"")),
    ("0500", Wire("null", None)),
    ("0600", Wire("oid", "0.0")),
    ("06028837", Wire("oid", "2.999")),
    ("06062b8fffffff7f", Wire("oid", "1.3.4294967295")),
    ("4004c0000201", Wire("address", "192.0.2.1")),
    ("410500ffffffff", Wire("counter32", 4294967295)),
    ("4104ffffffff", Wire("counter32", 4294967295)),
    ("4201ab", Wire("gauge32", 4294967211)),
    ("4204ffffffab", Wire("gauge32", 4294967211)),
    ("430101", Wire("ticks", 1)),
    ("44079f78047fc00000", Wire("opaque", bytes.fromhex("9f78047fc00000"))),
    ("440b9f79083ff8000000000000", Wire("number", 1.5)),
    ("4403040141", Wire("opaque", bytes.fromhex("040141"))),
    ("460900ffffffffffffffff", Wire("counter64", 2**64 - 1)),
    ("4608ffffffffffffffff", Wire("counter64", 2**64 - 1)),
    ("470101", Wire("gauge32", 1)),
    ("8000", Wire("absent", None)),
    ("8100", Wire("absent", None)),
    ("8200", Wire("absent", None)),
    ("450103", Wire("opaque", b"\3")),
    ("0481820041" + "00" * 129, None),
    ("04820002414100", None),
    ("0484000000024142", Wire("octets", b"AB")),
]


@pytest.mark.parametrize(("text", "wire"), VALUES, ids=[text[:24] for text, _ in VALUES])
def test_values(text: str, wire: Wire | None) -> None:
    """As net-snmp reads them: a negative number of an unsigned type lacks the octet 0 that should lead it."""
    data = message(binding(bytes.fromhex(text)))
    if wire is None:
        with pytest.raises(BerError):
            read(data)
    else:
        assert read(data) == [("1.3.6.1.2.1.1.3.0", wire)]


BAD = {
    "no octet of a number": "0200",
    "nine octets of a number": "0209010101010101010101",
    "a gauge over 32 bits": "42050100000000",
    "a gauge in eight octets": "4208ffffffffffffff85",
    "a counter over 64 bits": "4609010000000000000000",
    "an address of three octets": "4003c00002",
    "an address of IPv6": "4010" + "00" * 16,
    "a NULL with contents": "050100",
    "an endOfMibView with contents": "820100",
    "an indefinite length": "0480414200000000",
    "a length of five octets": "0485000000000141",
    "a value longer than its binding": "040541",
    "a value shorter than its binding": "0401414141",
    "an OID that ends within a number": "06022b86",
    "an OID's number with a leading 0x80": "06032b8001",
    "an OID's number over 32 bits": "06062b908080800000",
    "a constructed string": "240404024142",
    "a sequence in place of a value": "30020500",
    "a tag of two octets": "5f8101024142",
    "no value at all": "",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_bad_values_are_refused(text: str) -> None:
    with pytest.raises(BerError, match=r"^expected .* found "):
        read(message(binding(bytes.fromhex(text))))


def test_bad_messages_are_refused() -> None:
    good = message(binding(b"\x02\x01\x05"))
    assert read(good)
    assert read(good + b"padding"), "what stands behind the message is nobody's"
    for bad in (
        b"",
        b"\x30",
        good[:-1],
        good.replace(COMMUNITY, b"another-one-471"),
        b"\x30\x80" + good[2:] + b"\0\0",
        pdu.v2c_message(COMMUNITY, b"\xa0" + good[good.index(0xA2) + 1 :]),
        good.replace(b"\x02\x01\x01", b"\x02\x01\x00", 1),
        b"\x30\x30" * 5000,
        message(binding(b"\x02\x01\x05"), status=19),
        message(binding(b"\x02\x01\x05"), status=-1),
    ):
        with pytest.raises(BerError, match=r"^expected .* found "):
            read(bad)


def test_no_more_variables_are_read_than_were_asked_for() -> None:
    data = message(binding(b"\x05\x00") * 5000)
    with pytest.raises(BerError, match="at most 48"):
        bounded(lambda: read(data, most=48), seconds=0.002)


@pytest.mark.parametrize("text", ["", "x", "1", "3.1", "1.40", "1.3.-1", "1.3.6.99999999999", "1.3..6", "1.3.6.a"])
def test_what_is_no_oid_is_not_sent(text: str) -> None:
    with pytest.raises(BerError, match=r"in an OID|expected an OID"):
        ber.oid(text)


OIDS = st.builds(
    lambda first, second, rest: (first, second if first == 2 else second % 40, *rest),
    st.integers(0, 2),
    st.integers(0, 500),
    st.lists(st.integers(0, 2**32 - 1), max_size=20),
)
ENCODED = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(V2C.Integer32),
    st.binary(max_size=300).map(V2C.OctetString),
    st.just(V2C.Null("")),
    OIDS.map(V2C.ObjectIdentifier),
    st.binary(min_size=4, max_size=4).map(lambda octets: V2C.IpAddress(".".join(map(str, octets)))),
    st.integers(0, 2**32 - 1).flatmap(lambda n: st.sampled_from([V2C.Counter32(n), V2C.Gauge32(n), V2C.TimeTicks(n)])),
    st.integers(0, 2**64 - 1).map(V2C.Counter64),
    st.binary(max_size=20).map(V2C.Opaque),
    st.sampled_from([V2C.NoSuchObject(""), V2C.NoSuchInstance(""), V2C.EndOfMibView("")]),
)


@pytest.mark.fuzz
@FUZZ
@given(st.lists(st.tuples(OIDS, ENCODED), max_size=20), st.integers(0, 2**31 - 1), st.integers(0, 18))
def test_what_pysnmp_encodes_is_read_as_pysnmp_reads_it(pairs: list[Any], number: int, status: int) -> None:
    response = V2C.ResponsePDU()
    V2C.apiPDU.set_defaults(response)
    V2C.apiPDU.set_request_id(response, number)
    V2C.apiPDU.set_error_status(response, status)
    V2C.apiPDU.set_varbinds(response, pairs)
    whole = V2C.Message()
    V2C.apiMessage.set_defaults(whole)
    V2C.apiMessage.set_community(whole, COMMUNITY)
    V2C.apiMessage.set_pdu(whole, response)
    data = encoder.encode(whole)
    head = pdu.read_v2c(data, COMMUNITY)
    assert (head.number, head.status) == (number, status)
    found = pdu.read_body(data, head, len(pairs), Names()).bindings
    assert found == [(".".join(map(str, oid)), wire_of(value)) for oid, value in pairs]


@pytest.mark.fuzz
@FUZZ
@given(st.lists(OIDS, min_size=1, max_size=20), st.integers(0, 2**31 - 1), st.integers(1, 100))
def test_what_we_ask_is_what_pysnmp_reads(oids: list[tuple[int, ...]], number: int, repetitions: int) -> None:
    texts = [".".join(map(str, oid)) for oid in oids]
    for kind in ("get", "next", "bulk"):
        data = pdu.v2c_message(COMMUNITY, pdu.request(kind, number, texts, repetitions, pdu.Remembered()))
        whole, rest = decoder.decode(data, asn1Spec=V2C.Message())
        assert not rest
        assert bytes(V2C.apiMessage.get_community(whole)) == COMMUNITY
        asked = V2C.apiMessage.get_pdu(whole)
        assert [tuple(oid) for oid, _ in V2C.apiPDU.get_varbinds(asked)] == oids
        assert int(V2C.apiPDU.get_request_id(asked)) == number
        if kind == "bulk":
            assert int(V2C.apiBulkPDU.get_max_repetitions(asked)) == repetitions
            assert int(V2C.apiBulkPDU.get_non_repeaters(asked)) == 0


def _mutated(data: bytes, cuts: list[tuple[int, int, bytes]], flips: list[tuple[int, int]]) -> bytes:
    out = bytearray(data)
    for at, length, with_what in cuts:
        out[at : at + length] = with_what
    for at, octet in flips:
        if at < len(out):
            out[at] = octet
    return bytes(out)


REAL = st.sampled_from([GET, BULK, message(binding(b"\x02\x01\x05"))])
MUTATED = st.builds(
    _mutated,
    REAL,
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 20), st.binary(max_size=8)), max_size=3),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6),
)
PIECES = st.lists(
    st.one_of(
        st.sampled_from([b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x06\x08\x2b\x06\x01\x02\x01\x01\x03\x00"]),
        st.sampled_from([b"\x02\x01\x01", b"\x04\x0f" + COMMUNITY, b"\xa2\x7f", b"\xa8\x20", b"\x30\x30", b"\x06\x7f"]),
        st.binary(max_size=12),
    ),
    max_size=30,
).map(b"".join)


@pytest.mark.fuzz
@FUZZ
@given(st.one_of(MUTATED, PIECES, st.binary(max_size=2000)))
@example(b"\x30\x30" * 32_000)
@example(message(binding(ber.tlv(ber.OID, b"\xff" * 60_000))))
@example(message(binding(ber.tlv(0x44, b"\x9f\x78\x04\x7f\x80\x00\x00"))))
@example(message(binding(b"\x30\x82\xff\xff" * 10_000)))
def test_any_bytes_are_an_answer_or_an_error_of_the_codec(data: bytes) -> None:
    def run() -> None:
        with contextlib.suppress(BerError):
            for _, wire in read(data, most=48):
                wire.text()

    bounded(run, seconds=0.02, memory=1 << 20)


def v3_answer() -> bytes:
    """A report of an engine that is not known, from which everything of v3 is mutated."""
    engine = bytes.fromhex("80001f8804746573747331")
    header = ber.integer(4711) + ber.integer(65507) + ber.tlv(ber.OCTETS, b"\0") + ber.integer(3)
    security = b"".join((ber.tlv(4, engine), ber.integer(1), ber.integer(2), b"\x04\0" * 3))
    counter = ber.tlv(ber.SEQUENCE, ber.tlv(ber.OID, ber.oid("1.3.6.1.6.3.15.1.1.4.0")) + b"\x41\x01\x01")
    report = ber.tlv(pdu.REPORT, ber.integer(9) + b"\x02\x01\0\x02\x01\0" + ber.tlv(ber.SEQUENCE, counter))
    scoped = ber.tlv(ber.SEQUENCE, ber.tlv(4, engine) + b"\x04\0" + report)
    parts = ber.integer(3) + ber.tlv(ber.SEQUENCE, header) + ber.tlv(4, ber.tlv(ber.SEQUENCE, security)) + scoped
    return ber.tlv(ber.SEQUENCE, parts)


def v3_session() -> UserSession:
    credentials = Credentials("3", user="watcher", auth_key="auth-pass-phrase", priv_key="priv-pass-phrase")
    session = UserSession(credentials, random.Random(3414).getrandbits)
    session.prepare()
    session._numbers.append(4711)
    return session


SESSION = v3_session()


@pytest.mark.fuzz
@FUZZ
@given(
    st.lists(st.tuples(st.integers(0, 130), st.integers(0, 20), st.binary(max_size=8)), max_size=3),
    st.lists(st.tuples(st.integers(0, 130), st.integers(0, 255)), max_size=6),
)
@example([], [])
def test_any_v3_bytes_are_an_answer_a_report_or_an_error(
    cuts: list[tuple[int, int, bytes]], flips: list[tuple[int, int]]
) -> None:
    data = _mutated(v3_answer(), cuts, flips)

    def run() -> None:
        with pytest.raises((BerError, Again, Refused) if cuts or flips else Again):
            SESSION.read(data, 0.0)

    bounded(run, seconds=0.02, memory=1 << 20)
