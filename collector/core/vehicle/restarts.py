"""Kit that is back after an end that was none: has it lost its power (docs/architecture.md, Expectation)?

Judged at the next start, when all records of the run before are there: only these tell what its last word was. Told is
what no switch does: kit that is always fed was off, or the kit died while the vehicle moved (and drove on, where the
ignition feeds it). An agent that was killed
is no kit without power: its box has not booted. A goodbye, and an end that the agent itself knew of, is no loss.
"""

from __future__ import annotations

from typing import Final

import msgspec

from collector.core.identities import ProblemKey
from collector.core.places import cell_of, distance_m
from collector.core.rules.types import Rule
from collector.core.survey import poll_pace
from collector.core.vehicle.draft import Draft
from collector.core.vehicle.duty import kit_agents
from collector.core.vehicle.events import Happened
from collector.core.vehicle.expectation import is_place
from collector.core.vehicle.parking import feeding_of, was_moving
from collector.core.vehicle.state import Position, Restart

PLANNED_MS: Final = 150_000
"""Routers that restart by plan are back by then."""
SETTLED_MS: Final = 60_000
"""What an agent has to say of the run before has begun to come by then."""
_NO_FIX_MS: Final = 600_000
"""Without a fix for so long after the start nobody knows whether it drove on."""
_AWAY_M: Final = 300
_POLL_MS: Final = 10_000
_TOWN_M_S: Final = 15.0
"""Metres a second. Who is found 300 m from his last word was not parked there: he rolled on for a poll of ten seconds
at most. It is more for longer polls, and where he may have driven off before he was found after the start: as fast as
he is found, and while his box booted."""
_BOOT_S: Final = 60.0
"""From power to the start of an agent, as a router or a small box takes."""
_POWER: Final = "power"
"""The kind of device that the problem names, and its name where the fleet file has none."""


def born(draft: Draft, agent: str, run: str) -> None:
    """Note the birth of an agent whose box has booted, before its last word is replaced."""
    known = draft.agents[agent]
    last_ms = last_sample_ms(draft, agent)
    if not known.left and last_ms is not None:
        _note(draft, agent, Restart(run, draft.now_ms, 0, last_ms, draft.position))


def started(draft: Draft, event: Happened) -> None:
    """Note what a start says of the end before it."""
    agent, body = event.name.agent, event.body
    pending = draft.expectation.restarts.get(agent)
    known = pending if pending is not None and pending.run == event.name.run else None
    ended = body.get("ended")
    if not body.get("booted") or ended not in ("killed", None):
        if known is not None:
            _note(draft, agent, None)
        return
    last_ms = last_sample_ms(draft, agent)
    if known is not None:
        _note(draft, agent, msgspec.structs.replace(known, started_ms=event.time_ms))
    elif draft.has_hole:
        return  # of a run before the one that is awaited: what its end was the fork finds, which has all in order
    elif draft.agents[agent].run != event.name.run and last_ms is not None and event.time_ms > last_ms:
        # its birth is not known here: a fork has records alone
        _note(draft, agent, Restart(event.name.run, draft.now_ms, event.time_ms, last_ms, draft.position))


def is_to_be_judged(draft: Draft) -> bool:
    """Say whether a start may still tell of a loss of power; one of which nothing more is told soon says nothing."""
    waiting = draft.expectation.restarts.values()
    return any(one.started_ms or draft.now_ms < one.noted_ms + SETTLED_MS for one in waiting)


def found(draft: Draft, position: Position) -> None:
    """Note where a vehicle is first found after a start."""
    for agent, restart in list(draft.expectation.restarts.items()):
        if restart.found is None and restart.started_ms and position.time_ms >= restart.started_ms:
            _note(draft, agent, msgspec.structs.replace(restart, found=position))


def judge(draft: Draft, rule: Rule) -> None:
    """Judge the starts whose old runs are whole; each once."""
    for agent, restart in list(draft.expectation.restarts.items()):
        whole_ms = restart.noted_ms + SETTLED_MS
        if draft.has_hole:
            continue  # its last word may be among what is missing
        if draft.now_ms < whole_ms or not restart.started_ms:
            draft.wake_at(whole_ms)
            continue
        always = feeding_of(draft.plan, draft.expectation.feeding) == "always"
        moving = was_moving(restart.position, restart.last_ms, draft.away_ms(agent))
        if moving and not always:
            on = _drove_on(draft, agent, restart)
            if on is None and draft.now_ms < restart.noted_ms + _NO_FIX_MS:
                draft.wake_at(draft.now_ms + SETTLED_MS)
                continue
            moving = bool(on)
        _note(draft, agent, None)
        if agent not in kit_agents(draft.plan, draft.agents) or draft.duty() not in rule.when:
            continue
        off_ms = restart.started_ms - restart.last_ms
        if moving or (always and off_ms >= PLANNED_MS + draft.agents[agent].interval_ms):
            how = "while it moved" if moving else "though it is always fed"
            _tell(draft, rule, restart.last_ms, f"the kit of {agent} went off {how}, for {off_ms // 1000} s")


def _drove_on(draft: Draft, agent: str, restart: Restart) -> bool | None:
    """Say whether the vehicle was not parked where it was heard last; ``None`` while no later fix is known.

    One that rolled at its last poll may have stopped and been switched off before the next one: where others are
    parked, or where it is found again.
    """
    before, after = restart.position, restart.found
    if before is None or is_place(draft, cell_of(before.latitude, before.longitude)):
        return False
    if after is None:
        return None
    poll_ms = poll_pace(draft.rules, draft.before.vehicle, draft.plan, agent)
    rolled_m = (before.speed_kmh or 0) / 3.6 * max(0, poll_ms - _POLL_MS) / 1000
    fast_m_s = max(_TOWN_M_S, (after.speed_kmh or 0) / 3.6)
    driven_m = fast_m_s * ((after.time_ms - restart.started_ms) / 1000 + _BOOT_S)
    apart_m = distance_m((before.latitude, before.longitude), (after.latitude, after.longitude))
    return apart_m >= _AWAY_M + rolled_m + driven_m


def _tell(draft: Draft, rule: Rule, event_ms: int, text: str) -> None:
    device = next((id for _, id, one in draft.plan.devices() if one.kind == _POWER), _POWER)
    key = ProblemKey(rule.fault.id, device)
    if key in draft.problems:
        draft.tell(draft.problems[key], "noted", text)
    else:
        draft.open(rule, key, event_ms, text=text)


def last_sample_ms(draft: Draft, agent: str) -> int | None:
    """Return the event time of an agent's last sample."""
    return max((source.last_ms for key, source in draft.sources.items() if key.agent == agent), default=None)


def _note(draft: Draft, agent: str, restart: Restart | None) -> None:
    rest = {name: one for name, one in draft.expectation.restarts.items() if name != agent}
    restarts = rest if restart is None else {**rest, agent: restart}
    draft.expectation = msgspec.structs.replace(draft.expectation, restarts=restarts)
