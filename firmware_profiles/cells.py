"""One cell to one value: types, patterns, fillers, enumerations, numbers in text, counters. Pure."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Final

import msgspec

from firmware_profiles.answers import NUMERIC, Wire
from firmware_profiles.model import Parsing, Plain
from firmware_profiles.vocabulary import word_for
from telemetry.metrics import MAX_TEXT, Metric, Value
from telemetry.printable import readable

_NUMBER: Final = re.compile(r"([-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,3})?)\s*(.*)\Z", re.DOTALL)
_BOUND: Final = re.compile(r"(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)\Z")
_DURATION: Final = re.compile(
    r"(?:(\d{1,6})\s*(?:d|days?)[,\s]*)?(?:(\d{1,5}):)?(\d{1,3}):(\d{1,2})(?:\.\d+)?\Z", re.IGNORECASE
)
_SPELT: Final = re.compile(
    r"(?=\d)(?:(\d{1,6})\s*d\w*[,\s]*)?(?:(\d{1,6})\s*h\w*[,\s]*)?(?:(\d{1,6})\s*m\w*[,\s]*)?(?:(\d{1,9})\s*s\w*)?\Z",
    re.IGNORECASE,
)
_ALL_ONES: Final = frozenset({2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1})
"""What a field of 32 or 64 bits holds that was never filled in, or -1 read without its sign."""
_SIGNED_ONES: Final = frozenset({2**31 - 1, -(2**31)})
"""The same of a signed field; counters pass through them."""
_COUNTERS: Final = frozenset({"counter32", "counter64"})
_MAX_NUMBER_TEXT: Final = 64
_MAX_SEEN: Final = 60


class Outcome(msgspec.Struct, frozen=True):
    """What a cell gave: a value, or the kind of flag that says why there is none (None: it told nothing)."""

    value: Value | None = None
    flag: str | None = None
    seen: str = ""


NOTHING: Final = Outcome()


def shown(value: object) -> str:
    """Return a value as a flag shows it: text in quotes, control characters escaped, at most 60 characters."""
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= _MAX_SEEN else text[: _MAX_SEEN - 3] + "..."


@lru_cache(maxsize=2048)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the compiled pattern of a profile. Raises re.error."""
    return re.compile(pattern, re.IGNORECASE)


def same(raw: str, wanted: Plain) -> bool:
    """Return whether a raw text is the value a profile names: as text in any case, or as a number."""
    if isinstance(wanted, bool):
        return raw.casefold() == str(wanted).casefold()
    if isinstance(wanted, int | float):
        try:
            return float(raw) == wanted
        except ValueError:
            return False
    return wanted is not None and raw.casefold() == wanted.casefold()


def is_filler(raw: str, number: float | None, fillers: list[Plain]) -> bool:
    """Return whether ``raw`` (or the number it holds, before scaling) is one of the profile's fillers."""
    for filler in fillers:
        bound = _BOUND.match(filler) if isinstance(filler, str) else None
        if bound and number is not None:
            limit = float(bound[2])
            if {"<": number < limit, "<=": number <= limit, ">": number > limit, ">=": number >= limit}[bound[1]]:
                return True
        elif (
            number is not None and isinstance(filler, int | float) and not isinstance(filler, bool) and number == filler
        ) or same(raw, filler):
            return True
    return False


def all_ones(number: float | None, wire: Wire, parsing: Parsing) -> bool:
    """Return whether a number is all ones of its wire type: "not known", whatever it counts."""
    if number is None:
        return False
    exact = wire.value if isinstance(wire.value, int) and not isinstance(wire.value, bool) else number
    # 2^63 - 1 and 2^64 - 1 are equal to the floats that they are rounded to where that is all that came.
    ones = exact in _ALL_ONES or exact in (float(2**63), float(2**64))
    return ones or (exact in _SIGNED_ONES and wire.kind not in _COUNTERS and parsing.counter is None)


def number_in(text: str, parsing: Parsing) -> float | None:
    """Return the number that a text is, or None: decimal with an allowed unit behind it, hexadecimal, or a duration."""
    if len(text) > _MAX_NUMBER_TEXT:
        return None
    if parsing.duration:
        found = _DURATION.match(text) or _SPELT.match(text)
        if found is None:
            return None
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    if parsing.base == 16:
        try:
            return float(int(text, 16))
        except ValueError:
            return None
    found = _NUMBER.match(text)
    if found is None:
        return None
    rest = found[2].strip()
    if rest and rest.casefold() not in (unit.casefold() for unit in parsing.unit or ()):
        return None
    number = float(found[1])
    return number if math.isfinite(number) else None


