"""What else a serial port talks, from its first bytes: a modem has four ports that look alike. Pure."""

from __future__ import annotations

import re
from typing import Final

SAMPLE: Final = 512
"""Bytes that are enough to tell."""
_NMEA: Final = re.compile(rb"[$!][A-Z]{4,5},[\x20-\x7e]{0,80}\*[0-9A-Fa-f]{2}")
_AT: Final = re.compile(rb"(?:^|[\r\n])(?:OK|ERROR|\+CM[ES] ERROR:[^\r\n]*|[+^][A-Z]{2,12}:[^\r\n]*)[\r\n]")
_UBX: Final = b"\xb5\x62"
_FRAME_END: Final = b"\x7e"
_TEXT: Final = frozenset((*range(0x20, 0x7F), 0x09, 0x0A, 0x0D))


def recognise(sample: bytes) -> str | None:
    """Return what ``sample`` is, in words that end a sentence, or None where nothing came or it is plain text."""
    sample = sample[:SAMPLE]
    if _NMEA.search(sample):
        return "it talks NMEA, as a GNSS receiver does"
    if _AT.search(sample):
        return "it talks AT, as a modem does"
    if _UBX in sample:
        return "it talks UBX, the binary protocol of u-blox receivers"
    binary = sum(byte not in _TEXT for byte in sample)
    if sample.count(_FRAME_END) >= 2 and binary * 4 >= len(sample):
        return "it talks frames that end in 0x7E, as a Qualcomm DIAG port does"
    if sample and binary * 4 >= len(sample):
        return "it talks a binary protocol, or at another baud rate"
    return None
