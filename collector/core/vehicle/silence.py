"""What a tick judges: silence of vehicles, agents and devices, and what agents have told; recomputed from facts.

There is no running state here: each of these is a function of when something was last heard (FIELD_NOTES 30), so that
neither a lost tick nor a restart changes it. All durations are on our clock, because silence has no other.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from collector.core.identities import InventoryKey, OccurrenceKey, ProblemKey, SourceKey
from collector.core.rules.types import AbsenceRule, EventRule, Rules, SampledRule
from collector.core.survey import last_heard, pace, poll_pace, silence_start
from collector.core.vehicle.draft import Draft
from collector.core.vehicle.state import Agent, Ended, InputTrouble, Occurrence
from telemetry.fleet import VehiclePlan

_NEVER = Agent()
_CONTRARY = "whether it does its work is now the contrary of what this is about"


@dataclass(frozen=True, slots=True)
class _Device:
    """One device that ought to be heard. ``poll_ms`` is its longest poll interval."""

    rule: AbsenceRule
    agent: str
    device: str
    sources: tuple[SourceKey, ...]
    key: ProblemKey
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
        sources = tuple(SourceKey(agent, id, name) for name, _ in device.configured())
        poll_ms = round(1000 * max((config.interval for _, config in device.configured()), default=0))
        for rule in rules.effective(site, vehicle, id, device.kind):
            if isinstance(rule, AbsenceRule) and rule.of == "device":
                devices.append(_Device(rule, agent, id, sources, ProblemKey(rule.fault.id, id), poll_ms))
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
    if draft.problems or draft.conditions or draft.late or draft.windows or draft.readings:
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
    key = ProblemKey(rule.fault.id, draft.before.vehicle)
    problem = draft.problems.get(key)
    agents = draft.agents.values()
    if problem is not None:
        heard_ms = max((agent.heard_ms for agent in agents if agent.heard_ms is not None), default=None)
        if problem.rule == rule.id and heard_ms is not None and heard_ms > problem.detected_ms:
            stretch_ms = max((_stretch_ms(draft, agent) for agent in agents), default=-1)
            said_goodbye = any(agent.left and agent.heard_ms == heard_ms for agent in agents)
            if said_goodbye or stretch_ms >= rule.clear_for_ms:
                since_ms = min(
                    (agent.from_ms for agent in agents if agent.heard_ms == heard_ms and agent.from_ms is not None),
                    default=heard_ms,
                )
                draft.close(rule, key, since_ms, text="the vehicle speaks again")
        return
    duty = draft.duty()
    if draft.is_hidden(key, ()) or duty not in rule.when:
        return
    heard_ms = last_heard(draft.before)
    start = silence_start(heard_ms, draft.listening, draft.verdict)
    if start is None:
        return
    if duty == "parked":
        limit_ms = draft.rules.silence_ms(draft.plan.parked_silent_after)
    else:
        if heard_ms is not None and all(agent.left for agent in agents if agent.heard_ms is not None):
            return
        limit_ms = rule.for_ms or draft.rules.silence_ms(draft.plan.silent_after)
    if draft.now_ms - start < limit_ms + pace(draft.rules, draft.before, draft.plan) or not _others_speak(draft, start):
        return
    event_ms = draft.listening.since_ms if heard_ms is None else max(heard_ms, draft.listening.since_ms or 0)
    text = "never heard" if heard_ms is None else f"no word for {(draft.now_ms - start) // 1000} s"
    draft.open(rule, key, event_ms or 0, text=text, deferred=heard_ms is None)


def _others_speak(draft: Draft, start_ms: int) -> bool:
    """Say whether the silence is the vehicle's own: another one spoke well after it began, or there is no other."""
    verdict = draft.verdict
    if verdict.expected <= 1:
        return True
    return verdict.spoke_ms is not None and verdict.spoke_ms > start_ms + verdict.margin_ms


