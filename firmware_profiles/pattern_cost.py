"""What the regular expressions of profiles cost on texts that mean harm. Pure: the processor's time is an argument.

A device decides what text a pattern is tried on. Nested repetition (``(a+)+b``) then takes longer than anybody waits,
and the agent's one loop with it, so every pattern is tried on texts that are made to hurt it, from short ones on, and
given up at the first that costs more than ``MOST``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from firmware_profiles.answers import MAX_TEXT
from firmware_profiles.cells import compiled
from firmware_profiles.load import Profile
from firmware_profiles.model import Auth, Metric, Request

MOST: Final = 0.01
"""Seconds of the processor for one text; an honest pattern takes a thousandth of it."""
BODY: Final = 4096
"""Characters of an HTTP body that a profile's patterns are tried on; of everything else ``MAX_TEXT``."""
_TRIES: Final = 5
"""A text is too dear if each of so many tries was: once it may have been the machine."""
_STEPS: Final = (8, 12, 16, 18, 20, 22, 24, 28, 32, 48, 64, 96, 128, 192, 256, 1024, BODY)
_PATTERNS: Final = frozenset(("pattern", "matches", "version", "error", "ok", "expired", "challenge", "realm"))
"""Fields of a profile's parts that hold a regular expression; ``words`` has them as its keys."""
_LITERAL: Final = re.compile(r"[A-Za-z0-9 :=/_,-]{2,}")
_ESCAPED: Final = re.compile(r"\\([.()/\[\]+*?|-])|\(\?P<\w+>|\\[AZzbBdDsSwW]")
_USUAL: Final = ("a", "0", " ", ".", "-", "a ", "a.", "0.", "aA", "a0", "0 ", ", ")
_END: Final = "\x00"


def slow_patterns(profile: Profile, processor_time: Callable[[], float]) -> Iterator[tuple[str, str]]:
    """Yield (key, message) for each pattern of a profile that some text makes too dear."""
    seen: set[str] = set()
    parts = {
        "match": profile.match,
        "identity": profile.identity,
        "tables": profile.tables,
        "metrics": profile.metrics,
        "requests": profile.requests,
        "auth": profile.file.auth,
    }
    for key, pattern, longest in (found for name, part in parts.items() for found in _patterns(part, name)):
        if pattern in seen:
            continue
        seen.add(pattern)
        length = slow_length(pattern, longest, processor_time)
        if length is not None:
            most = f"{MOST * 1000:g} ms"
            yield key, f"expected a pattern that costs under {most}, found {pattern!r}, too dear at {length} characters"


@lru_cache(maxsize=1024)
def slow_length(pattern: str, longest: int, processor_time: Callable[[], float]) -> int | None:
    """Return the length of the first text of up to ``longest`` characters that costs too much, None for none.

    A pattern that does not compile costs nothing: the lint tells of it.
    """
    try:
        regex = compiled(pattern)
    except re.error:
        return None
    texts = [(start, pump) for start in _starts(pattern) for pump in _pumps(pattern)]
    for length in (step for step in _STEPS if step <= longest):
        for start, pump in texts:
            text = (start + pump * length)[: length - 1] + _END
            for method in (regex.search, regex.fullmatch):
                if all(_costs(method, text, processor_time) > MOST for _ in range(_TRIES)):
                    return length
    return None


def _costs(method: Callable[[str], object], text: str, processor_time: Callable[[], float]) -> float:
    began = processor_time()
    method(text)
    return processor_time() - began


def _patterns(part: object, key: str) -> Iterator[tuple[str, str, int]]:
    """Yield (key, pattern, length of the texts it is tried on) of everything below ``part``."""
    if isinstance(part, msgspec.Struct):
        for name in part.__struct_fields__:
            value = getattr(part, name)
            if name in _PATTERNS and isinstance(value, str):
                whole_body = isinstance(part, Request | Auth) and name in ("error", "ok", "expired")
                yield f"{key}.{name}", value, BODY if whole_body else MAX_TEXT
            elif name == "words" and isinstance(value, dict):
                yield from ((f"{key}.words", pattern, MAX_TEXT) for pattern in value)
            else:
                yield from _patterns(value, f"{key}.{name}")
    elif isinstance(part, Mapping):
        for name, value in part.items():
            yield from _patterns(value, f"{key}.{name}")
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _patterns(value, f"{key}.{value.metric}" if isinstance(value, Metric) else key)


def _plain(pattern: str) -> str:
    return _ESCAPED.sub(lambda found: found[1] or "|", pattern)


def _starts(pattern: str) -> list[str]:
    """Return beginnings that take a text past the pattern's fixed words, to where it repeats."""
    words = _LITERAL.findall(_plain(pattern))[:4]
    starts = ["", *words]
    for count in range(2, len(words) + 1):
        starts += ["".join(words[:count]), " ".join(words[:count])]
    return list(dict.fromkeys(starts))


def _pumps(pattern: str) -> list[str]:
    """Return what is worth repeating: the usual characters, and those that the pattern itself names."""
    plain = _plain(pattern)
    own = list(dict.fromkeys(character for character in plain if character.isalnum() or character in " :=/_,.-"))[:6]
    pairs = [one + other for one in own[:4] for other in own[:4] if one != other]
    return list(dict.fromkeys((*_USUAL, *own, *pairs)))
