"""What people want of a site, as rows that its owner takes: the kinds of action and their bodies. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from collector.core.vehicle.events import StateWish

EDITION_ACTION: Final = "edition"
"""The kind of action that puts an edition in force; its body is an ``EditionBody`` as JSON."""
STATE_ACTION: Final = "state"
"""The kind of action that gives a vehicle a state; its body is a ``StateBody`` as JSON."""


class StateBody(msgspec.Struct, frozen=True):
    """What such an action says."""

    state: StateWish


class EditionBody(msgspec.Struct, frozen=True):
    """What such an action says: the kind of edition, and its content (JSON as text)."""

    kind: str
    content: str
