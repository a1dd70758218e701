"""When a vehicle wants to be looked at though nothing happens, and how long words put that off. Pure.

Nearly all that a healthy vehicle is looked at for is silence: of a device, of an agent, of itself. A word puts it off,
so that of a look which has come due it is first asked whether anybody has been silent for long enough
(docs/decisions/0084).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from collector.core.identities import SourceKey
from collector.core.vehicle.state import Vehicle

if TYPE_CHECKING:
    from collector.core.vehicle.draft import Draft


class Wait(NamedTuple):
    """A silence that is waited for: it is not long enough before ``limit_ms`` after the last word (our clock)."""

    limit_ms: int
    sources: tuple[SourceKey, ...] = ()
    agents: tuple[str, ...] = ()
    """Of these where no source is named; empty: of any."""

    def due_ms(self, heard: Vehicle | Draft) -> int:
        """Return when it will have been long enough, 0 where nothing was ever heard."""
        if self.sources:
            last_ms = answered_ms(heard, self.sources)
        else:
            agents = [heard.agents[name] for name in self.agents or heard.agents if name in heard.agents]
            last_ms = max((agent.heard_ms for agent in agents if agent.heard_ms is not None), default=None)
        return 0 if last_ms is None else last_ms + self.limit_ms


class Wake(NamedTuple):
    """When a vehicle is to be looked at next (our clock, UTC ms)."""

    at_ms: int
    fixed_ms: int | None = None
    """The soonest of what no word puts off; ``None``: there is nothing of that."""
    waits: tuple[Wait, ...] = ()
    """What words put off; without any ``at_ms`` stands."""

    def put_off(self, heard: Vehicle | Draft) -> Wake:
        """Return when it is to be looked at by what was heard since; itself where anything but silence may matter."""
        if not self.waits or not _is_calm(heard):
            return self
        at_ms = min(wait.due_ms(heard) for wait in self.waits)
        return self._replace(at_ms=at_ms if self.fixed_ms is None else min(at_ms, self.fixed_ms))


def answered_ms(heard: Vehicle | Draft, sources: tuple[SourceKey, ...]) -> int | None:
    """Return when anything was last heard of a device: judged, or not judged because a clock is wrong."""
    latest_ms: int | None = None
    for name in sources:
        source = heard.sources.get(name)
        for time_ms in (None if source is None else source.answered_ms, heard.arrived.get(name)):
            if time_ms is not None and (latest_ms is None or time_ms > latest_ms):
                latest_ms = time_ms
    return latest_ms


def _is_calm(heard: Vehicle | Draft) -> bool:
    """Say whether all that time can bring is silence: nothing is wrong, nobody left, and it is not known to stand."""
    if heard.problems or heard.rule_states or heard.fork is not None:
        return False
    if heard.troubles or heard.occurrences or heard.changes or heard.expectation.restarts or heard.expectation.parking:
        return False
    ignition = heard.facts.get("ignition")
    if ignition is not None and not ignition.value:
        return False
    return not any(agent.left or agent.clock_off or agent.untold_ms is not None for agent in heard.agents.values())
