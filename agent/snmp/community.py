"""SNMP v2c: a community before the request, and nothing else (RFC 1901). Pure."""

from __future__ import annotations

from typing import Final

from agent.snmp import ber, pdu
from agent.snmp.port import Credentials


class CommunitySession:
    """Messages of v2c to one device. See :class:`agent.snmp.udp.Session`."""

    def __init__(self, credentials: Credentials) -> None:
        self._community: Final = credentials.community.encode()

    def prepare(self) -> None:
        """Nothing to be computed."""

    def begin(self) -> None:
        """Nothing to be kept of the request before."""

    def message(self, request: bytes, now: float) -> bytes:
        """Return the message that carries a request."""
        return pdu.v2c_message(self._community, request)

    def read(self, data: bytes, now: float) -> tuple[bytes, pdu.Answer]:
        """Return an answer: the bytes that hold it, and its head. Raises BerError for anything else."""
        head = pdu.read_v2c(data, self._community)
        if head.kind != pdu.RESPONSE:
            raise ber.BerError("expected a Response, found a Report")
        return data, head

    def silent(self) -> None:
        """Nothing to forget of a device that does not answer."""
