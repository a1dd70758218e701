"""An SNMP v2c agent over UDP that answers GET, GETNEXT and GETBULK from a table made anew for each request.

Messages are coded by pysnmp's protocol layer (RFC 3416); what is here is the responder's rule book.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from pyasn1.codec.ber import decoder, encoder
from pyasn1.error import PyAsn1Error
from pysnmp.proto import api

Oid = tuple[int, ...]
Table = Mapping[Oid, tuple[str, Any]]
"""OID -> (type, value); types are the keys of ``_TYPES``."""

_V2C = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]
_TYPES: Mapping[str, Callable[[Any], Any]] = {
    "integer": _V2C.Integer32,
    "string": _V2C.OctetString,
    "oid": _V2C.ObjectIdentifier,
    "counter32": lambda value: _V2C.Counter32(value % 2**32),
    "gauge32": _V2C.Gauge32,
    "ticks": lambda value: _V2C.TimeTicks(value % 2**32),
    "counter64": lambda value: _V2C.Counter64(value % 2**64),
}
_MAX_REPETITIONS = 50


class SnmpAgent(asyncio.DatagramProtocol):
    """Answers while ``table()`` gives one; a table of ``None`` is a device without power."""

    def __init__(self, community: str, table: Callable[[], Table | None]) -> None:
        self.asked: Counter[str] = Counter()
        """Requests with the right community, by their PDU's name (RFC 3416): ``GetRequestPDU``, ``SetRequestPDU``."""
        self._community = community.encode()
        self._table = table
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self, port: int = 0) -> int:
        """Listen on loopback; return the port."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))
        self._transport = transport
        return int(transport.get_extra_info("sockname")[1])

    def stop(self) -> None:
        """Stop listening."""
        if self._transport:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Answer one request; what is no SNMP v2c, or has another community, gets none."""
        table = self._table()
        if table is None or self._transport is None:
            return
        try:
            message, _ = decoder.decode(data, asn1Spec=_V2C.Message())
        except PyAsn1Error:
            return
        if bytes(_V2C.apiMessage.get_community(message)) != self._community:
            return
        request = _V2C.apiMessage.get_pdu(message)
        self.asked[type(request).__name__] += 1
        response = _V2C.apiMessage.get_response(message)
        pdu = _V2C.apiMessage.get_pdu(response)
        answer = _answer(request, table)
        if answer is None:
            return
        _V2C.apiPDU.set_varbinds(pdu, answer)
        self._transport.sendto(encoder.encode(response), addr)


def _answer(request: Any, table: Table) -> list[tuple[Any, Any]] | None:
    order = sorted(table)
    if request.isSameTypeWith(_V2C.GetRequestPDU()):
        return [_get(table, tuple(oid)) for oid, _ in _V2C.apiPDU.get_varbinds(request)]
    if request.isSameTypeWith(_V2C.GetNextRequestPDU()):
        return [_next(table, order, tuple(oid)) for oid, _ in _V2C.apiPDU.get_varbinds(request)]
    if request.isSameTypeWith(_V2C.GetBulkRequestPDU()):
        asked = [tuple(oid) for oid, _ in _V2C.apiPDU.get_varbinds(request)]
        once = int(_V2C.apiBulkPDU.get_non_repeaters(request))
        rounds = min(int(_V2C.apiBulkPDU.get_max_repetitions(request)), _MAX_REPETITIONS)
        result = [_next(table, order, oid) for oid in asked[:once]]
        rows = asked[once:]
        for _ in range(rounds):
            found = [_next(table, order, oid) for oid in rows]
            result += found
            rows = [tuple(oid) for oid, _ in found]
        return result
    return None


def _get(table: Table, oid: Oid) -> tuple[Any, Any]:
    if oid in table:
        kind, value = table[oid]
        return _V2C.ObjectIdentifier(oid), _TYPES[kind](value)
    return _V2C.ObjectIdentifier(oid), _V2C.NoSuchInstance("")


def _next(table: Table, order: list[Oid], oid: Oid) -> tuple[Any, Any]:
    at = bisect_right(order, oid)
    if at == len(order):
        return _V2C.ObjectIdentifier(oid), _V2C.EndOfMibView("")
    return _get(table, order[at])
