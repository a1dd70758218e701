"""What a device answered, before anybody knows what it means.

A :class:`Wire` keeps the value with the type it had on the wire, because the type is evidence: an Integer32 below zero
in a counter has wrapped, a NULL is not a 0. Readers reach answers through :class:`Answers`, which SNMP and HTTP both
provide, so that one description of a metric serves both.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, Protocol, get_args

Kind = Literal[
    "integer",
    "octets",
    "null",
    "oid",
    "address",
    "counter32",
    "gauge32",
    "ticks",
    "opaque",
    "counter64",
    "absent",
    "text",
    "number",
    "boolean",
]
"""ASN.1 types of SNMP (RFC 2578), ``absent`` for noSuchObject and its like, and the three types of HTTP answers.

A float in an Opaque is a ``number`` too."""
KINDS: Final[tuple[str, ...]] = get_args(Kind)
MAX_TEXT: Final = 256
"""Characters of a text that are looked at: a device must not decide how long a pattern searches."""
NUMERIC: Final = frozenset({"integer", "counter32", "gauge32", "ticks", "counter64", "number"})


class Wire(NamedTuple):
    """One value with its type on the wire. ``value`` is bytes for octets, text for oid and address."""

    kind: Kind
    value: int | float | str | bytes | bool | None

    def text(self) -> str | None:
        """Return the value as trimmed text (at most 256 characters), or None for bytes that are no text and for null.

        Octets are UTF-8 or, as kit made for China sends them, GB 18030; padding NULs and blanks are cut.
        """
        if self.value is None or self.kind in ("null", "absent"):
            return None
        if isinstance(self.value, bytes):
            text = decode_octets(self.value)
            return None if text is None else text[:MAX_TEXT]
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        return str(self.value).strip()[:MAX_TEXT]


def decode_octets(octets: bytes) -> str | None:
    """Return printable text for an OCTET STRING, or None when it holds none (a MAC address, say)."""
    for encoding in ("utf-8", "gb18030"):
        try:
            text = octets.decode(encoding)
        except UnicodeDecodeError:
            continue
        text = text.strip(" \t\r\n\0")
        if text.isprintable() or all(character.isprintable() or character in "\t\r\n" for character in text):
            return text
    return None


def opaque(content: bytes) -> Wire:
    """Return the number in an Opaque that holds a float or double, as net-snmp sends them, else the octets.

    (draft-perkins-opaque-01: tags 0x9f78 and 0x9f79.) A float is taken to its seven digits.
    """
    number: float
    if len(content) == 7 and content.startswith(b"\x9f\x78\x04"):
        number = float(f"{struct.unpack('>f', content[3:])[0]:.7g}")
    elif len(content) == 11 and content.startswith(b"\x9f\x79\x08"):
        (number,) = struct.unpack(">d", content[3:])
    else:
        return Wire("opaque", content)
    return Wire("number", number) if math.isfinite(number) else Wire("opaque", content)


class Answers(Protocol):
    """Where a reader looks up what the device said. ``at`` is an OID, or a request and a path for HTTP."""

    def scalar(self, at: str) -> Wire | None:
        """Return one value, or None when the device did not give it."""
        ...

    def column(self, at: str) -> Mapping[str, Wire]:
        """Return the values below ``at`` by row index (``14``, ``1.3``), in the rows' order."""
        ...


def oid_key(oid: str) -> tuple[int, ...]:
    """Return the OID's numbers, for sorting. Raises ValueError for text that is no OID."""
    if oid.isdigit():
        return (int(oid),)
    return tuple(map(int, oid.strip(".").split(".")))


class SnmpAnswers:
    """Answers of an SNMP device: a mapping of OID (dotted, no leading dot) to :class:`Wire`."""

    def __init__(self, values: Mapping[str, Wire]) -> None:
        self.values: Final = values
        self._columns: dict[str, dict[str, Wire]] = {}
        self._order: list[str] = []

    def scalar(self, at: str) -> Wire | None:
        """Return the value at exactly this OID."""
        found = self.values.get(at)
        return None if found is None or found.kind == "absent" else found

    def column(self, at: str) -> Mapping[str, Wire]:
        """Return what stands below this OID, by the rest of the OID, in the order of the index."""
        found = self._columns.get(at)
        if found is None:
            if not self._order:
                self._order = sorted(self.values)
            # in the order of texts all that begins with "X." stands between "X." and "X/", the next character
            first, last = bisect_left(self._order, at + "."), bisect_left(self._order, at + "/")
            start = len(at) + 1
            indexes = [oid[start:] for oid in self._order[first:last] if self.values[oid].kind != "absent"]
            if len(indexes) > 1:
                indexes.sort(key=oid_key)
            found = self._columns[at] = {index: self.values[f"{at}.{index}"] for index in indexes}
        return found
