"""What may be expected of a vehicle, its agents and its devices, and since when (docs/architecture.md, Expectation).

``expected_since`` is the latest of: listening began (and agents had their time to come back), the agent came back, the
vehicle's duty entered the rule's ``when`` and the kit had its time to start, an explaining cause ended, the fleet file
named it. Silence, and not being reached, count from there; windows hold nothing from before.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from collector.core.contact_gaps import LONGEST_S
from collector.core.identities import OperandKey, ProblemKey
from collector.core.journeys import explains
from collector.core.places import Cell
from collector.core.problems import Duty
from collector.core.rules.reducers import Window
from collector.core.rules.rule_state import Subject
from collector.core.rules.shared import rules_of
from collector.core.rules.types import Rule
from collector.core.vehicle import life, parking
from collector.core.vehicle.duty import kit_agents
from collector.core.vehicle.state import Expectation, Silence
from collector.core.vehicle.wake import Wait
from telemetry.fleet import Device

if TYPE_CHECKING:
    from collector.core.vehicle.draft import Draft

_START_MS: Final = {"router": 120_000, "camera": 180_000, "encoder": 180_000}
_LONGEST_HOLE_MS: Final = round(1000 * LONGEST_S)
_MOST_SILENCES: Final = 8
_OTHER_START_MS: Final = 120_000
"""How long a kind of device takes from power to its first answer."""


def start_ms(draft: Draft, kind: str) -> int:
    """Return the start time of a kind of device."""
    return round(_START_MS.get(kind, _OTHER_START_MS) / draft.rules.speed)


def holds_now(draft: Draft, rule: Rule, device: Device | None = None) -> bool:
    """Say whether the vehicle's duty lets a rule open; kit on a circuit of its own is expected of a parked one too."""
    duty = draft.duty()
    return duty in rule.when or (duty == "parked" and device is not None and device.circuit == "always")


def since_ms(draft: Draft, rule: Rule, key: ProblemKey, kind: str = "", device: Device | None = None) -> int:
    """Return since when something is expected by the centre's clock, as far as its own words and listening do not say.

    ``kind`` is that of a device that needs time to start, empty for what needs none.
    """
    return max(
        _entered(draft, rule, kind, device, 0),
        draft.expectation.listed.get("", 0),
        draft.expectation.listed.get(key.device, 0),
        draft.cause_ended_ms(key)[0],
    )


def since_event_ms(draft: Draft, rule: Rule, key: ProblemKey, kind: str, device: Device | None) -> int:
    """Return the same by the kit's clock."""
    return max(_entered(draft, rule, kind, device, 1), draft.cause_ended_ms(key)[1])


def _entered(draft: Draft, rule: Rule, kind: str, device: Device | None, clock: int) -> int:
    """Return since when the vehicle's duty has been one of the rule's, with the time that a device needs to start."""
    always = device is not None and device.circuit == "always"
    left = [
        times[clock]
        for duty, times in draft.expectation.left.items()
        if duty not in rule.when and not (always and duty == "parked")
    ]
    return max(left) + (start_ms(draft, kind) if kind else 0) if left else 0


def left_parking_ms(draft: Draft, heard_ms: int | None) -> int:
    """Return from when on (our clock) a word is expected of who was parked, is not any more and has said nothing since.

    A mission may begin before its kit has said anything: whoever is called out starts it then. Who was lost sight of
    before that may have been parked.
    """
    lost = (
        draft.duty() == "on_mission"
        and heard_ms is not None
        and (_is_lost_sight_of(draft, heard_ms) or _fell_silent_unseen(draft, heard_ms))
    )
    left = draft.expectation.left
    left_ms = max(
        (left[duty][0] for duty in (("parked", "on_duty") if lost else ("parked",)) if duty in left), default=0
    )
    if not left_ms or (heard_ms is not None and heard_ms >= left_ms):
        return 0
    return left_ms + start_ms(draft, "")