def plain_number(wire: Wire) -> float | None:
    """Return the number of a numeric type, or None for another type and for what no float can hold."""
    if wire.kind not in NUMERIC or not isinstance(wire.value, int | float):
        return None
    try:
        number = float(wire.value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def parse_cell(wire: Wire | None, parsing: Parsing, metric: Metric) -> Outcome:
    """Return what ``wire`` says for ``metric`` under ``parsing``. Never raises, whatever a device sent."""
    if wire is None or wire.kind in ("null", "absent"):
        return NOTHING
    if parsing.types is not None and wire.kind not in parsing.types:
        return Outcome(flag="unparsed", seen=f"{shown(wire.value)} of type {wire.kind}")
    text = wire.text()
    if text is None:
        return Outcome(flag="unparsed", seen=shown(wire.value))
    if parsing.strip:
        text = text.rstrip(parsing.strip)
    if not text:
        return NOTHING
    return parse_text(text, parsing, metric, wire)


def parse_text(text: str, parsing: Parsing, metric: Metric, wire: Wire) -> Outcome:
    """Return what a text that is not empty says; ``wire`` is where it came from."""
    seen = shown(wire.value if not isinstance(wire.value, bytes) else text)
    if parsing.fillers and is_filler(text, None, parsing.fillers):
        return Outcome(flag="filler", seen=seen)
    if parsing.pattern is not None:
        found = compiled(parsing.pattern).search(text)
        if found is None:
            return Outcome(flag="unparsed", seen=seen)
        taken = found["value"] if "value" in found.groupdict() else found[(found.lastindex and 1) or 0]
        text = (taken or "").strip()
        if not text:
            return NOTHING
        seen = shown(text)
    number = plain_number(wire) if parsing.pattern is None else None
    if number is None and (wire.kind not in NUMERIC or parsing.pattern is not None):
        number = number_in(text, parsing)
    if (parsing.fillers and is_filler(text, number, parsing.fillers)) or (
        metric.kind != "text" and all_ones(number, wire, parsing)
    ):
        return Outcome(flag="filler", seen=seen)
    if metric.kind == "text":
        text = readable(text)
    if parsing.enum is not None or parsing.words is not None or parsing.vocabulary is not None:
        outcome = _enumerated(text, parsing, metric, seen)
        if outcome is not None:
            return outcome
    if metric.kind in ("float", "int"):
        return _number(number, wire, parsing, metric, seen)
    if metric.kind == "bool":
        if text.casefold() in ("true", "false"):
            return Outcome(value=text.casefold() == "true")
        return Outcome(flag="unknown_text", seen=seen)
    if metric.kind == "state":
        return Outcome(flag="unknown_text", seen=seen) if text not in metric.states else Outcome(value=text)
    if parsing.prefix is not None and text.isdigit():
        text = parsing.prefix + text
    if len(text) > MAX_TEXT:
        return Outcome(value=text[:MAX_TEXT], flag="truncated", seen=seen)
    return Outcome(value=text)


def _enumerated(text: str, parsing: Parsing, metric: Metric, seen: str) -> Outcome | None:
    """Return what the enumeration says; None where a plain number or text is allowed beside it."""
    for key, value in (parsing.enum or {}).items():
        if same(text, key):
            return NOTHING if value is None else Outcome(value=value)
    for pattern, value in (parsing.words or {}).items():
        if compiled(pattern).fullmatch(text):
            return NOTHING if value is None else Outcome(value=value)
    if parsing.vocabulary is not None:
        word = word_for(parsing.vocabulary, text)
        if word is not None:
            return Outcome(value=word)
    if metric.kind in ("float", "int"):
        return None
    if metric.kind == "text":
        return Outcome(value=text[:MAX_TEXT], flag="unknown_text", seen=seen)
    return Outcome(flag="unknown_text", seen=seen)


def _number(number: float | None, wire: Wire, parsing: Parsing, metric: Metric, seen: str) -> Outcome:
    if number is None:
        return Outcome(flag="unparsed", seen=seen)
    if metric.unit == "degC" and number == 0:
        # A sensor that is not there reads 0; that one moment of a real 0.0 is lost is the lesser harm.
        return Outcome(flag="filler", seen=seen)
    # counters of 64 bits do not fit a float: keep what came as a whole number whole
    exact: int | float = wire.value if isinstance(wire.value, int) and parsing.pattern is None else number
    flag = None
    if exact < 0 and parsing.counter == 32 and wire.kind == "integer" and exact >= -(2**31):
        exact, flag = exact + 2**32, "wrapped"
    if parsing.scale not in (None, 1) or parsing.offset:
        exact = round(exact * (parsing.scale if parsing.scale is not None else 1) + (parsing.offset or 0), 6)
    if not math.isfinite(exact):
        return Outcome(flag="unparsed", seen=seen)
    if parsing.range is not None and not parsing.range[0] <= exact <= parsing.range[1]:
        return Outcome(flag="unparsed", seen=f"{seen} outside {parsing.range[0]:g} to {parsing.range[1]:g}")
    return Outcome(value=math.floor(exact) if metric.kind == "int" else float(exact), flag=flag, seen=seen)
