"""Identities as types: what a source, a problem is told apart by (JUDGING 1). Pure.

Names are never joined with a separator in one place and split in another. Each identity has one text form, for JSON and
the database; it is made and read here only, and reading it back gives the same identity, whatever the parts hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
"""What sites, vehicles, agents, devices and inputs may be called (DESIGN 2, Messages)."""
_LABEL_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
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
    labels: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        """Return ``fault/device`` or ``fault/device/name=value,name=value``, values escaped as in a URL."""
        if not self.labels:
            return f"{self.fault}/{self.device}"
        return f"{self.fault}/{self.device}/" + ",".join(f"{name}={quote(value, _SAFE)}" for name, value in self.labels)

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
        found = []
        for part in labels.split(",") if labels else ():
            name, equals, value = part.partition("=")
            if not equals or _LABEL_NAME.fullmatch(name) is None:
                raise IdentityError("label=value", part)
            found.append((name, unquote(value)))
        return cls(fault, device, tuple(found))
