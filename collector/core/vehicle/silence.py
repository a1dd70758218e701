"""Rules on silence of vehicles, agents and devices: the type, how it is read, and how it judges.

All durations are on our clock, because silence has no other; each look is a function of when something was last heard.
What is not due yet says when it will be (``Draft.wake_at``): a word that comes in between only makes that later.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from collector.core.contact_gaps import KEPT_S
from collector.core.identities import ProblemKey, SourceKey
from collector.core.places import Cell, cell_of
from collector.core.problems import Problem
from collector.core.rules.reader import Kind, RuleReader
from collector.core.rules.schemas import POSITION
from collector.core.rules.types import LEAST_SILENCE_MS, Look, Rule, scaled_silence
from collector.core.survey import LEAST_VEHICLES, last_heard, pace, poll_pace, silence_start, told_ms
from collector.core.vehicle import expectation, life, restarts, wake
from collector.core.vehicle.draft import EXPLAINED_MS, Draft
from collector.core.vehicle.duty import kit_agents
from collector.core.vehicle.events import Observed
from collector.core.vehicle.state import Agent
from collector.core.vehicle.wake import Wait
from telemetry.faults import SlaClass
from telemetry.files import convert
from telemetry.fleet import Device, VehiclePlan

_NEVER = Agent()
_AGAIN_MS: Final = 1_000
"""What is overdue, and waits only for a word, is looked at again so soon."""
_IDLE_MS: Final = 60_000
"""And so soon where what would matter is that a device works which does not."""
SLOW_MS: Final = 60_000
"""Who sends or is read less often than this may be silent for so much longer."""
FIX_MS: Final = 60_000
"""An older fix does not say where the last word came from."""
GRAVE_MS: Final = 1_200_000
"""A vehicle that has been silent for so long is a disaster."""
_CONTRARY = "whether it does its work is now the contrary of what this is about"


class SilenceShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Silence: nothing was heard, for the rule's `for`, of what ought to speak."""

    silence_of: Literal["device", "agent", "vehicle"]
    """Of whom. For a vehicle without `for` it depends on the place (docs/coverage.md)."""


class SilenceRule(Rule, frozen=True, kw_only=True):
    """Judges silence of each device, of an agent, or of the vehicle. ``for_ms`` 0 for a vehicle: the fleet file's."""

    of: Literal["device", "agent", "vehicle"]

    def scaled(self, speed: float) -> SilenceRule:
        """Return the rule for judging ``speed`` times faster; no silence of seconds proves anything."""
        for_ms = scaled_silence(self.for_ms, speed, LEAST_SILENCE_MS)
        return msgspec.structs.replace(self, for_ms=for_ms, clear_for_ms=round(self.clear_for_ms / speed))

    def looks_of_vehicle(self, vehicle: str, plan: VehiclePlan) -> Iterable[Look]:
        """Return its look at the vehicle, or at its agents."""
        if self.of == "vehicle":
            yield Look(0, functools.partial(_vehicle, self))
        elif self.of == "agent":
            yield Look(1, functools.partial(_agents, self))

    def looks_of_device(self, agent: str, device: str, plan: Device) -> Iterable[Look]:
        """Return its look at a device."""
        if self.of == "device" and plan.configured():  # of what nobody reads no word is expected
            sources = tuple(SourceKey(agent, device, name) for name, _ in plan.configured())
            poll_ms = round(1000 * max((config.interval for _, config in plan.configured()), default=0))
            listed = _Device(self, agent, device, sources, ProblemKey(self.fault.id, device), poll_ms, plan)
            yield Look(2, functools.partial(_device, listed))


def _make(reader: RuleReader, condition: Mapping[str, Any]) -> SilenceRule:
    reader.without("indicators", "max_gap")
    shape = convert(condition, SilenceShape, reader.path, f"{reader.key}.condition")
    working, only_if = reader.works()
    if only_if is not None:
        raise reader.wrong("only_if", "expected 'works' alone with a silence")
    if working is not None and shape.silence_of != "device":
        raise reader.wrong("only_if", f"expected it with silence_of: device only, found {shape.silence_of}")
    return SilenceRule(**reader.common(), of=shape.silence_of, working=working)


