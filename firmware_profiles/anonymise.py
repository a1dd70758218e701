"""A capture that may be shown to others: identifiers become made-up ones of the same shape, always the same for one.

What is replaced: names, places and contacts of the system group, addresses of networks and hardware, runs of 14 and
more digits (IMEI, IMSI, ICCID), and every text that a caller names (serial numbers). A replacement depends on the
original and a key that is thrown away, so that joins between tables survive and nobody can go back.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping
from typing import Final

from firmware_profiles.answers import Wire

_PRIVATE: Final = tuple(f"1.3.6.1.2.1.1.{number}.0" for number in (4, 5, 6))
_DIGITS: Final = re.compile(r"(?<!\d)\d{14,22}(?!\d)")
_MAC: Final = re.compile(
    r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![0-9A-Fa-f])"
)
_PART: Final = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4: Final = re.compile(rf"(?<![\w.-])(?:{_PART}\.){{3}}{_PART}(?![\w.-])")
_ADDRESS_COLUMNS: Final = ("1.3.6.1.2.1.2.2.1.6.", "1.3.6.1.2.1.3.1.1.2.", "1.3.6.1.2.1.4.22.1.2.")
_KEPT: Final = frozenset({"0.0.0.0", "127.0.0.1", "255.255.255.255"})


def anonymised(
    values: Mapping[str, Wire], key: bytes, secrets: Collection[str] = (), keep: Collection[str] = ()
) -> dict[str, Wire]:
    """Return the values with identifiers replaced.

    ``secrets`` are texts to replace wherever they stand; ``keep`` are whole texts to leave (a firmware of four numbers
    looks like an address).
    """
    longest_first = sorted(secrets, key=len, reverse=True)
    return {oid: wire if wire.text() in keep else _wire(oid, wire, key, longest_first) for oid, wire in values.items()}


def _wire(oid: str, wire: Wire, key: bytes, secrets: list[str]) -> Wire:
    if oid in _PRIVATE:
        return Wire(wire.kind, b"<private>")
    if wire.kind == "address":
        return Wire(wire.kind, _ipv4(str(wire.value), key))
    if not isinstance(wire.value, bytes):
        return wire
    text = wire.text()
    if text is None or oid.startswith(_ADDRESS_COLUMNS):
        return Wire(wire.kind, _mac_octets(wire.value, key)) if len(wire.value) == 6 else wire
    for secret in secrets:
        if secret:
            text = text.replace(secret, _same_shape(secret, key))
    text = _MAC.sub(lambda found: _mac_text(found[0], found[1], key), text)
    text = _IPV4.sub(lambda found: _ipv4(found[0], key), text)
    text = _DIGITS.sub(lambda found: found[0][:2] + _same_shape(found[0][2:], key), text)
    return wire if text == wire.text() else Wire(wire.kind, text.encode())


def _stream(text: str | bytes, key: bytes) -> bytes:
    octets = text.encode() if isinstance(text, str) else text
    return hmac.new(key, octets, hashlib.sha512).digest()


def _same_shape(text: str, key: bytes) -> str:
    noise = _stream(text, key)
    made: list[str] = []
    for position, character in enumerate(text):
        number = noise[position % len(noise)]
        if character.isdigit():
            made.append(str(number % 10))
        elif character.isascii() and character.isalpha():
            made.append(chr((65 if character.isupper() else 97) + number % 26))
        else:
            made.append(character)
    return "".join(made)


def _mac_octets(octets: bytes, key: bytes) -> bytes:
    return octets if not any(octets) else bytes.fromhex("02005e") + _stream(octets, key)[:3]


def _mac_text(text: str, separator: str, key: bytes) -> str:
    octets = bytes.fromhex(text.replace(separator, ""))
    made = _mac_octets(octets, key).hex(separator)
    return made.upper() if text.upper() == text else made


def _ipv4(text: str, key: bytes) -> str:
    return text if text in _KEPT or text.startswith("255.") else f"192.0.2.{1 + _stream(text, key)[0] % 254}"
