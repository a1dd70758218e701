"""What time alone changes of a vehicle: what its rules look at, what is withdrawn, what may be forgotten.

There is no running state in what rules look at: each look is a function of what was heard last (field note 30), so
that no restart changes it. Whatever is not due yet says when it will be (``Draft.wake_at``).
"""

from __future__ import annotations

import msgspec

from collector.core.rules.sampled import SampledRule
from collector.core.rules.shared import rules_of
from collector.core.rules.types import Look, Rules
from collector.core.vehicle import expectation, missing
from collector.core.vehicle.draft import Draft
from collector.core.vehicle.state import Ended
from collector.core.vehicle.wake import Wait
from telemetry.fleet import VehiclePlan


class WatchList(msgspec.Struct, frozen=True):
    """What there is to look at for one vehicle, worked out once."""

    plan: VehiclePlan
    looks: tuple[Look, ...]
    ids: frozenset[str]
    """The rules that hold for it."""


def watch_list(rules: Rules, site: str, vehicle: str, plan: VehiclePlan) -> WatchList:
    """Return the list for a vehicle; the last one is remembered as long as the plan is the same object."""
    found = rules.memory.get((site, vehicle))
    if isinstance(found, WatchList) and found.plan is plan:
        return found
    whole = list(rules.effective(site, vehicle))
    looks = [look for rule in whole for look in rule.looks_of_vehicle(vehicle, plan)]
    for agent, id, device in plan.devices():
        for rule in rules.effective(site, vehicle, id, device.kind):
            looks += rule.looks_of_device(agent, id, device)
    looks.sort(key=lambda look: look.rank)
    ids = frozenset(rule.id for rule in whole)
    ids = rules.memory.setdefault(ids, ids)  # the same for nearly all: 8 kB a vehicle
    made = rules.memory[site, vehicle] = WatchList(plan, tuple(looks), ids)
    return made


def pass_time(draft: Draft) -> None:
    """Judge what silence and time alone can change."""
    listed = watch_list(draft.rules, draft.before.site, draft.before.vehicle, draft.plan)
    _await_facts(draft)
    _heard_before(draft)
    expectation.note_silence(draft)
    listening = draft.listening.since_ms is not None
    for look in listed.looks:
        if listening or not look.listening:
            look.at(draft)
    if draft.problems or draft.rule_states or draft.windows or draft.readings:
        _withdrawn(draft, listed)
    if draft.problems:
        missing.judge(draft)
    if draft.ended:
        _forget(draft)


def _await_facts(draft: Draft) -> None:
    """What was known of the vehicle as a whole is known no more when its teller has been silent for long."""
    for fact in draft.facts.values():
        teller = draft.sources.get(fact.source)
        if teller is not None and teller.answered_ms is not None:
            limit_ms = draft.rules.settings.fact_ms + 1
            draft.waits.append(Wait(limit_ms, (fact.source,)))
            draft.wake_at(teller.answered_ms + limit_ms, fixed=False)


def _heard_before(draft: Draft) -> None:
    """Whoever was heard later than now was heard before our clock was set back: silence counts from here.

    What it said of the clock was said of the one before. By that one it had been silent until the site's last word.
    """
    now_ms, spoke_ms = draft.now_ms, draft.verdict.spoke_ms or 0
    for name, agent in list(draft.agents.items()):
        if agent.heard_ms is not None and agent.heard_ms > now_ms:
            off, from_ms = agent.clock_off, agent.from_ms
            draft.agents[name] = msgspec.structs.replace(
                agent,
                heard_ms=now_ms,
                from_ms=None if from_ms is None else min(from_ms, now_ms),
                silent_ms=agent.silent_ms + max(0, spoke_ms - agent.heard_ms),
                trusted=False,
                clock_off=None if off is None else msgspec.structs.replace(off, last_ms=0),
            )


def _withdrawn(draft: Draft, listed: WatchList) -> None:
    """A rule that is no more leaves no state; its problem is a person's matter."""
    for key, state in list(draft.rule_states.items()):
        if state.rule not in listed.ids or not isinstance(draft.rules.by_id.get(state.rule), SampledRule):
            draft.rule_states.pop(key, None)
    for memory in (draft.windows, draft.readings):
        for operand in list(memory):
            if not any(rule.id in listed.ids for rule in rules_of(draft.rules, operand)):
                memory.pop(operand, None)
    for problem in list(draft.problems.values()):
        if problem.rule in listed.ids:
            continue
        other = next((state.rule for state in draft.rule_states.values() if state.problem == problem.key), None)
        rule = None if other is None or not draft.is_held(problem.key) else draft.rules.by_id.get(other)
        if rule is not None:
            draft.adopt(problem, rule)
        else:
            draft.orphan(problem, f"rule {problem.rule} was withdrawn: a person must decide")


def _forget(draft: Draft) -> None:
    """Forget what is over and what no late data can touch any more."""
    oldest_ms = draft.now_ms - draft.rules.settings.lateness_ms
    for key, ended in list(draft.ended.items()):
        kept = tuple(span for span in ended.spans if span[1] >= oldest_ms)
        if not kept:
            draft.ended.pop(key, None)
            continue
        if kept != ended.spans:
            draft.ended[key] = Ended(ended.times, kept)
        draft.wake_at(min(span[1] for span in kept) + draft.rules.settings.lateness_ms + 1)