KIND: Final = Kind("silence_of", SilenceShape, _make)


class _Device(msgspec.Struct, frozen=True):
    """One device that ought to be heard. ``poll_ms`` is its longest poll interval."""

    rule: SilenceRule
    agent: str
    device: str
    sources: tuple[SourceKey, ...]
    key: ProblemKey
    poll_ms: int
    plan: Device


# --- vehicle and agents -----------------------------------------------------------------------------------------------


def _stretch_ms(draft: Draft, name: str, since_ms: int = 0) -> int:
    """Return how long an agent has spoken without a gap up to its last word; -1 if it is not speaking now."""
    agent = draft.agents.get(name, _NEVER)
    if agent.heard_ms is None or agent.from_ms is None or agent.left:
        return -1
    if draft.now_ms - agent.heard_ms > draft.away_ms(name):
        return -1
    return max(0, agent.heard_ms - max(agent.from_ms, since_ms))


def _vehicle(rule: SilenceRule, draft: Draft) -> None:
    key = ProblemKey(rule.fault.id, draft.before.vehicle)
    heard_ms = last_heard(draft.before)
    start = silence_start(heard_ms, draft.listening, draft.verdict)
    problem = draft.problems.get(key)
    if problem is not None:
        # a goodbye that has waited for us is no word of now, but ends a silence
        last_ms = max([heard_ms or 0, *(agent.from_ms or 0 for agent in draft.agents.values() if agent.left)])
        again_ms = (
            last_ms if problem.rule == rule.id and last_ms > told_ms(problem, draft.listening, draft.now_ms) else None
        )
        speaks = again_ms is not None and _vehicle_speaks(rule, draft, key, again_ms)
        if not speaks and start is not None:
            _weigh(rule, draft, problem, start)
        return
    duty = draft.duty()
    if not draft.plan.agents or draft.is_hidden(key, ()) or duty not in rule.when:
        return  # of a vehicle that the fleet file does not name nobody says that it ought to speak
    if start is None:
        return
    start = max(start, expectation.since_ms(draft, rule, key))
    if duty != "parked":
        start = max(start, expectation.left_parking_ms(draft, heard_ms))
    unheard = expectation.is_unheard(draft, heard_ms) and draft.now_ms >= start
    expectation.note_unheard(draft, unheard)
    if duty != "parked" and not unheard and heard_ms is not None and _all_left(draft):
        return
    limit_ms, why = _limit(rule, draft, heard_ms, unheard or heard_ms is None)
    due_ms = start + limit_ms
    if draft.now_ms < due_ms or not _others_speak(draft, start):
        draft.waits.append(Wait(_least_limit_ms(rule, draft)))
        draft.wake_at(max(due_ms, draft.now_ms + _AGAIN_MS), fixed=False)
        if start > draft.now_ms:
            draft.wake_at(start)
        return
    listened_ms = draft.listening.since_ms or 0
    event_ms = listened_ms if heard_ms is None else max(heard_ms, listened_ms) if unheard else heard_ms
    text = "never heard" if heard_ms is None else f"no word for {(draft.now_ms - start) // 1000} s{why}"
    grave = duty != "on_duty" or heard_ms is None or unheard or draft.now_ms - start >= _grave_ms(draft)
    sla_class: SlaClass = "disaster" if grave else "general"
    draft.open(rule, key, event_ms, text=text, deferred=heard_ms is None or unheard, sla_class=sla_class)
    if key in draft.problems:
        _weigh(rule, draft, draft.problems[key], start)
    if heard_ms is not None and not unheard and duty != "parked":
        expectation.fell_silent(draft, _cell(draft, heard_ms), heard_ms)


