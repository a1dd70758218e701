"""Identities as types: what a source, a condition, a problem is told apart by (docs/architecture.md, Judging). Pure.

Names are never joined with a separator in one place and split in another. Each identity has one text form, for JSON and
the database; it is made and read here only, and reading it back gives the same identity, whatever the parts hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
"""What sites, vehicles, agents, devices and inputs may be called (docs/architecture.md, Messages)."""
_LABEL_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
Labels = tuple[tuple[str, str], ...]
"""(name, value), sorted by name."""
_SAFE: Final = " ()[]*+:;@.!?$&'"
"""Beside letters, digits and ``_-~``: what stands unescaped in a label's value, because it separates nothing."""


class IdentityError(ValueError):
    """A text that names nothing: ``what`` was expected, ``found`` stood there."""

    def __init__(self, what: str, found: str) -> None:
        super().__init__(f"expected {what}, found {found[:200]!r}")
        self.what = what
        self.found = found


def check_id(text: str, what: str) -> str:
    """Return an id that came from outside. Raises IdentityError; ``what`` says which id was expected."""
    if ID.fullmatch(text) is None:
        raise IdentityError(f"{what} of 1 to 32 letters, digits, _ and -", text)
    return text


def check_label(name: str) -> str:
    """Return a label's name that came from outside. Raises IdentityError."""
    if _LABEL_NAME.fullmatch(name) is None:
        raise IdentityError("a label of 1 to 32 small letters, digits and _", name)
    return name


class SourceKey(NamedTuple):
    """One input of one device, as one agent reads it: where readings come from."""

    agent: str
    device: str
    input: str

    def text(self) -> str:
        """Return ``agent/device/input``."""
        return "/".join(self)

    @classmethod
    def parse(cls, text: str) -> SourceKey:
        """Return what ``text`` gave. Raises IdentityError."""
        parts = text.split("/")
        if len(parts) != 3:
            raise IdentityError("agent/device/input", text)
        return cls.of(*parts)

    @classmethod
    def of(cls, agent: str, device: str, input: str) -> SourceKey:
        """Return the key of parts that came from outside. Raises IdentityError for one that is no id."""
        return cls(check_id(agent, "an agent"), check_id(device, "a device"), check_id(input, "an input"))


class ProblemKey(NamedTuple):
    """What at most one problem, and one live ticket, of a vehicle (or of a site) may have.

    ``device`` is a device, an agent, a vehicle or a site; ``labels`` say which part of it broke, sorted by name.
    """

    fault: str
    device: str
    labels: Labels = ()

    def text(self) -> str:
        """Return ``fault/device`` or ``fault/device/name=value,name=value``, values escaped as in a URL."""
        if not self.labels:
            return f"{self.fault}/{self.device}"
        return f"{self.fault}/{self.device}/{_labels_text(self.labels)}"

    @classmethod
    def of(cls, fault: str, device: str, labels: Mapping[str, str] | None = None) -> ProblemKey:
        """Return the key with its labels in order."""
        return cls(fault, device, tuple(sorted((labels or {}).items())))

    @classmethod
    def parse(cls, text: str) -> ProblemKey:
        """Return what ``text`` gave. Raises IdentityError."""
        fault, _, rest = text.partition("/")
        device, slash, labels = rest.partition("/")
        if not fault or not device or bool(slash) != bool(labels):
            raise IdentityError("fault/device or fault/device/label=value,...", text)
        return cls(fault, device, _parse_labels(labels))


class RuleStateKey(NamedTuple):
    """One rule on one thing that a source reads; ``labels`` say which, empty where they are judged together."""

    rule: str
    source: SourceKey
    labels: Labels = ()

    def text(self) -> str:
        """Return ``rule|agent/device/input|name=value,...``, the labels' values escaped as in a URL."""
        return f"{self.rule}|{self.source.text()}|{_labels_text(self.labels)}"

    @classmethod
    def parse(cls, text: str) -> RuleStateKey:
        """Return what ``text`` gave. Raises IdentityError."""
        parts = text.split("|")
        if len(parts) != 3 or not parts[0]:
            raise IdentityError("rule|agent/device/input|label=value,...", text)
        return cls(parts[0], SourceKey.parse(parts[1]), _parse_labels(parts[2]))


