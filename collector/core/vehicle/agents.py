"""What agents say of themselves and of what they read: births, goodbyes, wills, and the events among their records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from collector.core.identities import ID, InventoryKey, OccurrenceKey, TroubleKey
from collector.core.vehicle import expectation, restarts
from collector.core.vehicle.draft import Draft
from collector.core.vehicle.events import Born, ClockRead, Died, Happened, Left
from collector.core.vehicle.state import Agent, Change, ClockOff, InputTrouble, InventoryEntry, Known, Occurrence

OFF_MS: Final = 30_000
"""A clock that is off by so much is wrong. No live word is longer on its way: its connection ends before that."""
_EARLIER_RUNS: Final = 8
_MOST_TEXT: Final = 500
"""Characters of an agent's words that are remembered."""
_MOST_OCCURRENCES: Final = 64
"""Kinds of things that are remembered of a vehicle's agents at a time; who makes up reasons is heard so often."""


def hear(draft: Draft, name: str, event_ms: int) -> Agent:
    """Note a word of an agent, told at ``event_ms`` of its own clock, and the first one after a gap.

    What comes while we do not listen has waited at the broker: it was said then, and says nothing of now. Neither that
    nor a first word says anything of how our clocks stand to each other: that is read of live records.
    """
    agent = draft.agents.get(name) or Agent()
    now_ms = draft.now_ms
    if agent.heard_ms == now_ms:
        return agent
    passed_ms = None if agent.heard_ms is None else now_ms - agent.heard_ms
    back = passed_ms is None or (passed_ms > draft.rules.settings.gap_ms and passed_ms > draft.away_ms(name))
    listens = draft.listening.since_ms is not None
    agent = msgspec.structs.replace(
        agent,
        heard_ms=now_ms if listens else min(max(event_ms, agent.heard_ms or 0), now_ms),
        from_ms=now_ms if back else agent.from_ms,
        silent_ms=0,
        trusted=agent.trusted and listens and not back,
    )
    draft.agents[name] = agent
    if back:
        expectation.came_back(draft, name, event_ms)
    elif draft.expectation.parking is not None and passed_ms and passed_ms > 0:
        expectation.was_not_silent(draft, name, event_ms)
    return agent


def _hear_state(draft: Draft, name: str, agent: Agent) -> Agent:
    """Note a birth or a goodbye: of one that comes while we do not listen, and has waited, nobody knows the time."""
    if draft.listening.since_ms is not None:
        return hear(draft, name, draft.now_ms)
    return agent if agent.heard_ms is None else hear(draft, name, agent.heard_ms)


def born(draft: Draft, event: Born) -> None:
    """A birth always counts; but one that the broker delivers again, of a run or session that is past, is no birth."""
    agent = draft.agents.get(event.agent) or Agent()
    earlier = dict(agent.earlier)
    if event.run == agent.run and event.session < agent.session:
        return
    if event.session <= earlier.get(event.run, -1):
        return
    if event.run in earlier:
        text = f"runs {event.run} and {agent.run} by turns, machines {event.machine} and {agent.machine}"
        _occurred(draft, OccurrenceKey("clash", event.agent), draft.now_ms, text)
    if agent.run and agent.run != event.run:
        earlier.pop(agent.run, None)
        earlier[agent.run] = agent.session
    earlier.pop(event.run, None)
    if event.boot and agent.boot and event.boot != agent.boot:
        restarts.born(draft, event.agent, event.run)
        expectation.booted(draft, event.agent)
    if event.run != agent.run:
        _end_run(draft, event.agent, agent.run)
    # one that comes while we do not listen may be kept, and says nothing new
    if draft.listening.since_ms is not None or (event.run, event.session) != (agent.run, agent.session):
        agent = _hear_state(draft, event.agent, agent)
    draft.agents[event.agent] = msgspec.structs.replace(
        agent,
        run=event.run,
        boot=event.boot or agent.boot,
        session=event.session,
        machine=event.machine,
        version=event.version,
        interval_ms=round(event.interval_s * 1000),
        born_ms=agent.born_ms if event.run == agent.run else draft.now_ms,
        left="",
        lost=False,
        trusted=agent.trusted and event.run == agent.run,
        earlier=tuple(earlier.items())[-_EARLIER_RUNS:],
    )
    expectation.note_duty(draft)


def _end_run(draft: Draft, name: str, run: str) -> None:
    """Note until when a run that is past has told what it could not read."""
    last_ms = restarts.last_sample_ms(draft, name) or 0
    for key, trouble in list(draft.troubles.items()):
        if (key.agent, trouble.run) == (name, run) and not trouble.last_ms:
            draft.troubles[key] = msgspec.structs.replace(trouble, last_ms=last_ms)


