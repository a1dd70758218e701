"""The Basic Encoding Rules as SNMP uses them: definite lengths, primitive values (RFC 3417 section 8, X.690).

Pure. Whatever bytes come in, the work is bounded by their number and the only exception out is :class:`BerError`.
Where broken agents are common, values are read as net-snmp reads them; each such place says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from firmware_profiles.answers import Kind, Wire, opaque

INTEGER: Final = 0x02
OCTETS: Final = 0x04
NULL: Final = 0x05
OID: Final = 0x06
SEQUENCE: Final = 0x30
_MAX_SUBIDENTIFIERS: Final = 128
"""RFC 2578 section 3.5."""
_MOST_REMEMBERED: Final = 4096
"""OIDs whose text or bytes are kept: what a device's polls repeat, never what it makes up for ever."""
_EMPTY: Final[dict[int, Wire]] = {
    0x05: Wire("null", None),
    0x80: Wire("absent", None),
    0x81: Wire("absent", None),
    0x82: Wire("absent", None),
}
"""NULL, noSuchObject, noSuchInstance, endOfMibView: values without contents (RFC 3416 section 3)."""


class BerError(ValueError):
    """Bytes that are not what they should be; the text says what was expected and found."""


# --- out --------------------------------------------------------------------------------------------------------------


def tlv(tag: int, content: bytes) -> bytes:
    """Return a value with its tag and length."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def integer(value: int, tag: int = INTEGER) -> bytes:
    """Return an INTEGER in its shortest form."""
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def oid(text: str) -> bytes:
    """Return the contents of an OBJECT IDENTIFIER. Raises BerError for text that is none."""
    try:
        numbers = [int(part) for part in text.split(".")]
    except ValueError:
        raise BerError(f"expected an OID, found {text[:60]!r}") from None
    if len(numbers) < 2 or numbers[0] > 2 or (numbers[0] < 2 and numbers[1] > 39) or min(numbers) < 0:
        raise BerError(f"expected an OID, found {text[:60]!r}")
    out = bytearray()
    for number in (numbers[0] * 40 + numbers[1], *numbers[2:]):
        if number > 0xFFFFFFFF + 80:
            raise BerError(f"expected numbers of 32 bits in an OID, found {text[:60]!r}")
        shift = max(0, (number.bit_length() - 1) // 7) * 7
        while shift:
            out.append(0x80 | (number >> shift) & 0x7F)
            shift -= 7
        out.append(number & 0x7F)
    return bytes(out)


# --- in ---------------------------------------------------------------------------------------------------------------


def long_length(data: bytes, at: int, first: int) -> tuple[int, int]:
    """Return (length, where the contents begin) of a long form that began with ``first`` just before ``at``."""
    size = first & 0x7F
    if not 0 < size <= 4:
        raise BerError("expected a definite length of at most 4 octets, found an indefinite or longer one")
    if at + size > len(data):
        raise BerError("expected a length, found the end")
    return int.from_bytes(data[at : at + size], "big"), at + size


def header(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Return (where the contents begin, where they end) of the value with ``tag`` at ``at``. Raises BerError."""
    if at + 2 > end or data[at] != tag:
        found = f"0x{data[at]:02x}" if at < end else "the end"
        raise BerError(f"expected tag 0x{tag:02x}, found {found}")
    length = data[at + 1]
    at += 2
    if length >= 0x80:
        length, at = long_length(data, at, length)
    if at + length > end:
        raise BerError(f"expected {length} octets, found {max(end - at, 0)}")
    return at, at + length