def _limit(rule: SilenceRule, draft: Draft, heard_ms: int | None, unknown: bool) -> tuple[int, str]:
    """Return how long a vehicle may be silent where it was last heard, and why.

    ``unknown``: nobody knows since when, or whether it has its kit yet.
    """
    if unknown or draft.duty() == "parked":
        pace_ms = pace(draft.rules, draft.before, draft.plan)
        return draft.rules.silence_ms(draft.plan.parked_silent_after) + pace_ms, ""
    own_ms = _own_pace(draft)
    if rule.for_ms:
        return rule.for_ms + own_ms, ""
    cell = _cell(draft, heard_ms)
    lately_ms = 0 if cell is None else draft.verdict.lately_ms(cell, draft.now_ms)
    limit = draft.learnt.gaps.limit(cell, draft.plan.silent_after, lately_ms / 1000)
    return draft.rules.silence_ms(limit.seconds) + own_ms, f"; {limit.why}"


def _least_limit_ms(rule: SilenceRule, draft: Draft) -> int:
    """Return the shortest time that ``_limit`` gives a vehicle anywhere."""
    least_s = KEPT_S if draft.plan.silent_after is None else draft.plan.silent_after
    least_ms = rule.for_ms or draft.rules.silence_ms(least_s)
    return min(least_ms, draft.rules.silence_ms(draft.plan.parked_silent_after))


def _own_pace(draft: Draft) -> int:
    """Return what a vehicle's silence may last longer for the pace in which it speaks at all."""
    sending_ms = max((agent.interval_ms for agent in draft.agents.values() if not agent.left), default=0)
    polled_ms = poll_pace(draft.rules, draft.before.vehicle, draft.plan, None)
    return sum(one for one in (sending_ms, polled_ms) if one > SLOW_MS)


def _cell(draft: Draft, heard_ms: int | None) -> Cell | None:
    """Return where the vehicle was at its last word, whoever said it, if there was a fix then.

    Who is lost again before any reading has come, was last seen where the readings before were made.
    """
    position, answered = draft.position, (one.answered_ms or 0 for one in draft.sources.values())
    if position is None or life.latest_ms(draft.sources) - position.time_ms > FIX_MS:
        return None
    if heard_ms is not None and heard_ms - max(answered, default=heard_ms) > FIX_MS:
        return None
    return cell_of(position.latitude, position.longitude)


def came_late(draft: Draft, event: Observed) -> None:
    """Learn from a reading that comes late where the last silence began, and that the kit ran on in it.

    The first if nobody knew that when it was told, the second if it ended with a boot, or as we came back.
    """
    silences = draft.expectation.silences
    if not silences or draft.verdict.clocks:
        return
    last, time_ms = silences[-1], event.time_ms
    if not last.cell and 0 <= last.from_ms - time_ms <= FIX_MS and (cell := _cell_of(event)) is not None:
        last = msgspec.structs.replace(last, cell=cell, unrecorded=True)
    elif last.unrecorded and last.to_ms < time_ms <= last.to_ms + FIX_MS + _own_pace(draft):
        pause = draft.verdict.pause_after(last.from_ms)
        heard_ms = draft.now_ms if pause is None or pause.spoke_ms is None else pause.spoke_ms
        last = msgspec.structs.replace(last, to_ms=max(last.to_ms, min(time_ms, heard_ms)))
    else:
        return
    expectation.rewrite_last(draft, last)


def _cell_of(event: Observed) -> Cell | None:
    """Return where a reading says that the vehicle is, if it does."""
    if not any(name == POSITION for name, _ in event.compiled.facts):
        return None
    latitude, longitude = (event.values[number] for number in event.compiled.place[:2])
    return None if latitude is None or longitude is None else cell_of(latitude, longitude)