class OperandKey(NamedTuple):
    """One indicator as one source tells it; ``labels`` say of which part."""

    rule: str
    """Empty: any rule may look at it, ``indicator`` says which it is (``collector.core.rules.shared``)."""
    indicator: str
    source: SourceKey
    labels: Labels = ()

    def text(self) -> str:
        """Return ``rule|indicator|agent/device/input|name=value,...``, the labels' values escaped as in a URL."""
        return f"{self.rule}|{self.indicator}|{self.source.text()}|{_labels_text(self.labels)}"

    @classmethod
    def parse(cls, text: str) -> OperandKey:
        """Return what ``text`` gave. Raises IdentityError."""
        parts = text.split("|")
        if len(parts) != 4 or not any(parts[:2]):
            raise IdentityError("rule|indicator|agent/device/input|label=value,...", text)
        return cls(parts[0], parts[1], SourceKey.parse(parts[2]), _parse_labels(parts[3]))


class TroubleKey(NamedTuple):
    """What an agent cannot read: a device, by one of its inputs; ``input`` is empty where the agent names none."""

    agent: str
    device: str
    input: str = ""

    def text(self) -> str:
        """Return ``agent/device`` or ``agent/device/input``."""
        return "/".join(self if self.input else self[:2])

    @classmethod
    def parse(cls, text: str) -> TroubleKey:
        """Return what ``text`` gave. Raises IdentityError."""
        parts = text.split("/")
        if len(parts) not in (2, 3):
            raise IdentityError("agent/device or agent/device/input", text)
        names = zip(parts, ("an agent", "a device", "an input"), strict=False)
        return cls(*(check_id(part, what) for part, what in names))


class InventoryKey(NamedTuple):
    """Who a device is, as one input says; ``input`` is empty for the one that said it first."""

    device: str
    input: str = ""

    def text(self) -> str:
        """Return ``device`` or ``device/input``."""
        return f"{self.device}/{self.input}" if self.input else self.device

    @classmethod
    def parse(cls, text: str) -> InventoryKey:
        """Return what ``text`` gave. Raises IdentityError."""
        device, slash, input = text.partition("/")
        return cls(check_id(device, "a device"), check_id(input, "an input") if slash else "")


class OccurrenceKey(NamedTuple):
    """What happens to an agent and is over at once: its kind, and why where the kind has reasons."""

    kind: str
    agent: str
    reason: str = ""

    def text(self) -> str:
        """Return ``kind/agent`` or ``kind/agent/reason``, the reason escaped as in a URL."""
        end = f"/{quote(self.reason, _SAFE)}" if self.reason else ""
        return f"{self.kind}/{self.agent}{end}"

    @classmethod
    def parse(cls, text: str) -> OccurrenceKey:
        """Return what ``text`` gave. Raises IdentityError."""
        kind, *rest = text.split("/")
        if not kind or not 1 <= len(rest) <= 2:
            raise IdentityError("kind/agent or kind/agent/reason", text)
        return cls(kind, check_id(rest[0], "an agent"), unquote(rest[1]) if len(rest) == 2 else "")


Identity = SourceKey | ProblemKey | RuleStateKey | OperandKey | TroubleKey | InventoryKey | OccurrenceKey
"""Everything that has a text form here."""


def _labels_text(labels: Labels) -> str:
    return ",".join(f"{name}={quote(value, _SAFE)}" for name, value in labels)


def _parse_labels(text: str) -> Labels:
    found = []
    for part in text.split(",") if text else ():
        name, equals, value = part.partition("=")
        if not equals:
            raise IdentityError("label=value", part)
        found.append((check_label(name), unquote(value)))
    return tuple(found)
