"""Rules on what agents tell or do: the type, how it is read, and how it judges.

A device that cannot be read, a firmware version that changed, records that were lost, two under one identity, more than
a vehicle's quotas let it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from collector.core.identities import InventoryKey, OccurrenceKey, ProblemKey
from collector.core.rules.reader import Kind, RuleReader
from collector.core.rules.types import Look, Rule
from collector.core.vehicle import restarts
from collector.core.vehicle.draft import Draft
from collector.core.vehicle.state import Agent, InputTrouble, Occurrence
from telemetry.files import convert
from telemetry.fleet import VehiclePlan
from telemetry.topics import COLLECTOR

Told = Literal["problem", "firmware", "lost", "clash", "quota", "power_lost"]
_NEVER: Final = Agent()
_RANK: Final = 3


class EventShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What agents tell or do."""

    event: Told
    """`problem`: a device cannot be read; `firmware`: its version changed; `lost`: records were lost; `clash`: two run
    under one identity; `quota`: the collector has refused what was beyond the vehicle's quotas; `power_lost`: the kit
    is back after an end that was none, though it is always fed or the vehicle was moving."""
    starts_with: tuple[str, ...] = ()
    """Words that the text of a `problem` or `lost` begins with."""


class EventRule(Rule, frozen=True, kw_only=True):
    """Judges what agents tell or do.

    ``problem``: a device's problem begins with one of ``begins``. ``firmware``: a device's version is not the last one.
    ``lost``: an agent lost records for a reason that begins with one of ``begins``. ``clash``: two run under one
    identity. ``quota``: something that speaks for the vehicle wanted more than its quotas let it; one problem for all.
    ``power_lost``: see ``restarts``.
    """

    event: Told
    begins: tuple[str, ...] = ()

    def looks_of_vehicle(self, vehicle: str, plan: VehiclePlan) -> Iterable[Look]:
        """Return its one look: what the agents have told of any device."""
        yield _look_of(self, tuple((id, device.kind) for _, id, device in plan.devices()))


def _make(reader: RuleReader, condition: Mapping[str, Any]) -> EventRule:
    reader.without("indicators", "max_gap", "only_if")
    shape = convert(condition, EventShape, reader.path, f"{reader.key}.condition")
    if shape.event in ("problem", "lost") and not shape.starts_with:
        raise reader.wrong("condition.starts_with", f"expected the words that such a {shape.event} begins with")
    return EventRule(**reader.common(), event=shape.event, begins=shape.starts_with)


KIND: Final = Kind("event", EventShape, _make)


@functools.lru_cache(1024)
def _look_of(rule: EventRule, kinds: tuple[tuple[str, str], ...]) -> Look:
    """Return a rule's look at vehicles with devices of these kinds: vehicles are equipped alike."""
    return Look(_RANK, functools.partial(_look, rule, dict(kinds)), listening=False)


def _look(rule: EventRule, kinds: Mapping[str, str], draft: Draft) -> None:
    """Look at what agents told. ``kinds`` are those of the vehicle's devices."""
    if rule.event == "problem":
        _troubles(draft, rule, kinds)
    elif rule.event == "firmware":
        _firmware(draft, rule, kinds)
    elif rule.event == "quota":
        _quotas(draft, rule)
    elif rule.event == "power_lost":
        restarts.judge(draft, rule)
    else:
        for key, occurrence in list(draft.occurrences.items()):
            if key.kind == rule.event and occurrence.text.startswith(rule.begins or ("",)):
                _occurrence(draft, rule, key, occurrence)


def _troubles(draft: Draft, rule: EventRule, kinds: Mapping[str, str]) -> None:
    """A device's trouble is over when no input of it has it any more."""
    over: dict[ProblemKey, tuple[InputTrouble, bool]] = {}
    for told, trouble in list(draft.troubles.items()):
        if not rule.looks_at(told.device, kinds.get(told.device, "")):
            continue
        key = ProblemKey(rule.fault.id, told.device)
        waited_ms = draft.now_ms - trouble.noted_ms
        bad = trouble.text.startswith(rule.begins) and not _outlived(draft, told.agent, trouble)
        for span_ms in (rule.for_ms, rule.clear_for_ms):
            if waited_ms < span_ms:
                draft.wake_at(trouble.noted_ms + span_ms)
        if bad and waited_ms >= rule.for_ms and draft.duty() in rule.when and key not in draft.problems:
            if _is_told_still(draft, told.agent, trouble):
                draft.open(rule, key, trouble.time_ms, text=trouble.text)
            else:
                draft.wake_at(draft.now_ms + draft.rules.settings.settle_ms)
        newest, goes_on = over.get(key, (trouble, False))
        newest = max(newest, trouble, key=lambda found: found.time_ms)
        over[key] = newest, goes_on or bad or waited_ms < rule.clear_for_ms
    for key, (trouble, goes_on) in over.items():
        problem = draft.problems.get(key)
        if not goes_on and problem is not None and problem.rule == rule.id:
            outlived = trouble.text.startswith(rule.begins)
            text = "the problem is over" if outlived else trouble.text
            end_ms = trouble.last_ms if outlived else trouble.time_ms
            draft.close(rule, key, end_ms, text=text or "the problem is over")


def _is_told_still(draft: Draft, name: str, trouble: InputTrouble) -> bool:
    """Say whether the run that told of a trouble goes on: of kit that is off, or in a hole, nobody knows."""
    agent = draft.agents.get(name, _NEVER)
    if agent.heard_ms is None or (agent.born_ms is not None and agent.run != trouble.run):
        return False
    return draft.now_ms - agent.heard_ms <= draft.rules.settings.settle_ms


def _outlived(draft: Draft, name: str, trouble: InputTrouble) -> bool:
    """Say whether a trouble was told by a run that is past, and the agent's new run has had time to tell it again."""
    agent = draft.agents.get(name, _NEVER)
    if agent.born_ms is None or agent.heard_ms is None or agent.run == trouble.run:
        return False
    return agent.heard_ms - max(agent.born_ms, trouble.noted_ms) >= draft.rules.settings.settle_ms


def _firmware(draft: Draft, rule: EventRule, kinds: Mapping[str, str]) -> None:
    """A changed version stays a finding until a person has seen it, or the old version is back."""
    for key, change in list(draft.changes.items()):
        if change.told or not rule.looks_at(change.device, kinds.get(change.device, "")):
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
        return
    draft.wake_at(max(occurrence.noted_ms + rule.clear_for_ms, draft.now_ms + 1_000))
    if draft.duty() in rule.when:
        draft.open(rule, key, occurrence.first_ms, text=occurrence.text)


def _quotas(draft: Draft, rule: EventRule) -> None:
    """One problem says which quotas were exceeded; it is over once none was for the clear-duration."""
    key = ProblemKey(rule.fault.id, COLLECTOR)
    lasting = []
    for told, occurrence in sorted(draft.occurrences.items()):
        if told.kind == "quota" and draft.now_ms - occurrence.noted_ms < rule.clear_for_ms:
            lasting.append(occurrence)
            draft.wake_at(occurrence.noted_ms + rule.clear_for_ms)
        elif told.kind == "quota":
            draft.occurrences.pop(told)
    if lasting and draft.duty() in rule.when:
        first_ms = min(occurrence.first_ms for occurrence in lasting)
        draft.open(rule, key, first_ms, text="; ".join(occurrence.text for occurrence in lasting))
    problem = draft.problems.get(key)
    if not lasting and problem is not None and problem.rule == rule.id:
        draft.close(rule, key, draft.now_ms, text="nothing was beyond a quota any more")
