"""What an SNMP v2c request asks (RFC 3416, 3), for devices of the tests that answer as no library would."""

from __future__ import annotations

from dataclasses import dataclass

from agent.snmp import ber


@dataclass(frozen=True, slots=True)
class Request:
    """A request, taken apart. All bytes are as they came."""

    before: bytes
    """Version and community, which the answer repeats."""
    tag: int
    """Of the PDU: 0xA0 get, 0xA1 next, 0xA5 bulk."""
    number: bytes
    """The request id, with its tag."""
    repetitions: int
    """Of a bulk request."""
    oids: list[bytes]
    """Contents of the object identifiers asked for."""


def read_request(data: bytes) -> Request:
    """Return what a datagram asks. Raises ValueError where it is no request."""
    begin, _ = ber.header(data, 0, len(data), ber.SEQUENCE)
    _, version_end = ber.read_integer(data, begin, len(data))
    _, community_end = ber.read_octets(data, version_end, len(data))
    tag = data[community_end]
    at, end = ber.header(data, community_end, len(data), tag)
    _, number_end = ber.read_integer(data, at, end)
    _, status_end = ber.read_integer(data, number_end, end)
    repetitions, index_end = ber.read_integer(data, status_end, end)
    listed, stop = ber.header(data, index_end, end, ber.SEQUENCE)
    oids = []
    while listed < stop:
        one, listed = ber.header(data, listed, stop, ber.SEQUENCE)
        name, oid_end = ber.header(data, one, listed, 0x06)
        oids.append(data[name:oid_end])
    return Request(data[begin:community_end], tag, data[at:number_end], repetitions, oids)
