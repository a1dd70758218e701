"""Reading one rule: what is the same for every kind, and the promise of a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from collector.core.rules.shapes import OLD_WORDS, RuleShape
from collector.core.rules.types import Rule
from telemetry.durations import Span, milliseconds
from telemetry.faults import FAULTS
from telemetry.files import FileError
from telemetry.metrics import nearest


class Kind(msgspec.Struct, frozen=True):
    """A kind of rule: its file has the type, this entry, and all that judges by it."""

    word: str
    """The key of a condition that makes a rule one of this kind; empty: whatever has none of the others'."""
    shape: type[msgspec.Struct] | None
    """The keys of such a condition, for reading and for the documents."""
    make: Callable[[RuleReader, Mapping[str, Any]], Rule]
    """Makes the rule, given its condition. Raises FileError."""


def refuse_old_words(path: str, key: str, body: Mapping[str, Any]) -> None:
    """Raise FileError for a word of the first version, naming the one that has taken its place."""
    for word in body:
        if word in OLD_WORDS:
            raise FileError(path, f"{key}.{word}", f"expected {OLD_WORDS[word]}, found {word!r}, which is no more")


class RuleReader:
    """What making a rule of its shape needs, whatever its kind. ``key`` says where in the file it stands."""

    def __init__(self, path: str, key: str, id: str, shape: RuleShape) -> None:
        self.path = path
        self.key = key
        self._id = id
        self.shape = shape

    def wrong(self, key: str, problem: str) -> FileError:
        """Return the error that says where in the file something is wrong."""
        return FileError(self.path, f"{self.key}.{key}", problem)

    def common(self) -> dict[str, Any]:
        """Return the fields that every rule has. Raises FileError."""
        shape = self.shape
        if shape.fault not in FAULTS:
            hint = nearest(shape.fault, FAULTS)
            raise self.wrong("fault", f"expected a fault of the catalogue, found {shape.fault!r}{hint}")
        for_ms = self.ms("for", shape.for_)
        clear_for = shape.clear_for
        return {
            "id": self._id,
            "version": shape.version,
            "fault": FAULTS[shape.fault],
            "for_ms": for_ms,
            "clear_for_ms": for_ms if clear_for is None else self.ms("clear_for", clear_for),
            "source": shape.source,
            "sla_class": shape.class_,
            "severity": shape.severity,
            "when": frozenset(shape.when),
            "kinds": frozenset(shape.kinds),
            "sites": frozenset(shape.sites),
            "vehicles": frozenset(shape.vehicles),
            "devices": frozenset(shape.devices),
            "only_where": shape.only_where,
            "except_where": shape.except_where,
        }

    def without(self, *names: str) -> None:
        """Raise FileError for keys that this kind of rule has no use for."""
        for name in (*names, "only_where", "except_where"):
            if getattr(self.shape, name) not in ({}, None):
                raise self.wrong(name, "expected it only with a condition on samples")

    def ms(self, key: str, span: Span) -> int:
        """Return a duration in milliseconds. Raises FileError."""
        try:
            return milliseconds(span)
        except ValueError as error:
            raise self.wrong(key, str(error)) from None

    def works(self) -> tuple[bool | None, Any]:
        """Return whether the device must do its work, or must not, and what else ``only_if`` asks."""
        only_if = self.shape.only_if
        parts = only_if["all_of"] if isinstance(only_if, Mapping) and list(only_if) == ["all_of"] else [only_if]
        if not isinstance(parts, list):
            return None, only_if
        asked = [part for part in parts if isinstance(part, Mapping) and "works" in part]
        if not asked:
            return None, only_if
        if len(asked) > 1 or list(asked[0]) != ["works"] or not isinstance(asked[0]["works"], bool):
            raise self.wrong("only_if.works", "expected true or false, once and alone")
        rest = [part for part in parts if part is not asked[0]]
        return asked[0]["works"], {"all_of": rest} if rest else None
