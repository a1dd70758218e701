"""The part of a session description that playing a stream needs (RFC 4566, RFC 2326 appendix C). Pure."""

from __future__ import annotations

from typing import Final

import msgspec

_STATIC: Final = {
    26: ("JPEG", 90000),
    31: ("H261", 90000),
    32: ("MPV", 90000),
    33: ("MP2T", 90000),
    34: ("H263", 90000),
}
"""Static payload types of video with their encoding and clock rate in Hz (RFC 3551 section 6)."""
_VIDEO_RATE: Final = 90000
_MAX_TRACKS: Final = 64


class Track(msgspec.Struct, frozen=True):
    """One ``m=`` section: kind (``video``, ``audio``), payload types, control, the first one's codec and clock (Hz)."""

    kind: str
    payload_types: tuple[int, ...]
    control: str
    codec: str
    clock_rate: int


class Description(msgspec.Struct, frozen=True):
    """The tracks in their order, and the control of the whole (``*`` where none is given)."""

    tracks: tuple[Track, ...]
    control: str


def parse_sdp(body: bytes) -> Description:
    """Return what the description says. Lines that are not understood are passed over; a bad one never raises."""
    session: list[str] = []
    sections: list[list[str]] = []
    for line in body.decode("utf-8", errors="replace").splitlines():
        line = line.strip()
        if line.startswith("m="):
            sections.append([line])
        else:
            (sections[-1] if sections else session).append(line)
    tracks = tuple(track for section in sections[:_MAX_TRACKS] if (track := _track(section)) is not None)
    return Description(tracks, _attribute(session, "control") or "*")


def resolve(base: str, control: str) -> str:
    """Return the URL of a control (RFC 2326 appendix C.1.1).

    A relative one is put behind the base with a slash, as clients do, not resolved as a path: the last part of a
    camera's URL is its channel, often with a query, and must stay.
    """
    if control in ("", "*"):
        return base
    if control.lower().startswith("rtsp://"):
        return control
    return base + ("" if base.endswith("/") else "/") + control.lstrip("/")


def _attribute(lines: list[str], name: str) -> str | None:
    prefix = f"a={name}:"
    return next((line[len(prefix) :].strip() for line in lines if line.startswith(prefix)), None)


def _track(lines: list[str]) -> Track | None:
    kind, *rest = lines[0][2:].split() or [""]
    if len(rest) < 3:
        return None
    types = tuple(int(text) for text in rest[2:] if text.isascii() and text.isdigit() and len(text) <= 3)
    if not types:
        return None
    codec, rate = _STATIC.get(types[0], ("", _VIDEO_RATE))
    for line in lines:
        if line.startswith("a=rtpmap:"):
            number, _, encoding = line[len("a=rtpmap:") :].strip().partition(" ")
            if number == str(types[0]):
                name, _, parameters = encoding.strip().partition("/")
                hertz = parameters.partition("/")[0]
                codec = name.upper()
                rate = int(hertz) if hertz.isascii() and hertz.isdigit() and 0 < len(hertz) < 10 else rate
    return Track(kind.lower(), types, _attribute(lines, "control") or "", codec, rate or _VIDEO_RATE)