def is_unheard(draft: Draft, heard_ms: int | None) -> bool:
    """Say whether somebody fell silent while we did not listen: nobody knows of a silence.

    Who had been silent for longer than the site's last word from before was silent already; but where that was not due
    yet, kit that lives by the ignition may have come out of a hole and been parked while nobody heard it.
    """
    listened_ms, reconnect_ms = draft.listening.since_ms, draft.listening.reconnect_ms
    if listened_ms is None or heard_ms is None:
        return False
    if heard_ms >= listened_ms:
        return draft.duty() == "on_duty" and _is_lost_sight_of(draft, heard_ms)
    if listened_ms - heard_ms <= reconnect_ms:
        return False  # a pause of ours so short that it hides no parking
    waited = [agent for agent in draft.agents.values() if (agent.from_ms or 0) > (agent.heard_ms or 0)]
    if any(agent.left for agent in waited):
        return False  # whoever said goodbye meanwhile has said why he is silent
    pause = draft.verdict.pause_after(heard_ms)
    if pause is None or pause.spoke_ms is None or heard_ms >= pause.spoke_ms - draft.rules.settings.gap_ms or waited:
        return True  # of a birth that has waited, and not one word since, nobody knows when that was
    if draft.duty() != "on_duty" or not pause.hides_parking(reconnect_ms):
        return False
    return _may_die(draft) and pause.spoke_ms - heard_ms < _LONGEST_HOLE_MS


def _may_die(draft: Draft) -> bool:
    """Say whether the kit lives by the ignition, or all that is known is that a silence of its ended with a boot."""
    learnt = draft.expectation.feeding
    fed = parking.feeding_of(draft.plan, learnt)
    return fed in parking.DIES or (fed is None and learnt.boots > 0)


def _fell_silent_unseen(draft: Draft, heard_ms: int) -> bool:
    """Say whether kit that may die was heard last before we listened, and before a pause that hides no parking."""
    listened_ms = draft.listening.since_ms
    return listened_ms is not None and listened_ms - heard_ms > draft.listening.reconnect_ms and _may_die(draft)


def _is_lost_sight_of(draft: Draft, heard_ms: int) -> bool:
    """Say whether kit that may die was heard for a moment only when we listened again, and did not say where it was."""
    listened_ms, reconnect_ms = draft.listening.since_ms or 0, draft.listening.reconnect_ms
    position = draft.position
    if position is None or heard_ms - listened_ms > reconnect_ms:
        return False
    return (
        _may_die(draft)
        and position.time_ms < listened_ms - reconnect_ms
        and any(agent.from_ms is not None and agent.from_ms >= listened_ms for agent in draft.agents.values())
    )


def note_duty(draft: Draft, event_ms: int | None = None) -> None:
    """Note what the vehicle is doing where that has changed, and when on the kit's clock; windows begin anew there.

    Where the kit does not say so itself it is now, and after all that the kit has told, whatever our clock says.
    """
    draft.begin()
    known, now = draft.expectation, draft.duty()
    if now == known.duty:
        return
    if event_ms is None:
        event_ms = max(draft.now_ms, life.latest_ms(draft.sources))
    if known.duty:
        left = {**known.left, known.duty: (draft.now_ms, event_ms)}
        draft.expectation = msgspec.structs.replace(known, duty=now, left=left)
        _cut_windows(draft, known.duty)
        draft.raise_by_duty()
    else:
        draft.expectation = msgspec.structs.replace(known, duty=now)


def _cut_windows(draft: Draft, before: Duty) -> None:
    """Let windows begin anew whose rules the vehicle was not expected to keep; what holds a problem stays."""
    held = {state.rule for state in draft.rule_states.values() if state.phase != "pending"}
    for key, window in list(draft.windows.items()):
        looking = rules_of(draft.rules, key)
        if looking and not any(before in rule.when or rule.id in held for rule in looking):
            draft.windows[key] = Window(window.version, from_ms=window_from_ms(draft, key))


