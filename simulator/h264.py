"""A synthetic H.264 stream as RTP packets (RFC 6184, mode 1): right in form, its pictures are noise. Pure."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

FRAMES_PER_SECOND = 25
CLOCK_HZ = 90_000
PAYLOAD_TYPE = 96
_SPS = bytes.fromhex("6742c01fda0280b6")
_PPS = bytes.fromhex("68ce3c80")
_GROUP = FRAMES_PER_SECOND
"""Frames from one whole picture to the next."""
_MOST = 1200
"""Bytes of payload in a packet."""
_NOISE = random.Random(6184).randbytes(16_384)
SDP_PARAMETERS = "profile-level-id=42c01f;packetization-mode=1;sprop-parameter-sets=Z0LAH9oCgLY=,aM48gA=="


class Packetiser:
    """Numbers packets of one stream; ``source`` is its SSRC. Where the picture is frozen, the time stamp stands."""

    def __init__(self, source: int) -> None:
        self._source = source
        self._sequence = source & 0xFFFF
        self._frame = -1

    def frame(self, *, frozen: bool = False) -> list[bytes]:
        """Return the packets of the next frame, or more of the same one."""
        if not frozen or self._frame < 0:
            self._frame += 1
        stamp = (self._source + self._frame * CLOCK_HZ // FRAMES_PER_SECOND) & 0xFFFFFFFF
        payloads = [part for unit in _units(self._frame) for part in _parts(unit)]
        packets = []
        for place, payload in enumerate(payloads):
            marker = 0x80 if place == len(payloads) - 1 else 0
            head = struct.pack("!BBHII", 0x80, PAYLOAD_TYPE | marker, self._sequence, stamp, self._source)
            packets.append(head + payload)
            self._sequence = (self._sequence + 1) & 0xFFFF
        return packets


def _units(frame: int) -> Iterator[bytes]:
    size = 5_200 + frame * 37 % 800 if frame % _GROUP == 0 else 700 + frame * 131 % 1_500
    begin = frame * 61 % (len(_NOISE) - 8_000)
    if frame % _GROUP == 0:
        yield _SPS
        yield _PPS
    yield (b"\x65" if frame % _GROUP == 0 else b"\x41") + _NOISE[begin : begin + size]


def _parts(unit: bytes) -> Iterator[bytes]:
    """Yield a NAL unit as it is, or as FU-A fragments where it is long (RFC 6184 section 5.8)."""
    if len(unit) <= _MOST:
        yield unit
        return
    indicator, kind, body = (unit[0] & 0xE0) | 28, unit[0] & 0x1F, unit[1:]
    for at in range(0, len(body), _MOST - 2):
        flags = (0x80 if at == 0 else 0) | (0x40 if at + _MOST - 2 >= len(body) else 0)
        yield bytes((indicator, flags | kind)) + body[at : at + _MOST - 2]
