"""What a tick judges: silence of vehicles, agents and devices, and what agents have told; recomputed from facts.

There is no running state here: each of these is a function of when something was last heard (FIELD_NOTES 30), so that
neither a lost tick nor a restart changes it. All durations are on our clock, because silence has no other.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from collector.core.rules.schemas import ticket_key
from collector.core.rules.types import AbsenceRule, EventRule, Rules, SampledRule
from collector.core.survey import last_heard, pace, poll_pace, silence_start
from collector.core.vehicle.draft import Draft
from collector.core.vehicle.state import Agent, Problem, Pulse
from telemetry.fleet import VehiclePlan

_NEVER = Agent()
_CONTRARY = "whether it does its work is now the contrary of what this is about"


@dataclass(frozen=True, slots=True)
class _Device:
    """One device that ought to be heard. ``poll_ms`` is its longest poll interval."""

    rule: AbsenceRule
    agent: str
    device: str
    sources: tuple[str, ...]
    key: str
    poll_ms: int


@dataclass(frozen=True, slots=True)
class WatchList:
    """What a tick has to look at for one vehicle, worked out once. ``ids`` are the rules that hold for it."""

    plan: VehiclePlan
    vehicle: tuple[AbsenceRule, ...]
    agents: tuple[AbsenceRule, ...]
    devices: tuple[_Device, ...]
    events: tuple[EventRule, ...]
    kinds: dict[str, str]
    ids: frozenset[str]


def watch_list(rules: Rules, site: str, vehicle: str, plan: VehiclePlan) -> WatchList:
    """Return the list for a vehicle; the last one is remembered as long as the plan is the same object."""
    found = rules.memory.get((site, vehicle))
    if isinstance(found, WatchList) and found.plan is plan:
        return found
    whole = list(rules.effective(site, vehicle))
    devices = []
    for agent, id, device in plan.devices():
        sources = tuple(f"{agent}/{id}/{name}" for name, _ in device.configured())
        poll_ms = round(1000 * max((config.interval for _, config in device.configured()), default=0))
        for rule in rules.effective(site, vehicle, id, device.kind):
            if isinstance(rule, AbsenceRule) and rule.of == "device":
                devices.append(_Device(rule, agent, id, sources, ticket_key(rule.fault.id, id), poll_ms))
    made = WatchList(
        plan=plan,
        vehicle=tuple(rule for rule in whole if isinstance(rule, AbsenceRule) and rule.of == "vehicle"),
        agents=tuple(rule for rule in whole if isinstance(rule, AbsenceRule) and rule.of == "agent"),
        devices=tuple(devices),
        events=tuple(rule for rule in whole if isinstance(rule, EventRule)),
        kinds={id: device.kind for _, id, device in plan.devices()},
        ids=frozenset(rule.id for rule in whole),
    )
    rules.memory[site, vehicle] = made
    return made


def tick(draft: Draft) -> None:
    """Judge what silence and time alone can change."""
    listed = watch_list(draft.rules, draft.before.site, draft.before.vehicle, draft.plan)
    if draft.listening.since_ms is not None:
        for rule in listed.vehicle:
            _vehicle(draft, rule)
        for rule in listed.agents:
            _agents(draft, rule)
        for device in listed.devices:
            _device(draft, device)
    for event_rule in listed.events:
        _told(draft, event_rule, listed)
    if draft.tickets or draft.conditions or draft.late:
        _withdrawn(draft, listed)
    if draft.ended:
        _forget(draft)


# --- vehicle and agents -----------------------------------------------------------------------------------------------


def _stretch_ms(draft: Draft, agent: Agent) -> int:
    """Return how long an agent has spoken without a gap up to its last word; -1 if it is not speaking now."""
    if agent.heard_ms is None or agent.from_ms is None or agent.left:
        return -1
    if draft.now_ms - agent.heard_ms > draft.rules.settings.gap_ms + agent.interval_ms:
        return -1
    return agent.heard_ms - agent.from_ms


def _vehicle(draft: Draft, rule: AbsenceRule) -> None:
    key = ticket_key(rule.fault.id, draft.before.vehicle)
    ticket = draft.tickets.get(key)
    agents = draft.agents.values()
    if ticket is not None:
        heard_ms = max((agent.heard_ms for agent in agents if agent.heard_ms is not None), default=None)
        if ticket.rule == rule.id and heard_ms is not None and heard_ms > ticket.opened_ms:
            stretch_ms = max((_stretch_ms(draft, agent) for agent in agents), default=-1)
            said_goodbye = any(agent.left and agent.heard_ms == heard_ms for agent in agents)
            if said_goodbye or stretch_ms >= rule.clear_for_ms:
                since_ms = min(
                    (agent.from_ms for agent in agents if agent.heard_ms == heard_ms and agent.from_ms is not None),
                    default=heard_ms,
                )
                draft.resolve_ticket(rule, key, since_ms, text="the vehicle speaks again")
        return
    standing = draft.standing()
    if draft.verdict.unreachable or standing not in rule.when:
        return
    heard_ms = last_heard(draft.before)
    start = silence_start(heard_ms, draft.listening, draft.verdict)
    if start is None:
        return
    if standing == "parked":
        limit_ms = draft.rules.silence_ms(draft.plan.parked_silent_after)
    else:
        if heard_ms is not None and all(agent.left for agent in agents if agent.heard_ms is not None):
            return
        limit_ms = rule.for_ms or draft.rules.silence_ms(draft.plan.silent_after)
    if draft.now_ms - start < limit_ms + pace(draft.rules, draft.before, draft.plan) or not _others_speak(draft, start):
        return
    event_ms = draft.listening.since_ms if heard_ms is None else max(heard_ms, draft.listening.since_ms or 0)
    text = "never heard" if heard_ms is None else f"no word for {(draft.now_ms - start) // 1000} s"
    draft.open_ticket(rule, key, event_ms or 0, text=text, deferred=heard_ms is None)


def _others_speak(draft: Draft, start_ms: int) -> bool:
    """Say whether the silence is the vehicle's own: another one spoke well after it began, or there is no other."""
    verdict = draft.verdict
    if verdict.expected <= 1:
        return True
    return verdict.spoke_ms is not None and verdict.spoke_ms > start_ms + verdict.margin_ms