def window_from_ms(draft: Draft, key: OperandKey) -> int:
    """Return from when on samples count for a window that begins (event time)."""
    looking = rules_of(draft.rules, key)
    if not looking or not draft.expectation.left:
        return 0
    agent = draft.plan.agents.get(key.source.agent)
    device = None if agent is None else agent.devices.get(key.source.device)
    kind = "" if device is None else device.kind
    return min(_entered(draft, rule, kind, device, 1) for rule in looking)


def note_unheard(draft: Draft, unheard: bool) -> None:
    """Note that nobody knows whether the vehicle is silent, so that it is shown."""
    if draft.expectation.unheard != unheard:
        draft.expectation = msgspec.structs.replace(draft.expectation, unheard=unheard)


def note_silence(draft: Draft) -> None:
    """Note what silence says of the vehicle's duty; comes before anything that judges silence."""
    note_duty(draft)
    if draft.duty() != "on_duty" or any(key.fault == "vehicle_silent" for key in draft.problems):
        return
    kit = kit_agents(draft.plan, draft.agents)
    away_ms = max((draft.away_ms(name) for name in kit), default=0)
    if parking.feeding_of(draft.plan, draft.expectation.feeding) in parking.DIES:
        draft.waits.append(Wait(away_ms, agents=tuple(kit)))
    found = parking.inferred(
        draft,
        draft.plan,
        draft.listening,
        away_ms,
        draft.now_ms,
        functools.partial(draft.verdict.hides, draft.listening),
        functools.partial(is_place, draft),
    )
    if found is not None:
        draft.expectation = msgspec.structs.replace(draft.expectation, parking=found)
        note_duty(draft)


def planned(draft: Draft, subject: Subject) -> Device | None:
    """Return what the fleet file says of the device that a rule's state is about."""
    agent = draft.plan.agents.get(subject.source.agent)
    return None if agent is None else agent.devices.get(subject.device)


def drives(draft: Draft, event_ms: int) -> None:
    """Note that the vehicle drives: it is not parked, whatever was inferred."""
    draft.expectation = msgspec.structs.replace(draft.expectation, parking=None)
    note_duty(draft, event_ms)


def is_place(draft: Draft, cell: Cell) -> bool:
    """Say whether vehicles of the site are parked in a cell, by what the survey or the log has taught."""
    return parking.is_named(draft.verdict.places, cell) or draft.learnt.gaps.is_parking(cell)


def came_back(draft: Draft, agent: str, event_ms: int) -> None:
    """Note the first word of an agent after a gap: what was inferred of its silence is over."""
    known = draft.expectation
    parked = known.parking is not None and agent in kit_agents(draft.plan, draft.agents)
    if parked or known.unheard:
        draft.expectation = msgspec.structs.replace(known, parking=None if parked else known.parking, unheard=False)
    note_duty(draft, event_ms)


def was_not_silent(draft: Draft, agent: str, event_ms: int) -> None:
    """Take back what was inferred of a silence in which the kit did speak: a hole brings its words of that time.

    It has never left its duty then, and no device had to start.
    """
    if agent in kit_agents(draft.plan, draft.agents):
        draft.expectation = msgspec.structs.replace(draft.expectation, parking=None, duty="on_duty")
        note_duty(draft, event_ms)


def fell_silent(draft: Draft, cell: Cell | None, heard_ms: int) -> None:
    """Note that a silence is told that began where the vehicle was last heard: others may pass there soon."""
    silences = (*draft.expectation.silences, Silence(cell or "", heard_ms))[-_MOST_SILENCES:]
    draft.expectation = msgspec.structs.replace(draft.expectation, silences=silences)