def _vehicle_speaks(rule: SilenceRule, draft: Draft, key: ProblemKey, heard_ms: int) -> bool:
    """Let a silence be over once an agent has spoken for the clear-duration, or said goodbye.

    Return whether one speaks, or has: who said a few words and was lost again is silent still.
    """
    agents = draft.agents.values()
    stretch_ms = max((_stretch_ms(draft, name) for name in draft.agents), default=-1)
    said_goodbye = any(agent.left and heard_ms in (agent.heard_ms, agent.from_ms) for agent in agents)
    if stretch_ms < 0 and not said_goodbye:
        return False
    draft.wake_at(draft.now_ms + _AGAIN_MS)
    if said_goodbye or stretch_ms >= rule.clear_for_ms:
        since_ms = min(
            (agent.from_ms for agent in agents if agent.heard_ms == heard_ms and agent.from_ms is not None),
            default=heard_ms,
        )
        expectation.spoke_again(draft, since_ms)
        unjudged = draft.has_hole or restarts.is_to_be_judged(draft)
        if unjudged and draft.now_ms - since_ms < EXPLAINED_MS / draft.rules.speed:
            return (
                True  # what explains the silence may still come: records of the gap, or whether it was a loss of power
            )
        draft.close(rule, key, since_ms, text="the vehicle speaks again")
        expectation.silence_is_over(draft)
    return True


def _all_left(draft: Draft) -> bool:
    return all(agent.left for agent in draft.agents.values() if agent.heard_ms is not None)


def _grave_ms(draft: Draft) -> int:
    return scaled_silence(GRAVE_MS, draft.rules.speed, 2 * LEAST_SILENCE_MS)


def _weigh(rule: SilenceRule, draft: Draft, problem: Problem, start_ms: int) -> None:
    """Let a silence weigh more when it has lasted, or the vehicle is on a mission; a parked one's stays as it is."""
    if rule.sla_class is not None or problem.duty == "parked" or problem.sla_class == "disaster":
        return
    if draft.duty() == "parked":
        return  # by what it said since
    silent_ms = draft.now_ms - start_ms
    if draft.duty() == "on_mission":
        draft.raise_class(problem.key, "disaster", "on a mission")
    elif silent_ms >= _grave_ms(draft):
        draft.raise_class(problem.key, "disaster", f"no word for {silent_ms // 60_000} min")
    else:
        draft.wake_at(start_ms + _grave_ms(draft))


def _others_speak(draft: Draft, start_ms: int) -> bool:
    """Say whether the silence is the vehicle's own: another one spoke well after it began.

    Where one or two ought to speak nobody can tell a site from its vehicles: each silence is its own then.
    """
    verdict = draft.verdict
    if verdict.expected < LEAST_VEHICLES:
        return True
    return verdict.spoke_ms is not None and verdict.spoke_ms > start_ms + verdict.margin_ms


def _agents(rule: SilenceRule, draft: Draft) -> None:
    kit = kit_agents(draft.plan, draft.agents)
    for name in draft.plan.agents:
        agent = draft.agents.get(name, _NEVER)
        key = ProblemKey(rule.fault.id, name)
        if key in draft.problems:
            _agent_speaks(rule, draft, key, name, agent)
            continue
        if draft.is_hidden(key, ()) or not expectation.holds_now(draft, rule) or agent.left == "parked":
            continue
        start = silence_start(agent.heard_ms, draft.listening, draft.verdict)
        if start is None:
            continue
        start = max(start, expectation.since_ms(draft, rule, key, "agent"))
        if name in kit:
            start = max(start, expectation.left_parking_ms(draft, agent.heard_ms))
        limit_ms = rule.for_ms + agent.interval_ms + poll_pace(draft.rules, draft.before.vehicle, draft.plan, name)
        never = agent.heard_ms is None and not _is_listed(draft, name)
        if never or expectation.is_unheard(draft, agent.heard_ms):
            limit_ms = draft.rules.silence_ms(draft.plan.parked_silent_after)
        if draft.now_ms - start < limit_ms:
            draft.waits.append(Wait(limit_ms, agents=(name,)))
            draft.wake_at(start + limit_ms, fixed=False)
            continue
        # another one has been heard for so long without it; after a silence of all they come back one after the other
        heard_ms = max((_stretch_ms(draft, other, start) for other in draft.agents if other != name), default=-1)
        if heard_ms < rule.for_ms and not agent.left:
            if heard_ms >= 0:  # otherwise the first word of another one brings us here
                draft.wake_at(draft.now_ms + max(rule.for_ms - heard_ms, _AGAIN_MS))
            continue
        event_ms = start if agent.heard_ms is None else max(agent.heard_ms, draft.listening.since_ms or 0)
        said = f", it said goodbye ({agent.left})" if agent.left else ""
        draft.open(rule, key, event_ms, text=f"no word for {(draft.now_ms - start) // 1000} s{said}")


