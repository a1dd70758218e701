"""What a channel promises (docs/components.md). A new one is a file beside this and its line in ``registry.py``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal, get_args

import msgspec

from collector.core.notifications import Body
from collector.core.recipients import Kind
from collector.core.roster import ROLES
from telemetry.inputs import Id


class Delivered(msgspec.Struct, frozen=True):
    """The other side has it."""


class Retry(msgspec.Struct, frozen=True):
    """It is not delivered, and may be later: the other side is away, busy, or does not know us. Its words."""

    words: str
    after_s: float | None = None
    """How long it asked us to wait, if it did."""
    busy: bool = False
    """The other side works, and takes no more for now: no failure, and no reason to turn to another channel."""


class Refused(msgspec.Struct, frozen=True):
    """The other side will never take this one, whatever becomes of the channel. Its words."""

    reason: str


Outcome = Delivered | Retry | Refused


class Notification(msgspec.Struct, frozen=True):
    """What is to be sent. ``key`` is the idempotency key: the same for every attempt, also after a crash."""

    key: str
    ticket: str
    body: str
    """JSON, as ``collector.core.notifications.Body``."""
    address: str = ""
    """Where the person is reached over this channel, as the contract file's roster says it: a telephone number, a mail
    address. Empty: whoever the settings name."""

    @property
    def content(self) -> Body:
        """The body, decoded. Raises msgspec.ValidationError for one of another version."""
        return msgspec.json.decode(self.body, type=Body)


class Channel(ABC):
    """A way to one receiver. Used by one task at a time; the notifier has waits, order and figures."""

    most_attempts: int | None = None
    """After so many a notification counts as failed; ``None``: tried until it is too old (docs/retention.md)."""

    @abstractmethod
    async def send(self, notification: Notification) -> Outcome:
        """Send once, within seconds; secrets are read anew. Whatever it raises counts as ``Retry``."""

    async def close(self) -> None:  # noqa: B027 - nothing to let go of is no mistake
        """Let go of connections."""


Told = Literal[
    "opened", "reopened", "escalated", "asked", "assigned", "call_back", "renamed", "resolved", "cancelled", "merged",
    "unmerged",
    "crew", "dispatcher", "engineer", "manager", "information",
]  # fmt: skip
"""Kinds of notifications, and roles (docs/notifications.md)."""
assert get_args(Told) == (*get_args(Kind), *ROLES)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="channel"):
    """One receiver in ``collector.yaml``; ``channel`` names the kind of channel, the rest are its own keys."""

    receiver: Id | None = None
    """Who is told, in tables and figures; the channel's name where it is not given."""
    tells: tuple[Told, ...] | None = None
    """Of what this receiver is told: kinds of notifications, and roles (what goes to people of these roles). If not set
    of everything, unless people of the roster name it as their channel: then of nothing itself."""

    @property
    def channel(self) -> str:
        """The kind of channel."""
        return str(self.__struct_config__.tag)

    @property
    def name(self) -> str:
        """Who is told."""
        return self.receiver or self.channel

    def checked(self, file: Path, key: str) -> Settings:
        """Return the settings with absolute paths. Raises FileError, with ``file`` and ``key``, for what is wrong."""
        return self

    def open(self) -> Channel:
        """Return the channel."""
        raise NotImplementedError