def _agents(draft: Draft, rule: AbsenceRule) -> None:
    standing = draft.standing()
    for name in draft.plan.agents:
        agent = draft.agents.get(name, _NEVER)
        key = ticket_key(rule.fault.id, name)
        ticket = draft.tickets.get(key)
        if ticket is not None:
            if ticket.rule == rule.id and _stretch_ms(draft, agent) >= rule.clear_for_ms:
                draft.resolve_ticket(rule, key, agent.from_ms or draft.now_ms, text="the agent speaks again")
            continue
        if draft.verdict.unreachable or standing not in rule.when or agent.left == "parked":
            continue
        start = silence_start(agent.heard_ms, draft.listening, draft.verdict)
        limit_ms = rule.for_ms + agent.interval_ms + poll_pace(draft.rules, draft.before.vehicle, draft.plan, name)
        if start is None or draft.now_ms - start < limit_ms:
            continue
        # after a silence of the whole vehicle its agents come back one after the other
        others = any(_stretch_ms(draft, other) >= limit_ms for id, other in draft.agents.items() if id != name)
        if not others and not agent.left:
            continue
        event_ms = start if agent.heard_ms is None else max(agent.heard_ms, draft.listening.since_ms or 0)
        said = f", it said goodbye ({agent.left})" if agent.left else ""
        draft.open_ticket(rule, key, event_ms, text=f"no word for {(draft.now_ms - start) // 1000} s{said}")


# --- devices ----------------------------------------------------------------------------------------------------------


def _device(draft: Draft, listed: _Device) -> None:
    rule = listed.rule
    words = [
        source.word_ms
        for name in listed.sources
        if (source := draft.sources.get(name)) is not None and source.word_ms is not None
    ]
    word_ms = max(words, default=None)
    ticket = draft.tickets.get(listed.key)
    if ticket is not None:
        heard = word_ms is not None and word_ms > ticket.opened_ms + rule.clear_for_ms
        works = draft.disagrees(rule, listed.device, draft.now_ms)
        if (heard or works) and ticket.rule == rule.id and not _held(draft, listed.key):
            ended_ms, text = (word_ms or 0, "the device is read again") if heard else (draft.now_ms, _CONTRARY)
            draft.resolve_ticket(rule, listed.key, ended_ms, text=text)
        return
    if draft.disagrees(rule, listed.device, draft.now_ms):
        return
    agent = draft.agents.get(listed.agent, _NEVER)
    stretch_ms = _stretch_ms(draft, agent)
    if stretch_ms < 0 or agent.heard_ms is None or agent.from_ms is None:
        return
    start = silence_start(word_ms, draft.listening, draft.verdict)
    if start is None:
        return
    start = max(start, agent.from_ms)
    if agent.heard_ms - start < rule.for_ms + agent.interval_ms + listed.poll_ms:
        return
    if draft.standing() not in rule.when:
        return
    if draft.root_of(rule, listed.device, draft.tickets.values(), draft.conditions.values()) is not None:
        return
    event_ms = start if word_ms is None else max(word_ms, draft.listening.since_ms or 0)
    draft.open_ticket(
        rule, listed.key, event_ms, text=f"nothing of it for {(agent.heard_ms - start) // 1000} s, its agent speaks"
    )


def _held(draft: Draft, key: str) -> bool:
    """Say whether a condition on values holds the ticket of a key."""
    return any(condition.ticket == key and condition.phase != "pending" for condition in draft.conditions.values())


# --- what agents told -------------------------------------------------------------------------------------------------