def clock_read(draft: Draft, event: ClockRead) -> None:
    """Note whether an agent's trusted clock and ours differ."""
    agent = draft.agents.get(event.agent) or Agent()
    known, off = agent.clock_off, None
    # whoever gathers what he sends brings words that are older than their way alone
    off_ms = max(event.off_ms - agent.interval_ms, min(event.off_ms, 0))
    if event.trusted and abs(off_ms) >= OFF_MS:
        same_way = known is not None and (known.off_ms > 0) == (off_ms > 0)
        if known is None or not same_way:
            off = ClockOff(draft.now_ms, off_ms, draft.now_ms)
        else:
            off = ClockOff(known.since_ms, min(known.off_ms, off_ms, key=abs), draft.now_ms)
    untold_ms = None if event.told else draft.now_ms if agent.untold_ms is None else agent.untold_ms
    draft.agents[event.agent] = msgspec.structs.replace(
        agent, trusted=event.trusted, clock_off=off, untold_ms=untold_ms
    )


def left(draft: Draft, event: Left | Died) -> None:
    """A goodbye or will counts only with the run and session of the last birth (docs/field-notes.md 27)."""
    agent = draft.agents.get(event.agent)
    if agent is None or (event.run, event.session) != (agent.run, agent.session):
        return
    if isinstance(event, Died):
        draft.agents[event.agent] = msgspec.structs.replace(agent, lost=True)
        return
    agent = _hear_state(draft, event.agent, agent)
    draft.agents[event.agent] = msgspec.structs.replace(agent, left=event.reason or "stop")
    expectation.note_duty(draft)


def _occurred(draft: Draft, key: OccurrenceKey, time_ms: int, text: str) -> None:
    known = draft.occurrences.get(key)
    first_ms = time_ms if known is None else min(known.first_ms, time_ms)
    draft.occurrences[key] = Occurrence(first_ms, draft.now_ms, text)


def happened(draft: Draft, event: Happened) -> None:
    """Take in an event that a record tells of."""
    hear(draft, event.name.agent, event.time_ms)
    too_late = draft.now_ms - event.time_ms > draft.rules.settings.lateness_ms
    time_ms = min(event.time_ms, draft.now_ms)
    if event.kind == "inventory":
        _inventory(draft, event, time_ms, too_late)
    elif too_late:
        draft.skip("too_late")
    elif event.kind == "problem":
        _trouble(draft, event, time_ms)
    elif event.kind == "started":
        restarts.started(draft, event)
    elif event.kind == "lost":
        reason = str(event.body.get("reason", ""))[:_MOST_TEXT]
        word = reason.partition(" ")[0]
        key = OccurrenceKey("lost", event.name.agent, word if ID.fullmatch(word) else "other")
        if key in draft.occurrences or len(draft.occurrences) < _MOST_OCCURRENCES:
            _occurred(draft, key, time_ms, reason)


def _trouble(draft: Draft, event: Happened, time_ms: int) -> None:
    """Keep why an agent cannot read a device, the newest word of each input."""
    key = TroubleKey(event.name.agent, event.device, str(event.body.get("input") or ""))
    text = str(event.body.get("problem") or event.body.get("text") or "")[:_MOST_TEXT]
    known = draft.troubles.get(key)
    if known is None or time_ms >= known.time_ms:
        draft.troubles[key] = InputTrouble(text, time_ms, draft.now_ms, event.name.run)


def _inventory(draft: Draft, event: Happened, time_ms: int, too_late: bool) -> None:
    """Keep who a device is; the newest word by event time wins, whichever lane brought it.

    An agent that has just started knows less than it did: what it does not say stays known.
    """
    told = {name: str(value) for name, value in event.body.items() if value is not None and name != "input"}
    input = str(event.body.get("input") or "")
    key = InventoryKey(event.device)
    known = draft.inventory.get(key)
    if known is not None and known.input != input:
        key = InventoryKey(event.device, input)
        known = draft.inventory.get(key)
    before: Mapping[str, str] = {} if known is None else known.identity
    identity = {**before, **told}
    if known is not None and (identity == before or time_ms < known.time_ms):
        return
    draft.inventory[key] = Known(time_ms, input, identity)
    draft.effects.append(
        InventoryEntry(
            site=draft.before.site,
            vehicle=draft.before.vehicle,
            device=event.device,
            seen_ms=time_ms,
            identity=dict(identity),
        )
    )
    was, is_now = before.get("firmware", ""), identity.get("firmware", "")
    if not was or was == is_now or too_late:
        return
    change = draft.changes.get(key)
    if change is not None and change.was == is_now:
        draft.changes.pop(key, None)
    else:
        draft.changes[key] = Change(event.device, was if change is None else change.was, is_now, time_ms)