def _agents(draft: Draft, rule: AbsenceRule) -> None:
    duty = draft.duty()
    for name in draft.plan.agents:
        agent = draft.agents.get(name, _NEVER)
        key = ProblemKey(rule.fault.id, name)
        problem = draft.problems.get(key)
        if problem is not None:
            if problem.rule == rule.id and _stretch_ms(draft, agent) >= rule.clear_for_ms:
                draft.close(rule, key, agent.from_ms or draft.now_ms, text="the agent speaks again")
            continue
        if draft.is_hidden(key, ()) or duty not in rule.when or agent.left == "parked":
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
        draft.open(rule, key, event_ms, text=f"no word for {(draft.now_ms - start) // 1000} s{said}")


# --- devices ----------------------------------------------------------------------------------------------------------


def _device(draft: Draft, listed: _Device) -> None:
    rule = listed.rule
    words = [
        source.answered_ms
        for name in listed.sources
        if (source := draft.sources.get(name)) is not None and source.answered_ms is not None
    ]
    answered_ms = max(words, default=None)
    problem = draft.problems.get(listed.key)
    if problem is not None:
        heard = answered_ms is not None and answered_ms > problem.detected_ms + rule.clear_for_ms
        works = draft.disagrees(rule, listed.device, draft.now_ms)
        if (heard or works) and problem.rule == rule.id and not is_held(draft, listed.key):
            ended_ms, text = (answered_ms or 0, "the device is read again") if heard else (draft.now_ms, _CONTRARY)
            draft.close(rule, listed.key, ended_ms, text=text)
        return
    if draft.disagrees(rule, listed.device, draft.now_ms):
        return
    agent = draft.agents.get(listed.agent, _NEVER)
    stretch_ms = _stretch_ms(draft, agent)
    if stretch_ms < 0 or agent.heard_ms is None or agent.from_ms is None:
        return
    start = silence_start(answered_ms, draft.listening, draft.verdict)
    if start is None:
        return
    start = max(start, agent.from_ms)
    if agent.heard_ms - start < rule.for_ms + agent.interval_ms + listed.poll_ms:
        return
    if draft.duty() not in rule.when:
        return
    if draft.is_hidden(listed.key, draft.conditions.values()):
        return
    event_ms = start if answered_ms is None else max(answered_ms, draft.listening.since_ms or 0)
    draft.open(
        rule, listed.key, event_ms, text=f"nothing of it for {(agent.heard_ms - start) // 1000} s, its agent speaks"
    )


def is_held(draft: Draft, key: ProblemKey) -> bool:
    """Say whether a condition on values holds the problem of a key."""
    return any(condition.problem == key and condition.phase != "pending" for condition in draft.conditions.values())


# --- what agents told -------------------------------------------------------------------------------------------------


def _told(draft: Draft, rule: EventRule, listed: WatchList) -> None:
    if rule.event == "problem":
        _troubles(draft, rule, listed)
    elif rule.event == "firmware":
        _firmware(draft, rule, listed)
    else:
        for key, occurrence in list(draft.occurrences.items()):
            if key.kind == rule.event and occurrence.text.startswith(rule.begins or ("",)):
                _occurrence(draft, rule, key, occurrence)


def _troubles(draft: Draft, rule: EventRule, listed: WatchList) -> None:
    """A device's trouble is over when no input of it has it any more."""
    over: dict[ProblemKey, tuple[InputTrouble, bool]] = {}
    for told, trouble in list(draft.troubles.items()):
        if not rule.looks_at(told.device, listed.kinds.get(told.device, "")):
            continue
        key = ProblemKey(rule.fault.id, told.device)
        waited_ms = draft.now_ms - trouble.noted_ms
        bad = trouble.text.startswith(rule.begins) and not _outlived(draft, told.agent, trouble)
        if bad and waited_ms >= rule.for_ms and draft.duty() in rule.when:
            draft.open(rule, key, trouble.time_ms, text=trouble.text)
        newest, held = over.get(key, (trouble, False))
        newest = max(newest, trouble, key=lambda found: found.time_ms)
        over[key] = newest, held or bad or waited_ms < rule.clear_for_ms
    for key, (trouble, held) in over.items():
        problem = draft.problems.get(key)
        if not held and problem is not None and problem.rule == rule.id:
            text = "the problem is over" if trouble.text.startswith(rule.begins) else trouble.text
            draft.close(rule, key, trouble.time_ms, text=text or "the problem is over")


