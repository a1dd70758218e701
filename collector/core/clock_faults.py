"""Whose clock is wrong, the centre's or an agent's (docs/architecture.md, Expectation). Pure.

Only GNSS and NTP are trusted: an agent that goes by our own time says nothing of it. Several vehicles decide by number;
where there is one alone, whether NTP keeps the centre's clock does.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from collector.core.identities import ProblemKey
from collector.core.rules.reader import Kind, RuleReader
from collector.core.rules.types import Look, Rule
from collector.core.vehicle.state import Agent, Vehicle
from telemetry.files import convert
from telemetry.fleet import VehiclePlan

if TYPE_CHECKING:
    from collector.core.vehicle.draft import Draft

Whose = Literal["", "centre", "agents"]
"""Whose clock is wrong; empty: nobody's, or nothing can be said yet."""
_FRESH_MS: Final = 600_000
"""An agent that has said nothing for so long bears no witness."""
_REMEMBERED_MS: Final = 3_600_000
"""So long it is remembered what those said of our clock that are silent now."""
_SAID_MS: Final = 120_000
_ALIKE_MS: Final = 30_000
"""So far apart those lie at most that are off the same way."""
_SEVERAL: Final = 3
_AGAIN_MS: Final = 60_000


class ClockShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Agents with a trusted clock (GNSS, NTP) are off from the centre's by 30 s or more, for the rule's `for`."""

    clock_off: Literal["centre", "agent", "untold"]
    """`centre`: three or more vehicles the same way (of two both; of one, unless NTP keeps the centre's clock): one
    problem of the site. `agent`: any other, each its own. `untold`: nobody has told an agent the time for so long, not
    GNSS, not NTP, not the centre."""


class ClockRule(Rule, frozen=True, kw_only=True):
    """Judges clocks: the centre's (``survey`` does), or each agent's."""

    of: Literal["centre", "agent", "untold"]

    def looks_of_vehicle(self, vehicle: str, plan: VehiclePlan) -> Iterable[Look]:
        """Return its look at the vehicle's agents."""
        if self.of == "agent":
            yield Look(1, functools.partial(_look, self))
        elif self.of == "untold":
            yield Look(1, functools.partial(_look_untold, self))


def _make(reader: RuleReader, condition: Mapping[str, Any]) -> ClockRule:
    reader.without("indicators", "max_gap", "only_if")
    return ClockRule(
        **reader.common(), of=convert(condition, ClockShape, reader.path, f"{reader.key}.condition").clock_off
    )


KIND: Final = Kind("clock_off", ClockShape, _make)


class Clocks(msgspec.Struct):
    """What the agents' clocks come to."""

    whose: Whose = ""
    since_ms: int = 0
    """Since when they are off (our clock)."""
    words: str = ""
    right: bool = False
    """A trusted clock agrees with ours, and none is off."""
    wake_ms: int | None = None
    """When more can be said though nothing is heard (our clock)."""


class _Witnesses(msgspec.Struct):
    off: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """(off, since) of vehicles that are off for long enough."""
    lately: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """The same of those that said so lately, more than once, and are silent now: they bear others out."""
    fine: int = 0
    waiting: list[int] = msgspec.field(default_factory=list)
    """When others will have been off for long enough."""


def clocks_of(
    vehicles: Iterable[Vehicle],
    rule: ClockRule,
    unsynchronised: bool,
    listening_ms: int,
    now_ms: int,
    *,
    found_wrong: bool = False,
) -> Clocks:
    """Return whose clock is wrong, by the rule on the centre's. ``unsynchronised``: nobody is known to keep ours.

    ``listening_ms``: since when we listen, which begins anew where our clock is set. ``found_wrong``: ours was found to
    be. Those that speak on when others fall silent are off by it until one agrees.
    """
    found = _Witnesses()
    for vehicle in vehicles:
        _hear(vehicle, rule, found, max(listening_ms, now_ms - _REMEMBERED_MS), now_ms)
    if not found.off and not found.waiting:
        return Clocks(right=found.fine > 0)
    if found.waiting:
        return Clocks(wake_ms=max(found.waiting))
    off = found.off + found.lately
    alike = _alike(off)
    total = len(off) + found.fine
    several = len(alike) >= min(_SEVERAL, total) and len(alike) > found.fine
    ours = unsynchronised if total == 1 else several
    if not ours and not (found_wrong and not found.fine):
        return Clocks("agents", wake_ms=now_ms + _AGAIN_MS)
    off_s = sorted(off_ms for off_ms, _ in alike)[len(alike) // 2] / 1000
    words = f"{len(alike)} of {total} vehicles with a trusted clock say that ours is {abs(off_s):.0f} s "
    return Clocks("centre", min(since_ms for _, since_ms in alike), words + ("fast" if off_s > 0 else "slow"))


def _hear(vehicle: Vehicle, rule: ClockRule, found: _Witnesses, lately_ms: int, now_ms: int) -> None:
    """Take a vehicle's word: one of its agents that agrees with us is enough.

    Who has said nothing for some minutes may have agreed with us before our clock was set; who has disagreed since
    ``lately_ms`` did so by the clock that we have.
    """
    agents = [
        agent
        for agent in vehicle.agents.values()
        if agent.trusted and agent.heard_ms is not None and _is_of_now(agent, agent.heard_ms, lately_ms, now_ms)
    ]
    offs = [
        one
        for agent in agents
        if (one := agent.clock_off) is not None and _is_of_now(agent, one.last_ms, lately_ms, now_ms)
    ]
    if any(agent.clock_off is None for agent in agents):
        found.fine += 1
    elif offs:
        since_ms = min(one.since_ms for one in offs)
        if now_ms - since_ms < rule.for_ms:
            found.waiting.append(since_ms + rule.for_ms)
        else:
            found.off.append((min((one.off_ms for one in offs), key=abs), since_ms))
    elif not agents:
        found.lately += [
            (one.off_ms, one.since_ms)
            for agent in vehicle.agents.values()
            if agent.trusted and (one := agent.clock_off) is not None
            if one.last_ms >= lately_ms and one.last_ms > one.since_ms
        ][:1]


def _is_of_now(agent: Agent, said_ms: int, listening_ms: int, now_ms: int) -> bool:
    """Say whether a word of an agent still counts: it may be of before our clock was set, when listening began anew."""
    return said_ms >= listening_ms and abs(now_ms - said_ms) <= _SAID_MS + 2 * agent.interval_ms


def _alike(off: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the most that are off the same way."""
    row = sorted(off)
    sets = [[one for one in row if 0 <= one[0] - first[0] <= _ALIKE_MS] for first in row]
    return max(sets, key=len)


def _look(rule: ClockRule, draft: Draft) -> None:
    """Judge each agent by the survey's word: what is not the centre's is its own."""
    for name, agent in draft.agents.items():
        key = ProblemKey(rule.fault.id, draft.plan.host_of(name))
        problem = draft.problems.get(key)
        if problem is not None and problem.rule == rule.id and agent.clock_off is None:
            draft.close(rule, key, draft.now_ms, text="its clock agrees with ours again")
        elif problem is None and agent.clock_off is not None and agent.trusted:
            _judge(rule, draft, key, agent)


def _judge(rule: ClockRule, draft: Draft, key: ProblemKey, agent: Agent) -> None:
    assert agent.clock_off is not None
    due_ms = agent.clock_off.since_ms + rule.for_ms
    said = _is_of_now(agent, agent.clock_off.last_ms, draft.listening.since_ms or 0, draft.now_ms)
    agrees = _another_agrees(draft, agent.clock_off.since_ms)
    own = draft.verdict.clocks == "agents" or (not draft.verdict.clocks and agrees)
    if draft.now_ms < due_ms or not own or not said:
        draft.wake_at(max(due_ms, draft.now_ms + _AGAIN_MS))
    elif draft.duty() in rule.when:
        off_s = agent.clock_off.off_ms / 1000
        text = f"its clock is {abs(off_s):.0f} s {'slow' if off_s > 0 else 'fast'}, and it says that it can be trusted"
        draft.open(rule, key, agent.clock_off.since_ms, text=text)


def _another_agrees(draft: Draft, since_ms: int) -> bool:
    """Say whether a trusted clock of the same vehicle agrees with ours: then it is not ours that is wrong.

    What was said before ``since_ms`` may have been said before our clock was set.
    """
    return any(
        agent.trusted
        and agent.clock_off is None
        and agent.heard_ms is not None
        and agent.heard_ms > since_ms
        and draft.now_ms - agent.heard_ms <= _FRESH_MS
        for agent in draft.agents.values()
    )


def _look_untold(rule: ClockRule, draft: Draft) -> None:
    """Judge each agent by its own word: it goes by a clock that nobody has set."""
    for name, agent in draft.agents.items():
        key = ProblemKey(rule.fault.id, draft.plan.host_of(name))
        problem = draft.problems.get(key)
        if agent.untold_ms is None:
            if problem is not None and problem.rule == rule.id:
                draft.close(rule, key, draft.now_ms, text="it has been told the time")
        elif draft.now_ms < agent.untold_ms + rule.for_ms:
            draft.wake_at(agent.untold_ms + rule.for_ms)
        elif problem is None and draft.duty() in rule.when and agent.heard_ms and agent.heard_ms > agent.untold_ms:
            minutes = (draft.now_ms - agent.untold_ms) // 60_000
            text = f"nobody has told it the time for {minutes} min: no GNSS, no NTP, not the centre"
            draft.open(rule, key, agent.untold_ms, text=text)
