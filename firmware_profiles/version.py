"""Firmware versions: text to numbers, and ranges of them.

Makers write ``00.07.06.18``, ``6.3.6 (2022-06-16)``, ``15.8(3)M4``, ``v7.4.5-build249``. What they share is a leading
run of numbers; what follows the first letter (a build, a train) tells apart builds, not layouts, and is not compared.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from itertools import zip_longest
from typing import Final

import msgspec

_TOKEN: Final = re.compile(r"\d+|[A-Za-z]+")
_COMPARATOR: Final = re.compile(r"(>=|<=|>|<|=)(\d+(?:\.\d+)*)\Z")
_MAX_PARTS: Final = 8
_MAX_DIGITS: Final = 9


class Version(msgspec.Struct, frozen=True):
    """A parsed version: ``numbers`` most significant first, ``prefix`` the platform's name before it (or empty)."""

    numbers: tuple[int, ...]
    prefix: str = ""

    def __str__(self) -> str:
        text = ".".join(map(str, self.numbers))
        return f"{self.prefix} {text}" if self.prefix else text


class VersionError(ValueError):
    """A version or a range that is not one; ``text`` is what was found."""

    def __init__(self, text: str, expected: str) -> None:
        super().__init__(f"expected {expected}, found {text[:80]!r}")
        self.text = text


def parse_version(text: str, pattern: str | None = None) -> Version:
    """Return the version in ``text``.

    ``pattern`` is a regular expression with a group ``version`` and, where the platform matters, a group ``prefix``;
    without one the text itself is the version, a leading ``v`` allowed. Raises VersionError where there is none.
    """
    prefix, body = "", text.strip()
    if pattern is not None:
        found = re.search(pattern, text)
        if found is None:
            raise VersionError(text, f"a version like {pattern}")
        groups = found.groupdict()
        prefix, body = groups.get("prefix") or "", groups.get("version") or ""
    body = re.sub(r"\A[vV](?=\d)", "", body).split(maxsplit=1)[0] if body.strip() else ""
    numbers: list[int] = []
    for token in _TOKEN.findall(body):
        if not token.isdigit() or len(numbers) == _MAX_PARTS or len(token) > _MAX_DIGITS:
            break
        numbers.append(int(token))
    if not numbers:
        raise VersionError(text, "a version that begins with a number")
    return Version(tuple(numbers), prefix)


def compare(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Return -1, 0 or 1 as ``one`` is before, equal to or after ``other``; missing parts count as 0."""
    for left, right in zip_longest(one, other, fillvalue=0):
        if left != right:
            return -1 if left < right else 1
    return 0


class VersionRange(msgspec.Struct, frozen=True):
    """Bounds on a version and globs on its prefix; empty bounds or prefixes admit everything."""

    bounds: tuple[tuple[str, tuple[int, ...]], ...] = ()
    prefixes: tuple[str, ...] = ()

    def __contains__(self, version: Version) -> bool:
        if self.prefixes and not any(fnmatchcase(version.prefix, glob) for glob in self.prefixes):
            return False
        return all(_holds(operator, compare(version.numbers, bound)) for operator, bound in self.bounds)

    def edges(self) -> list[tuple[int, ...]]:
        """Return versions at, just above and just below each bound: where ranges can differ."""
        found: list[tuple[int, ...]] = [(0,), (9999,)]
        for _, bound in self.bounds:
            below = (*bound[:-1], bound[-1] - 1, 9999) if bound[-1] else (*bound[:-1], 0)
            found += [bound, (*bound, 1), below]
        return found


def _holds(operator: str, order: int) -> bool:
    return {">=": order >= 0, "<=": order <= 0, ">": order > 0, "<": order < 0, "=": order == 0}[operator]


def parse_range(text: str, prefixes: tuple[str, ...] = ()) -> VersionRange:
    """Return the range written as ``>=7.0 <7.10`` (all must hold; ``*`` admits all). Raises VersionError."""
    if text.strip() == "*":
        return VersionRange((), prefixes)
    bounds: list[tuple[str, tuple[int, ...]]] = []
    for word in text.split():
        found = _COMPARATOR.match(word)
        if found is None:
            raise VersionError(text, "a range like '>=7.0 <7.10' or '*'")
        bounds.append((found[1], tuple(map(int, found[2].split(".")))))
    if not bounds:
        raise VersionError(text, "a range like '>=7.0 <7.10' or '*'")
    return VersionRange(tuple(bounds), prefixes)
