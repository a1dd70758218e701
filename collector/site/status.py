"""What is told about a site's owner to people and machines, and when it is stuck."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

OVER_QUOTA_MS: Final = 3_600_000
"""A vehicle is shown as being over a quota for so long after the last refusal, as its ticket lasts."""
STUCK_S: Final = 30.0
"""An owner that has got no further for so long is stuck."""
FAILING_S: Final = 60.0
"""Ownerships that end by failures for so long, nothing being committed between them, are no progress either."""


class Refusals(msgspec.Struct):
    """How often something was refused since the process started, and when last (UTC ms)."""

    number: int = 0
    last_ms: int = 0


class Status(msgspec.Struct):
    """What is told about a site to people and machines; counts are since the process started."""

    state: Literal["waiting", "owner", "stopped"] = "waiting"
    epoch: int = 0
    connected: bool = False
    alive_s: float = msgspec.field(default_factory=time.monotonic)
    """When the loop last got on, by its own clock."""
    listening_since_ms: int | None = None
    waiting_messages: int = 0
    oldest_waiting_ms: int | None = None
    committed_ms: int | None = None
    editions: dict[str, int] = msgspec.field(default_factory=dict)
    """By kind: the number of the edition in force."""
    differing: tuple[str, ...] = ()
    """Kinds of which this collector's own files say otherwise."""
    begun_anew: tuple[str, ...] = ()
    """Vehicles (empty: the site) whose stored state could not be read, in this ownership."""
    damaged: tuple[str, ...] = ()
    """Other stored rows that could not be read then."""
    error: str = ""
    failing_s: float | None = None
    """Since when (monotonic) ownerships have ended by failures and nothing was committed between them."""
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    refusals: dict[tuple[str, str], Refusals] = msgspec.field(default_factory=dict)
    """What was beyond a quota, by (vehicle, quota)."""

    def over_quota(self, now_ms: int) -> dict[str, list[str]]:
        """Return which quotas each vehicle was beyond of late."""
        found: dict[str, list[str]] = {}
        for (vehicle, quota), refusals in self.refusals.items():
            if refusals.last_ms > now_ms - OVER_QUOTA_MS:
                found.setdefault(vehicle, []).append(quota)
        return found

    def hangs(self, now_s: float) -> str:
        """Say for how long this site's owner has got no further, empty while it does; ``now_s`` is monotonic."""
        return f"no progress for {now_s - self.alive_s:.0f} s" if now_s - self.alive_s > STUCK_S else ""

    def fails(self, now_s: float) -> str:
        """Say for how long this site's ownerships have failed: its retries are no progress."""
        if self.failing_s is None or now_s - self.failing_s <= FAILING_S:
            return ""
        return f"nothing committed for {now_s - self.failing_s:.0f} s: {self.error}"


def unwell(statuses: Mapping[str, Status], now_s: float) -> dict[str, str]:
    """Return the sites whose owner hangs or fails, each with why; ``now_s`` is monotonic."""
    found = {site: status.hangs(now_s) or status.fails(now_s) for site, status in statuses.items()}
    return {site: words for site, words in found.items() if words}


def stuck(statuses: Mapping[str, Status], now_s: float) -> dict[str, str]:
    """Return the sites for whose sake this process is to be restarted, each with why; ``now_s`` is monotonic.

    A site that hangs, and one that fails where no other gets on: else a restart every other minute would keep all the
    others from judging silence.
    """
    found = unwell(statuses, now_s)
    return (
        found
        if len(found) == len(statuses)
        else {site: why for site, why in found.items() if statuses[site].hangs(now_s)}
    )