def read_integer(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return (an INTEGER of at most 32 bits, where the next value begins). Raises BerError."""
    start, stop = header(data, at, end, INTEGER)
    if not 0 < stop - start <= 5:
        raise BerError(f"expected an INTEGER of at most 5 octets, found {stop - start}")
    return int.from_bytes(data[start:stop], "big", signed=True), stop


def read_octets(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """Return (the contents of an OCTET STRING, where the next value begins). Raises BerError."""
    start, stop = header(data, at, end, OCTETS)
    return data[start:stop], stop


def oid_text(content: bytes) -> str:
    """Return the dotted text of an OBJECT IDENTIFIER's contents; empty contents are ``0.0``, as net-snmp reads them.

    Raises BerError.
    """
    if not content:
        return "0.0"
    if content[-1] & 0x80 or len(content) > 5 * _MAX_SUBIDENTIFIERS:
        raise BerError(f"expected an OID of at most {_MAX_SUBIDENTIFIERS} numbers, found {content[:20].hex()}")
    numbers: list[int] = []
    number = 0
    for octet in content:
        if octet == 0x80 and not number:
            raise BerError("expected an OID's number in its shortest form, found a leading 0x80")
        number = number << 7 | octet & 0x7F
        if number > 0xFFFFFFFF + 80:
            raise BerError("expected numbers of 32 bits in an OID, found a larger one")
        if octet < 0x80:
            numbers.append(number)
            number = 0
    if len(numbers) > _MAX_SUBIDENTIFIERS or max(numbers[1:], default=0) > 0xFFFFFFFF:
        raise BerError("expected numbers of 32 bits in an OID, at most 128, found more")
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - first * 40, *numbers[1:])))


class Names(dict[bytes, str]):
    """The text of OIDs by their contents, each made once while the device keeps asking for the same."""

    def __missing__(self, content: bytes) -> str:
        text = oid_text(content)
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        self[content] = text
        return text


class Asked(dict[str, bytes]):
    """Variable bindings of requests (an OID and NULL) by the OID's text, each made once."""

    def __missing__(self, text: str) -> bytes:
        binding = tlv(SEQUENCE, tlv(OID, oid(text)) + b"\x05\x00")
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        self[text] = binding
        return binding


def _integer(content: bytes) -> Wire:
    if not 0 < len(content) <= 8:
        raise BerError(f"expected an INTEGER of 1 to 8 octets, found {len(content)}")
    return Wire("integer", int.from_bytes(content, "big", signed=True))


def _unsigned(kind: Kind, size: int) -> Callable[[bytes], Wire]:
    """Return a reader of unsigned numbers. A negative one is the same bits without the octet 0 that should lead them:

    makers of agents forget it, and net-snmp reads it so.
    """
    mask = (1 << 8 * size) - 1

    def read(content: bytes) -> Wire:
        if not 0 < len(content) <= size + 1 or (len(content) > size and content[0]):
            raise BerError(f"expected {kind} of 1 to {size} octets, found {len(content)}")
        return Wire(kind, int.from_bytes(content, "big", signed=True) & mask)

    return read


def _address(content: bytes) -> Wire:
    if len(content) != 4:
        raise BerError(f"expected an IpAddress of 4 octets, found {len(content)}")
    return Wire("address", "{}.{}.{}.{}".format(*content))


_READERS: Final[dict[int, Callable[[bytes], Wire]]] = {
    INTEGER: _integer,
    OCTETS: lambda content: Wire("octets", content),
    OID: lambda content: Wire("oid", oid_text(content)),
    0x40: _address,
    0x41: _unsigned("counter32", 4),
    0x42: _unsigned("gauge32", 4),
    0x43: _unsigned("ticks", 4),
    0x44: opaque,
    0x46: _unsigned("counter64", 8),
    0x47: _unsigned("gauge32", 4),  # UInteger32 of RFC 1442, which is Unsigned32 by now
}


def _rare(tag: int, content: bytes) -> Wire:
    """Return a value without contents, or one of a type that SNMP does not know as ``opaque``."""
    empty = _EMPTY.get(tag)
    if empty is not None:
        if content:
            raise BerError(f"expected nothing in a value of tag 0x{tag:02x}, found {len(content)} octets")
        return empty
    if tag & 0x20 or tag & 0x1F == 0x1F:
        raise BerError(f"expected a primitive value, found tag 0x{tag:02x}")
    return Wire("opaque", content)


def bindings(data: bytes, at: int, end: int, most: int, names: Names) -> list[tuple[str, Wire]]:
    """Return the (OID, value) pairs of a variable-binding list's contents, at most ``most``. Raises BerError."""
    found: list[tuple[str, Wire]] = []
    while at < end:
        if len(found) >= most:
            raise BerError(f"expected at most {most} variables, found more")
        if (
            at + 4 < end
            and data[at] == SEQUENCE
            and data[at + 1] < 0x80
            and data[at + 2] == OID
            and data[at + 3] < 0x80
        ):
            # nearly every binding: its length and that of its name take one octet
            stop = at + 2 + data[at + 1]
            start = at + 4
            cut = start + data[at + 3]
        else:
            at, stop = header(data, at, end, SEQUENCE)
            start, cut = header(data, at, stop, OID)
        if cut + 2 > stop or stop > end:
            raise BerError("expected a name and a value in a binding, found less")
        name = names[data[start:cut]]
        tag, length, start = data[cut], data[cut + 1], cut + 2
        if length >= 0x80:
            length, start = long_length(data, start, length)
        if start + length != stop:
            raise BerError(f"expected one value of {name} in {stop - start} octets, found {length}")
        reader = _READERS.get(tag)
        found.append((name, reader(data[start:stop]) if reader is not None else _rare(tag, data[start:stop])))
        at = stop
    return found