def spoke_again(draft: Draft, since_ms: int) -> None:
    """Note since when (our clock) a vehicle has spoken whose silence was told.

    Of one in which we went away, and which was over as soon as we were back, we know how long it was until then.
    """
    silences = draft.expectation.silences
    if not silences or silences[-1].to_ms:
        return
    last, to_ms, reconnect_ms = silences[-1], since_ms, draft.listening.reconnect_ms
    pause = draft.verdict.pause_after(last.from_ms)
    if pause is not None and pause.hides_parking(reconnect_ms) and last.from_ms < (pause.spoke_ms or 0):
        hidden = pause.over_ms is None or since_ms <= pause.over_ms + reconnect_ms
        to_ms = min(since_ms, pause.spoke_ms or 0) if hidden else since_ms
    unrecorded = last.unrecorded or pause is not None
    rewrite_last(draft, msgspec.structs.replace(last, to_ms=max(to_ms, last.from_ms), unrecorded=unrecorded))


def rewrite_last(draft: Draft, silence: Silence) -> None:
    """Let this be what is known of the last silence that was told."""
    silences = (*draft.expectation.silences[:-1], silence)
    draft.expectation = msgspec.structs.replace(draft.expectation, silences=silences)


def silence_is_over(draft: Draft) -> None:
    """Forget where a silence was that a fault of the kit explains: it says nothing of the place."""
    silences = draft.expectation.silences
    if silences and any(explains(*one, silences[-1].from_ms, silences[-1].to_ms) for one in _told(draft)):
        draft.expectation = msgspec.structs.replace(draft.expectation, silences=silences[:-1])


def _told(draft: Draft) -> Iterator[tuple[str, int, int | None]]:
    """Yield what was told of the vehicle: fault, begin, end."""
    yield from ((key.fault, problem.event_ms, None) for key, problem in draft.problems.items())
    for key, ended in draft.ended.items():
        yield from ((key.fault, *span) for span in ended.spans)


def booted(draft: Draft, agent: str) -> None:
    """Learn from the birth of an agent whose box has booted since its last word, before that word is replaced.

    What of its silence we were there to hear counts, by whatever clock, before a pause of ours too; of one that a pause
    hides nobody knows the place, unless it was known as parked when we were started anew or our clock was set.
    """
    if (told := draft.expectation.silences) and not told[-1].to_ms:  # no hole, unless what comes late says more
        rewrite_last(draft, msgspec.structs.replace(told[-1], to_ms=told[-1].from_ms, unrecorded=True))
    known, before = draft.expectation, draft.agents.get(agent)
    listened_ms = draft.listening.since_ms
    if before is None or before.heard_ms is None or listened_ms is None:
        return
    silent_ms = before.silent_ms + draft.now_ms - max(before.heard_ms, listened_ms)
    pause = draft.verdict.pause_after(before.heard_ms)
    if pause is not None and pause.spoke_ms is not None:
        silent_ms += max(0, pause.spoke_ms - before.heard_ms)
    if agent not in kit_agents(draft.plan, draft.agents) or silent_ms < parking.PARKED_MS:
        return
    watched = before.heard_ms >= listened_ms or known.parking is not None
    cell = parking.cell_at_last_word(draft, draft.plan) if watched else None
    draft.expectation = parking.after_boot(known, cell, draft.now_ms)
    if cell is not None and draft.position is not None:  # it is where it was parked, with or without a fix there
        draft.position = msgspec.structs.replace(draft.position, time_ms=draft.now_ms, speed_kmh=None, agent="")


def heard_without_ignition(draft: Draft) -> None:
    """Learn that the kit lives without the ignition: it has been heard for long enough since that went off."""
    feeding = msgspec.structs.replace(draft.expectation.feeding, always_ms=draft.now_ms, boots=0)
    draft.expectation = msgspec.structs.replace(draft.expectation, feeding=feeding)


def named(draft: Draft, name: str) -> None:
    """Note that the fleet file now names a device or an agent, or the vehicle (empty)."""
    known = draft.expectation
    draft.expectation = msgspec.structs.replace(known, listed={**known.listed, name: draft.now_ms})


def unnamed(draft: Draft, name: str) -> None:
    """Forget what the fleet file names no more."""
    known: Expectation = draft.expectation
    if name in known.listed:
        listed = {other: time_ms for other, time_ms in known.listed.items() if other != name}
        draft.expectation = msgspec.structs.replace(known, listed=listed)
