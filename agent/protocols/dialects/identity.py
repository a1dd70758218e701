"""Who the modem says it is: ``ATI``, ``+CGMI +CGMM +CGMR +CGSN``, the SIM's number. Pure.

The answers come with or without their name and quotes (``+CGMM: "FM350-GL"``, ``RM500U-CNV``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from agent.protocols.dialects.answers import Exchange
from telemetry.readings import Identity

_PARTS: Final = {
    "vendor": ("+CGMI", "+GMI"),
    "model": ("+CGMM", "+GMM"),
    "firmware": ("+CGMR", "+GMR"),
    "imei": ("+CGSN", "+GSN", "+EGMR"),
    "imsi": ("+CIMI",),
    "iccid": ("+CCID", "+ICCID", "+QCCID", "+CICCID", "#CCID", "^ICCID"),
}
_ABOUT: Final = {"manufacturer": "vendor", "model": "model", "revision": "firmware", "imei": "imei"}
_SHAPES: Final = {"imei": r"\d{15}", "imsi": r"\d{14,15}", "iccid": r"\d{18,20}[0-9A-Fa-f]?"}
_PLACEHOLDER: Final = re.compile(r"0+|f+", re.IGNORECASE)
_NAMED: Final = re.compile(r"([+^#][A-Z0-9]+)\s*:\s*(.*)", re.IGNORECASE)
_LONGEST: Final = 64


def identify(exchanges: Iterable[Exchange]) -> Identity:
    """Return what the exchanges tell; the first answer to each question counts, an empty one is none."""
    found: dict[str, str] = {}
    for exchange in exchanges:
        if exchange.command is None:
            continue
        asked = [part.strip().rstrip("?") for part in exchange.command.upper().removeprefix("AT").split(";")]
        if asked == ["I"]:
            _about(exchange.lines, found)
            continue
        for part, names in _PARTS.items():
            if part in found or not any(name in asked for name in names):
                continue
            value = _value(exchange.lines, names, alone=len(asked) == 1)
            if _valid(part, value):  # a masked IMEI is none
                found[part] = value
    return Identity(**found)


def _value(lines: tuple[str, ...], names: tuple[str, ...], alone: bool) -> str:
    for line in lines:
        named = _NAMED.match(line)
        if named is not None and named[1].upper() in names:
            return named[2].strip().strip('"').strip()
    if alone:
        plain = [line.strip().strip('"') for line in lines if _NAMED.match(line) is None and line.strip()]
        if plain:
            return re.sub(r"^Revision:\s*", "", plain[0], flags=re.IGNORECASE)
    return ""


def _about(lines: tuple[str, ...], found: dict[str, str]) -> None:
    """``ATI``: ``key: value`` lines (Huawei, Sierra, SIMCom) or maker and model as two bare lines (Quectel)."""
    bare = []
    for line in lines:
        key, colon, value = line.partition(":")
        part = _ABOUT.get(key.strip().lower())
        if colon and part is not None:
            if _valid(part, value.strip()):
                found.setdefault(part, value.strip())
        elif not colon and line.strip():
            bare.append(line.strip())
    if len(bare) >= 2:
        found.setdefault("vendor", bare[0][:_LONGEST])
        found.setdefault("model", bare[1][:_LONGEST])


def _valid(part: str, value: str) -> bool:
    if part not in _SHAPES:
        return 0 < len(value) <= _LONGEST
    return re.fullmatch(_SHAPES[part], value, re.ASCII) is not None and not _PLACEHOLDER.fullmatch(value)