def _is_listed(draft: Draft, name: str) -> bool:
    """Say whether the fleet file named an agent while we listened: it was not silent before we did."""
    return not {"", name}.isdisjoint(draft.expectation.listed)


def _agent_speaks(rule: SilenceRule, draft: Draft, key: ProblemKey, name: str, agent: Agent) -> None:
    problem = draft.problems[key]
    heard = agent.heard_ms is not None and agent.heard_ms > told_ms(problem, draft.listening, draft.now_ms)
    stretch_ms = _stretch_ms(draft, name)
    if heard and problem.rule == rule.id and stretch_ms >= rule.clear_for_ms:
        draft.close(rule, key, agent.from_ms or draft.now_ms, text="the agent speaks again")
    elif stretch_ms >= 0:
        draft.wake_at(draft.now_ms + max(rule.clear_for_ms - stretch_ms, _AGAIN_MS))


# --- devices ----------------------------------------------------------------------------------------------------------


def _device(listed: _Device, draft: Draft) -> None:
    rule = listed.rule
    answered_ms = wake.answered_ms(draft, listed.sources)
    problem = draft.problems.get(listed.key)
    if problem is not None:
        heard = answered_ms is not None and answered_ms > problem.detected_ms + rule.clear_for_ms
        works = bool(draft.denial(rule, listed.key, listed.agent, draft.now_ms))
        if (heard or works) and problem.rule == rule.id and not draft.is_held(listed.key):
            ended_ms, text = (answered_ms or 0, "the device is read again") if heard else (draft.now_ms, _CONTRARY)
            draft.close(rule, listed.key, ended_ms, text=text)
        elif rule.working:
            _wake_when_idle(draft, listed.device)
        return
    agent = draft.agents.get(listed.agent, _NEVER)
    start = silence_start(answered_ms, draft.listening, draft.verdict)
    if start is None or agent.heard_ms is None or agent.from_ms is None:
        return
    start = max(start, agent.from_ms)
    limit_ms = rule.for_ms + agent.interval_ms + listed.poll_ms
    draft.waits.append(Wait(limit_ms, listed.sources))
    if agent.heard_ms - start < limit_ms and draft.wake_ms is not None and draft.wake_ms <= start + limit_ms:
        return  # something else is looked at before: since when it is expected can only make this later
    if _stretch_ms(draft, listed.agent) < 0:
        return
    expected_ms = expectation.since_ms(draft, rule, listed.key, listed.plan.kind, listed.plan)
    start = max(start, expected_ms)
    if agent.heard_ms - start < limit_ms:
        draft.wake_at(max(start + limit_ms, draft.now_ms + _AGAIN_MS), fixed=False)
        return
    if draft.has_hole:
        return  # its words may be among what is missing
    if not expectation.holds_now(draft, rule, listed.plan):
        return
    if draft.denial(rule, listed.key, listed.agent, draft.now_ms):
        _wake_when_idle(draft, listed.device)
        return
    if draft.is_hidden(listed.key, draft.rule_states.values(), agent=listed.agent):
        return
    event_ms = start if answered_ms is None else max(answered_ms, draft.listening.since_ms or 0)
    event_ms = max(event_ms, expected_ms)
    draft.open(
        rule, listed.key, event_ms, text=f"nothing of it for {(agent.heard_ms - start) // 1000} s, its agent speaks"
    )


def _wake_when_idle(draft: Draft, device: str) -> None:
    """Ask to be looked at when a device counts as working no more: that is news.

    One that does no work now begins to with a word, which mostly brings us here by itself.
    """
    until_ms = draft.works_until(device)
    draft.wake_at(until_ms + 1 if until_ms >= draft.now_ms else draft.now_ms + _IDLE_MS)
