"""Saved SNMP walks: the format of snmpsim (``.snmprec``) and the output of ``snmpwalk -On``.

Pure: text in, answers out. A line that cannot be read is counted and named, never skipped in silence.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from firmware_profiles.answers import Kind, Wire, oid_key, opaque

TAGS: Final[Mapping[int, Kind]] = {
    2: "integer",
    4: "octets",
    5: "null",
    6: "oid",
    64: "address",
    65: "counter32",
    66: "gauge32",
    67: "ticks",
    68: "opaque",
    70: "counter64",
    128: "absent",
    129: "absent",
    130: "absent",
}
"""ASN.1 tags as ``.snmprec`` writes them (RFC 2578, RFC 3416 for 128 to 130)."""
_TAG_OF: Final = {"integer": 2, "octets": 4, "null": 5, "oid": 6, "address": 64, "counter32": 65}
_TAG_OF.update({"gauge32": 66, "ticks": 67, "opaque": 68, "counter64": 70})
_OID: Final = re.compile(r"\.?\d+(?:\.\d+)*\Z")
_WALK_LINE: Final = re.compile(r"(?:\.1|iso|1)((?:\.\d+)+) = (.*)\Z", re.DOTALL)
_WALK_VALUE: Final = re.compile(r"([A-Za-z0-9-]+(?: [a-z]+)?): ?(.*)\Z", re.DOTALL)
_IN_PARENTHESES: Final = re.compile(r"\((-?\d+)\)")
_LEADING_NUMBER: Final = re.compile(r"-?\d+")
_WALK_TYPES: Final[Mapping[str, Kind]] = {
    "INTEGER": "integer",
    "Integer32": "integer",
    "STRING": "octets",
    "Hex-STRING": "octets",
    "BITS": "octets",
    "OID": "oid",
    "IpAddress": "address",
    "Network Address": "address",
    "Counter32": "counter32",
    "Gauge32": "gauge32",
    "Unsigned32": "gauge32",
    "UInteger32": "gauge32",
    "Timeticks": "ticks",
    "Counter64": "counter64",
    "Opaque": "opaque",
    "NULL": "null",
}


class Capture(msgspec.Struct):
    """What a file holds: values by OID, and the lines (number, reason) that could not be read."""

    values: dict[str, Wire] = msgspec.field(default_factory=dict)
    bad_lines: list[tuple[int, str]] = msgspec.field(default_factory=list)


def read_capture(text: str) -> Capture:
    """Return the answers in a ``.snmprec`` file or in the output of ``snmpwalk -On``, told apart line by line.

    An empty file gives an empty capture; ``bad_lines`` tells what was not understood.
    """
    capture = Capture()
    for number, line in _joined(line.rstrip("\r") for line in text.split("\n")):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            oid, wire = _snmprec_line(line) if "|" in line.split("=", 1)[0] else _walk_line(line)
        except ValueError as error:
            capture.bad_lines.append((number, str(error)))
            continue
        if oid in capture.values:
            capture.bad_lines.append((number, f"{oid} stands twice"))
        elif wire is not None:
            capture.values[oid] = wire
    return capture


def _joined(lines: Iterable[str]) -> Iterable[tuple[int, str]]:
    """Yield (line number, logical line): ``snmpwalk`` breaks texts with newlines and long hex over lines."""
    pending, start = "", 0
    for number, line in enumerate(lines, 1):
        begins = _WALK_LINE.match(line) or "|" in line or line.startswith("#") or not pending
        if begins:
            if pending:
                yield start, pending
            pending, start = line, number
        elif not _WALK_LINE.match(pending):
            yield start, pending
            pending, start = line, number
        else:
            pending += "\n" + line
    if pending:
        yield start, pending


def _snmprec_line(line: str) -> tuple[str, Wire]:
    oid, tag, value = line.rstrip("\r\n").split("|", 2) if line.count("|") >= 2 else ("", "", "")
    if not _OID.match(oid):
        raise ValueError(f"expected OID|TYPE|VALUE, found {line[:60]!r}")
    hexadecimal = tag.endswith("x")
    number = tag.removesuffix("x")
    if not number.isdigit() or int(number) not in TAGS:
        raise ValueError(f"expected an ASN.1 type number, found {tag[:20]!r}")
    return oid.strip("."), _typed(TAGS[int(number)], value, hexadecimal)


def _typed(kind: Kind, value: str, hexadecimal: bool = False) -> Wire:
    if hexadecimal:
        octets = bytes.fromhex(value)
        if kind in ("octets", "opaque"):
            return opaque(octets) if kind == "opaque" else Wire(kind, octets)
        value = octets.decode("ascii")
    if kind in ("octets", "opaque"):
        return Wire(kind, value.encode("utf-8", "surrogateescape"))
    if kind in ("null", "absent"):
        return Wire(kind, None)
    if kind == "oid":
        return Wire(kind, value.strip().strip("."))
    if kind == "address":
        return Wire(kind, value.strip())
    return Wire(kind, int(value))


def _walk_line(line: str) -> tuple[str, Wire | None]:
    found = _WALK_LINE.match(line)
    if found is None:
        raise ValueError(f"expected '.OID = TYPE: value' or OID|TYPE|VALUE, found {line[:60]!r}")
    oid, rest = f"1{found[1]}", found[2]
    if rest.startswith(("No Such ", "No more variables")):
        return oid, None
    if rest.strip() in ('""', ""):
        return oid, Wire("octets", b"")
    if rest.strip() == "NULL":
        return oid, Wire("null", None)
    value = _WALK_VALUE.match(rest.removeprefix("Wrong Type (should be ").split("): ", 1)[-1])
    if value is None or value[1] not in _WALK_TYPES:
        raise ValueError(f"expected a type that snmpwalk prints, found {rest[:60]!r}")
    kind, body = _WALK_TYPES[value[1]], value[2]
    if value[1] in ("Hex-STRING", "BITS"):
        return oid, Wire(kind, bytes.fromhex(re.match(r"[0-9A-Fa-f\s]*", body)[0]))  # type: ignore[index]
    if kind in ("octets", "opaque"):
        return oid, Wire(kind, _unquoted(body).encode("utf-8", "surrogateescape"))
    if kind in ("oid", "address", "null"):
        return oid, _typed(kind, re.sub(r"\Aiso(?=\.)", "1", body.strip()))
    if re.match(r"-?\d*\.\d", body):
        raise ValueError(f"expected a whole number, found {body[:20]!r} (a display hint has moved its point)")
    # snmpwalk prints 'up(1)', '(4134) 0:00:41.34' and '42 seconds' when it knows the object's MIB
    number = _IN_PARENTHESES.search(body) or _LEADING_NUMBER.search(body)
    if number is None:
        raise ValueError(f"expected a number, found {body[:40]!r}")
    return oid, Wire(kind, int(number[number.lastindex or 0]))


def _unquoted(body: str) -> str:
    body = body.strip("\r\n")
    if len(body) >= 2 and body[0] == body[-1] == '"':
        return re.sub(r'\\(["\\])', r"\1", body[1:-1])
    return body


def write_capture(values: Mapping[str, Wire]) -> str:
    """Return the values as ``.snmprec`` text, sorted by OID; octets that are not plain text are written in hex."""
    lines: list[str] = []
    for oid in sorted(values, key=oid_key):
        kind, value = values[oid]
        if kind == "absent":
            continue
        if kind == "number" and isinstance(value, int | float):
            kind, value = "opaque", b"\x9f\x79\x08" + struct.pack(">d", value)
        tag = str(_TAG_OF[kind])
        if isinstance(value, bytes):
            plain = value.isascii() and value.decode("ascii").isprintable() and b"|" not in value
            text = value.decode("ascii") if plain else value.hex()
            tag += "" if plain else "x"
        else:
            text = "" if value is None else str(value)
        lines.append(f"{oid}|{tag}|{text}")
    return "\n".join(lines) + "\n" if lines else ""
