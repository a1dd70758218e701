"""Requests and answers of SNMP (RFC 3416 section 3), and the v2c message around them (RFC 1901). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from agent.snmp import ber
from agent.snmp.port import Kind, Response

RESPONSE: Final = 0xA2
REPORT: Final = 0xA8
_REQUESTS: Final[dict[Kind, int]] = {"get": 0xA0, "next": 0xA1, "bulk": 0xA5}
_V2C: Final = ber.integer(1)
_HIGHEST_STATUS: Final = 18
"""inconsistentName, the last error of RFC 3416."""


class Remembered(msgspec.Struct):
    """What is the same in every poll of one device: the text and the bytes of its OIDs."""

    names: ber.Names = msgspec.field(default_factory=ber.Names)
    asked: ber.Asked = msgspec.field(default_factory=ber.Asked)


def request(kind: Kind, number: int, oids: Sequence[str], repetitions: int, remembered: Remembered) -> bytes:
    """Return a request PDU; ``repetitions`` are those of a GETBULK. Raises BerError for text that is no OID."""
    asked = remembered.asked
    third = repetitions if kind == "bulk" else 0
    listed = ber.tlv(ber.SEQUENCE, b"".join([asked[oid] for oid in oids]))
    return ber.tlv(_REQUESTS[kind], ber.integer(number) + b"\x02\x01\x00" + ber.integer(third) + listed)


class Answer(msgspec.Struct, frozen=True):
    """The head of an answer's PDU, and where its variables stand in the bytes that it was read from."""

    kind: int
    number: int
    status: int
    index: int
    start: int
    end: int


def read_head(data: bytes, at: int, end: int) -> Answer:
    """Return the head of the Response or Report PDU that fills ``data[at:end]``. Raises BerError."""
    kind = data[at] if at < end else 0
    if kind not in (RESPONSE, REPORT):
        raise ber.BerError(f"expected a Response or Report, found tag 0x{kind:02x}")
    at, stop = ber.header(data, at, end, kind)
    if stop != end:
        raise ber.BerError(f"expected one PDU, found {end - stop} octets more")
    number, at = ber.read_integer(data, at, end)
    status, at = ber.read_integer(data, at, end)
    index, at = ber.read_integer(data, at, end)
    start, stop = ber.header(data, at, end, ber.SEQUENCE)
    if stop != end:
        raise ber.BerError(f"expected a PDU to end with its variables, found {end - stop} octets more")
    return Answer(kind, number, status, index, start, stop)


def read_body(data: bytes, head: Answer, most: int, names: ber.Names) -> Response:
    """Return the whole answer; more than ``most`` variables, and errors that SNMP does not know, are none of ours.

    Raises BerError.
    """
    if not 0 <= head.status <= _HIGHEST_STATUS:
        raise ber.BerError(f"expected an error status of at most {_HIGHEST_STATUS}, found {head.status}")
    return Response(head.status, head.index, ber.bindings(data, head.start, head.end, most, names))


def v2c_message(community: bytes, pdu: bytes) -> bytes:
    """Return the message that carries a PDU."""
    return ber.tlv(ber.SEQUENCE, _V2C + ber.tlv(ber.OCTETS, community) + pdu)


def read_v2c(data: bytes, community: bytes) -> Answer:
    """Return the head of a v2c answer. Octets behind the message are let pass, as every library does.

    Raises BerError, also for another community.
    """
    at, end = ber.header(data, 0, len(data), ber.SEQUENCE)
    version, at = ber.read_integer(data, at, end)
    if version != 1:
        raise ber.BerError(f"expected SNMP version 1 (v2c), found {version}")
    told, at = ber.read_octets(data, at, end)
    if told != community:
        raise ber.BerError("expected the community that was asked with, found another")
    return read_head(data, at, end)