def _told(draft: Draft, rule: EventRule, listed: WatchList) -> None:
    if rule.event == "problem":
        _problems(draft, rule, listed)
    elif rule.event == "firmware":
        _firmware(draft, rule, listed)
    else:
        for name, pulse in list(draft.pulses.items()):
            if name.startswith(f"{rule.event}/") and pulse.text.startswith(rule.begins or ("",)):
                _pulse(draft, rule, name, pulse)


def _problems(draft: Draft, rule: EventRule, listed: WatchList) -> None:
    """A device's problem is over when no input of it has it any more."""
    over: dict[str, tuple[Problem, bool]] = {}
    for name, problem in list(draft.problems.items()):
        agent, device = name.split("/")[:2]
        if not rule.looks_at(device, listed.kinds.get(device, "")):
            continue
        key = ticket_key(rule.fault.id, device)
        waited_ms = draft.now_ms - problem.noted_ms
        bad = problem.text.startswith(rule.begins) and not _outlived(draft, agent, problem)
        if bad and waited_ms >= rule.for_ms and draft.standing() in rule.when:
            draft.open_ticket(rule, key, problem.time_ms, text=problem.text)
        newest, held = over.get(key, (problem, False))
        newest = max(newest, problem, key=lambda found: found.time_ms)
        over[key] = newest, held or bad or waited_ms < rule.clear_for_ms
    for key, (problem, held) in over.items():
        if not held and key in draft.tickets and draft.tickets[key].rule == rule.id:
            text = "the problem is over" if problem.text.startswith(rule.begins) else problem.text
            draft.resolve_ticket(rule, key, problem.time_ms, text=text or "the problem is over")


def _outlived(draft: Draft, name: str, problem: Problem) -> bool:
    """Say whether a problem was told by a run that is past, and the agent's new run has had time to tell it again."""
    agent = draft.agents.get(name, _NEVER)
    if agent.born_ms is None or agent.heard_ms is None or agent.run == problem.run:
        return False
    return agent.heard_ms - max(agent.born_ms, problem.noted_ms) >= draft.rules.settings.settle_ms


def _firmware(draft: Draft, rule: EventRule, listed: WatchList) -> None:
    """A changed version stays a finding until a person has seen it, or the old version is back."""
    for name, change in list(draft.changes.items()):
        if change.told or not rule.looks_at(change.device, listed.kinds.get(change.device, "")):
            continue
        if draft.standing() in rule.when:
            text = f"{change.was} -> {change.is_now}"
            draft.open_ticket(rule, ticket_key(rule.fault.id, change.device), change.time_ms, text=text)
            draft.put("changes", name, msgspec.structs.replace(change, told=True))
    changed = {change.device for change in draft.changes.values()}
    for key, ticket in list(draft.tickets.items()):
        known = draft.inventory.get(ticket.device)
        if ticket.rule == rule.id and ticket.device not in changed and known is not None:
            draft.resolve_ticket(rule, key, known.time_ms, text=f"{known.firmware} again")


def _pulse(draft: Draft, rule: EventRule, name: str, pulse: Pulse) -> None:
    """Open at once; over once it has not happened for the clear-duration while its agent spoke."""
    agent_name = name.split("/")[1]
    key = ticket_key(rule.fault.id, agent_name)
    agent = draft.agents.get(agent_name, _NEVER)
    if agent.heard_ms is not None and agent.heard_ms - pulse.noted_ms >= rule.clear_for_ms:
        if key in draft.tickets and draft.tickets[key].rule == rule.id:
            draft.resolve_ticket(rule, key, pulse.noted_ms, text="it did not happen again")
        draft.drop("pulses", name)
    elif draft.standing() in rule.when:
        draft.open_ticket(rule, key, pulse.first_ms, text=pulse.text)


# --- housekeeping -----------------------------------------------------------------------------------------------------


def _withdrawn(draft: Draft, listed: WatchList) -> None:
    """A rule that is no more leaves no condition; its ticket asks a person, once."""
    for part in ("conditions", "late"):
        for key, condition in list(getattr(draft, part).items()):
            if condition.rule not in listed.ids or not isinstance(draft.rules.by_id.get(condition.rule), SampledRule):
                draft.drop(part, key)
    asked = [key for key in draft.asked if key in draft.tickets]
    for key, ticket in draft.tickets.items():
        if ticket.rule not in listed.ids and key not in asked:
            draft.history(ticket, "note", f"rule {ticket.rule} was withdrawn: a person must decide")
            asked.append(key)
    if tuple(asked) != draft.asked:
        draft.set("asked", tuple(asked))


def _forget(draft: Draft) -> None:
    """Forget resolved tickets that no late data can touch any more."""
    oldest_ms = draft.now_ms - draft.rules.settings.lateness_ms
    for key, spans in list(draft.ended.items()):
        kept = tuple(span for span in spans if span[1] >= oldest_ms)
        if not kept:
            draft.drop("ended", key)
        elif kept != spans:
            draft.put("ended", key, kept)