def _outlived(draft: Draft, name: str, trouble: InputTrouble) -> bool:
    """Say whether a trouble was told by a run that is past, and the agent's new run has had time to tell it again."""
    agent = draft.agents.get(name, _NEVER)
    if agent.born_ms is None or agent.heard_ms is None or agent.run == trouble.run:
        return False
    return agent.heard_ms - max(agent.born_ms, trouble.noted_ms) >= draft.rules.settings.settle_ms


def _firmware(draft: Draft, rule: EventRule, listed: WatchList) -> None:
    """A changed version stays a finding until a person has seen it, or the old version is back."""
    for key, change in list(draft.changes.items()):
        if change.told or not rule.looks_at(change.device, listed.kinds.get(change.device, "")):
            continue
        if draft.duty() in rule.when:
            text = f"{change.was} -> {change.is_now}"
            draft.open(rule, ProblemKey(rule.fault.id, change.device), change.time_ms, text=text)
            draft.changes[key] = msgspec.structs.replace(change, told=True)
    changed = {change.device for change in draft.changes.values()}
    for problem in list(draft.problems.values()):
        known = draft.inventory.get(InventoryKey(problem.key.device))
        if problem.rule == rule.id and problem.key.device not in changed and known is not None:
            draft.close(rule, problem.key, known.time_ms, text=f"{known.firmware} again")


def _occurrence(draft: Draft, rule: EventRule, told: OccurrenceKey, occurrence: Occurrence) -> None:
    """Begins at once; over once it has not happened for the clear-duration while its agent spoke."""
    key = ProblemKey(rule.fault.id, told.agent)
    agent = draft.agents.get(told.agent, _NEVER)
    if agent.heard_ms is not None and agent.heard_ms - occurrence.noted_ms >= rule.clear_for_ms:
        problem = draft.problems.get(key)
        if problem is not None and problem.rule == rule.id:
            draft.close(rule, key, occurrence.noted_ms, text="it did not happen again")
        draft.occurrences.pop(told, None)
    elif draft.duty() in rule.when:
        draft.open(rule, key, occurrence.first_ms, text=occurrence.text)


# --- housekeeping -----------------------------------------------------------------------------------------------------


def _withdrawn(draft: Draft, listed: WatchList) -> None:
    """A rule that is no more leaves no condition; its problem is a person's matter."""
    for part in (draft.conditions, draft.late):
        for key, condition in list(part.items()):
            if condition.rule not in listed.ids or not isinstance(draft.rules.by_id.get(condition.rule), SampledRule):
                part.pop(key, None)
    for memory in (draft.windows, draft.readings):
        for operand in [operand for operand in memory if operand.rule not in listed.ids]:
            memory.pop(operand, None)
    for problem in list(draft.problems.values()):
        if problem.rule not in listed.ids:
            draft.orphan(problem, f"rule {problem.rule} was withdrawn: a person must decide")


def _forget(draft: Draft) -> None:
    """Forget what is over and what no late data can touch any more."""
    oldest_ms = draft.now_ms - draft.rules.settings.lateness_ms
    for key, ended in list(draft.ended.items()):
        kept = tuple(span for span in ended.spans if span[1] >= oldest_ms)
        if not kept:
            draft.ended.pop(key, None)
        elif kept != ended.spans:
            draft.ended[key] = Ended(ended.times, kept)
