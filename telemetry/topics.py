"""Topic names: ``kitwatch/v1/up/<site>/<vehicle>/<agent>/<kind>`` and its ``down`` twin."""

from __future__ import annotations

import functools
import re
from typing import Final

import msgspec

PREFIX: Final = "kitwatch/v1"
COLLECTOR: Final = "collector"
"""Reserved: no vehicle and no agent may be called so."""
_REMEMBERED: Final = 4096
"""Topics that stay parsed: an agent writes few, and the same ones again and again."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")

UP_KINDS: Final = frozenset({"state", "schema", "live", "backlog", "ask"})


def is_id(text: str) -> bool:
    """Say whether ``text`` may be a site's, vehicle's, agent's or device's name on the wire."""
    return _ID.fullmatch(text) is not None


class AgentName(msgspec.Struct, frozen=True, order=True):
    """Who speaks: one agent of one vehicle of one site."""

    site: str
    vehicle: str
    agent: str

    def up(self, kind: str) -> str:
        """Return the topic that this agent writes."""
        return f"{PREFIX}/up/{self.site}/{self.vehicle}/{self.agent}/{kind}"

    def down(self, kind: str) -> str:
        """Return the topic that this agent reads."""
        return f"{PREFIX}/down/{self.site}/{self.vehicle}/{self.agent}/{kind}"

    def __str__(self) -> str:
        return f"{self.site}/{self.vehicle}/{self.agent}"


@functools.lru_cache(_REMEMBERED)
def parse_up(topic: str) -> tuple[AgentName, str]:
    """Return (agent, kind) of a topic that an agent wrote. Raises ValueError for any other topic."""
    parts = topic.split("/")
    if len(parts) != 7 or "/".join(parts[:3]) != f"{PREFIX}/up" or parts[6] not in UP_KINDS:
        raise ValueError(f"expected {PREFIX}/up/<site>/<vehicle>/<agent>/<kind>, found topic {topic!r}")
    if not all(is_id(part) for part in parts[3:6]) or COLLECTOR in parts[4:6]:
        raise ValueError(f"expected names of 1 to 32 letters, digits, _ or -, found topic {topic!r}")
    return AgentName(parts[3], parts[4], parts[5]), parts[6]


def site_filter(site: str) -> str:
    """Return the one filter that a site's owner subscribes to."""
    return f"{PREFIX}/up/{site}/#"


def beat(site: str) -> str:
    """Return the topic of the owner's own marker."""
    return f"{PREFIX}/up/{site}/{COLLECTOR}/beat"


def presence(site: str) -> str:
    """Return the topic on which the site's owner says that it is there."""
    return f"{PREFIX}/down/{site}/{COLLECTOR}/state"
