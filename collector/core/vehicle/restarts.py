"""Kit that is back after an end that was none: has it lost its power (docs/architecture.md, Expectation)?

Judged at the next start, when all records of the run before are there: only these tell what its last word was. Told is
what no switch does: kit that is always fed was off, or the kit died while the vehicle moved. An agent that was killed
is no kit without power: its box has not booted. A goodbye, and an end that the agent itself knew of, is no loss.
"""

from __future__ import annotations

from typing import Final

import msgspec

from collector.core.identities import ProblemKey
from collector.core.rules.types import Rule
from collector.core.vehicle.draft import Draft
from collector.core.vehicle.events import Happened
from collector.core.vehicle.parking import feeding_of, was_moving
from collector.core.vehicle.state import Restart, kit_agents

PLANNED_MS: Final = 150_000
"""Routers that restart by plan are back by then."""
SETTLED_MS: Final = 60_000
"""What an agent has to say of the run before has begun to come by then."""
_POWER: Final = "power"
"""The kind of device that the problem names, and its name where the fleet file has none."""


def born(draft: Draft, agent: str, run: str) -> None:
    """Note the birth of an agent whose box has booted, before its last word is replaced."""
    known = draft.agents[agent]
    last_ms = _last_ms(draft, agent)
    if not known.left and last_ms is not None:
        moving = was_moving(draft.position, last_ms, _away_ms(draft, agent))
        _note(draft, agent, Restart(run, draft.now_ms, 0, last_ms, moving))


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
    last_ms = _last_ms(draft, agent)
    if known is not None:
        _note(draft, agent, msgspec.structs.replace(known, started_ms=event.time_ms))
    elif draft.agents[agent].run != event.name.run and last_ms is not None and event.time_ms > last_ms:
        # its birth is not known here: a fork has records alone
        moving = was_moving(draft.position, last_ms, _away_ms(draft, agent))
        _note(draft, agent, Restart(event.name.run, draft.now_ms, event.time_ms, last_ms, moving))


def judge(draft: Draft, rule: Rule) -> None:
    """Judge the starts whose old runs are whole; each once."""
    for agent, restart in list(draft.expectation.restarts.items()):
        whole_ms = restart.noted_ms + SETTLED_MS
        if draft.now_ms < whole_ms or not restart.started_ms:
            draft.wake_at(whole_ms)
            continue
        _note(draft, agent, None)
        if agent not in kit_agents(draft.plan, draft.agents) or draft.duty() not in rule.when:
            continue
        off_ms = restart.started_ms - restart.last_ms
        always = feeding_of(draft.plan, draft.expectation.feeding) == "always"
        if restart.moving or (always and off_ms >= PLANNED_MS + draft.agents[agent].interval_ms):
            how = "while it moved" if restart.moving else "though it is always fed"
            _tell(draft, rule, restart.last_ms, f"the kit of {agent} went off {how}, for {off_ms // 1000} s")


def _tell(draft: Draft, rule: Rule, event_ms: int, text: str) -> None:
    device = next((id for _, id, one in draft.plan.devices() if one.kind == _POWER), _POWER)
    key = ProblemKey(rule.fault.id, device)
    if key in draft.problems:
        draft.tell(draft.problems[key], "noted", text)
    else:
        draft.open(rule, key, event_ms, text=text)


def _last_ms(draft: Draft, agent: str) -> int | None:
    """Return the event time of an agent's last sample."""
    return max((source.last_ms for key, source in draft.sources.items() if key.agent == agent), default=None)


def _away_ms(draft: Draft, agent: str) -> int:
    return draft.rules.settings.gap_ms + draft.agents[agent].interval_ms


def _note(draft: Draft, agent: str, restart: Restart | None) -> None:
    rest = {name: one for name, one in draft.expectation.restarts.items() if name != agent}
    restarts = rest if restart is None else {**rest, agent: restart}
    draft.expectation = msgspec.structs.replace(draft.expectation, restarts=restarts)
