"""The working copy of a vehicle within a step, or within those of one message.

It copies a part when that is first changed, and collects the effects.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from collector.core.rules.schemas import depends_on, device_of
from collector.core.rules.types import Rule, Rules, Standing
from collector.core.survey import Verdict
from collector.core.tickets import ClosedNote, Effect, Evidence, HistoryEntry, Ticket, What
from collector.core.vehicle.events import Listening
from collector.core.vehicle.state import (
    Agent,
    Change,
    Condition,
    EvidenceSample,
    Fact,
    Known,
    Past,
    Problem,
    Proof,
    Pulse,
    Source,
    Vehicle,
    standing,
)
from telemetry.fleet import VehiclePlan

UNREACHABLE = frozenset({"router_dead", "camera_down", "encoder_down", "management_unreachable"})
"""Faults that say of a device that it cannot be reached: what stands behind it cannot be seen either."""
_MOST_ENDED = 16


class Draft:
    """A vehicle while it is stepped. Reads go to the attributes, writes through ``put`` and ``drop``.

    ``before`` is the vehicle before all of it.
    """

    __slots__ = (
        "_owned",
        "_standing",
        "agents",
        "asked",
        "before",
        "changes",
        "conditions",
        "effects",
        "ended",
        "facts",
        "given",
        "inventory",
        "late",
        "listening",
        "next_ticket",
        "now_ms",
        "past",
        "plan",
        "problems",
        "proofs",
        "pulses",
        "rules",
        "skipped",
        "sources",
        "tickets",
        "verdict",
    )

    def __init__(
        self, vehicle: Vehicle, plan: VehiclePlan, listening: Listening, verdict: Verdict, rules: Rules, now_ms: int
    ) -> None:
        self.before = vehicle
        self.plan = plan
        self.listening = listening
        self.verdict = verdict
        self.rules = rules
        self.now_ms = now_ms
        self.effects: list[Effect] = []
        self.agents: dict[str, Agent] = vehicle.agents
        self.sources: dict[str, Source] = vehicle.sources
        self.conditions: dict[str, Condition] = vehicle.conditions
        self.tickets: dict[str, Ticket] = vehicle.tickets
        self.past: dict[str, Past] = vehicle.past
        self.late: dict[str, Condition] = vehicle.late
        self.ended: dict[str, tuple[tuple[int, int], ...]] = vehicle.ended
        self.facts: dict[str, Fact] = vehicle.facts
        self.proofs: dict[str, Proof] = vehicle.proofs
        self.problems: dict[str, Problem] = vehicle.problems
        self.pulses: dict[str, Pulse] = vehicle.pulses
        self.inventory: dict[str, Known] = vehicle.inventory
        self.changes: dict[str, Change] = vehicle.changes
        self.skipped: dict[str, int] = vehicle.skipped
        self.asked: tuple[str, ...] = vehicle.asked
        self.next_ticket = vehicle.next_ticket
        self.given = vehicle.given
        self._owned: set[str] = set()
        self._standing: Standing | None = None

    def begin(self) -> None:
        """Begin the step of the next record: what the one before it has changed counts."""
        self._standing = None

    def put(self, part: str, key: str, value: Any) -> None:
        """Set one entry of a part."""
        self._own(part)[key] = value

    def drop(self, part: str, key: str) -> None:
        """Remove one entry of a part, if it is there."""
        if key in getattr(self, part):
            del self._own(part)[key]

    def set(self, name: str, value: Any) -> None:
        """Set a part that is no mapping."""
        setattr(self, name, value)
        self._owned.add(name)

    def _own(self, part: str) -> dict[str, Any]:
        mapping: dict[str, Any] = getattr(self, part)
        if part not in self._owned:
            mapping = dict(mapping)
            setattr(self, part, mapping)
            self._owned.add(part)
        return mapping

    def finish(self) -> tuple[Vehicle, list[Effect]]:
        """Return the vehicle afterwards (the very same one if nothing changed) and the effects."""
        if not self._owned:
            return self.before, self.effects
        return msgspec.structs.replace(self.before, **{name: getattr(self, name) for name in self._owned}), self.effects

    def skip(self, reason: str) -> None:
        """Count a sample that is not judged."""
        self.put("skipped", reason, self.skipped.get(reason, 0) + 1)

    def standing(self) -> Standing:
        """Return the vehicle's state as far as judging goes; worked out when it is first asked for."""
        if self._standing is None:
            view = self.before
            if self._owned & {"facts", "agents", "sources"}:
                view = msgspec.structs.replace(view, facts=self.facts, agents=self.agents, sources=self.sources)
            self._standing = standing(view, self.plan, self.rules.settings.fact_ms)
        return self._standing

    # --- what explains a fault ----------------------------------------------------------------------------------------

    def root_of(
        self,
        rule: Rule,
        device: str,
        tickets: Iterable[Ticket],
        conditions: Iterable[Condition],
        *,
        past: bool = False,
    ) -> Ticket | str | None:
        """Return what explains a fault of this rule on ``device``: a ticket, a condition's name, or nothing.

        ``conditions`` are the lane's: one that fires for a fault in ``under`` explains, and so does any for a device
        that this one depends on not being reached, long before its ticket opens, unless it works all the same. The same
        fault on a device that this one depends on, or that depends on it, is the same fault told twice: a router and
        the modem in it. ``past``: it is about a time of which nobody knows what worked.
        """
        behind = set()
        if rule.fault.id in UNREACHABLE:
            behind = {id for id in depends_on(device, self.plan) if past or not self.works(id, self.now_ms)}
        for ticket in tickets:
            if ticket.fault == rule.fault.id and ticket.device == device:
                continue
            if ticket.fault in rule.under or (ticket.fault in UNREACHABLE and ticket.device in behind):
                return ticket
            if ticket.fault == rule.fault.id and self._one_chain(ticket.device, device):
                return ticket
        for condition in conditions:
            fault = condition.ticket.partition("/")[0]
            if condition.phase != "pending" and fault in rule.under and fault != rule.fault.id:
                return condition.ticket
            if fault in UNREACHABLE and condition.device in behind:
                return condition.ticket
        return None

    def works(self, device: str, time_ms: int) -> bool:
        """Say whether something shows at this time that a device does its work, reached or not."""
        return any(time_ms <= proof.until_ms and device in proof.devices for proof in self.proofs.values())

    def disagrees(self, rule: Rule, device: str, time_ms: int) -> bool:
        """Say whether a rule is about working devices and this one does not, or the other way round."""
        return rule.working is not None and rule.working != self.works(device, time_ms)

    def _one_chain(self, one: str, other: str) -> bool:
        return one in depends_on(other, self.plan) or other in depends_on(one, self.plan)

    # --- tickets ------------------------------------------------------------------------------------------------------

    def open_ticket(
        self,
        rule: Rule,
        key: str,
        event_ms: int,
        evidence: tuple[EvidenceSample, ...] = (),
        text: str = "",
        *,
        deferred: bool = False,
    ) -> None:
        """Open a ticket; where one of this key is open already, that one it is: never two for one key."""
        if key in self.tickets:
            return
        sla_class, severity = rule.class_for("parked" if deferred else self.standing())
        ticket = Ticket(
            id=f"{self.before.vehicle}-{self.next_ticket}",
            site=self.before.site,
            vehicle=self.before.vehicle,
            device=device_of(key),
            key=key,
            fault=rule.fault.id,
            severity=severity,
            sla_class=sla_class,
            state="open",
            rule=rule.id,
            rule_version=rule.version,
            event_ms=min(event_ms, self.now_ms),
            detected_ms=self.now_ms,
            opened_ms=self.now_ms,
            evidence=(self._evidence(rule, evidence, text),),
        )
        self.set("next_ticket", self.next_ticket + 1)
        self.put("tickets", key, ticket)
        self.effects.append(ticket)
        self.history(ticket, "opened", text or _told(evidence))

    def resolve_ticket(
        self, rule: Rule, key: str, event_ms: int, evidence: tuple[EvidenceSample, ...] = (), text: str = ""
    ) -> None:
        """Resolve the open ticket of a key, with the evidence that it is over."""
        ticket = self.tickets.get(key)
        if ticket is None:
            return
        end_ms = max(ticket.event_ms, min(event_ms, self.now_ms))
        resolved = msgspec.structs.replace(
            ticket,
            state="resolved",
            resolved_event_ms=end_ms,
            resolved_ms=self.now_ms,
            evidence=(*ticket.evidence, self._evidence(rule, evidence, text)),
        )
        self.drop("tickets", key)
        self._remember(key, ticket.event_ms, end_ms)
        self.effects.append(resolved)
        self.history(resolved, "resolved", text or _told(evidence))

    def move_event(self, key: str, event_ms: int, evidence: tuple[EvidenceSample, ...], rule: Rule) -> None:
        """Move the event time of an open ticket back, never forward."""
        ticket = self.tickets.get(key)
        if ticket is None or event_ms >= ticket.event_ms:
            return
        moved = msgspec.structs.replace(
            ticket,
            event_ms=event_ms,
            evidence=(*ticket.evidence, self._evidence(rule, evidence, "late data: it began earlier")),
        )
        self.put("tickets", key, moved)
        self.effects.append(moved)
        self.history(moved, "event_moved", _told(evidence))

    def history(self, ticket: Ticket, what: What, text: str) -> None:
        """Add a line to a ticket's history."""
        self.effects.append(HistoryEntry(ticket=ticket.id, at_ms=self.now_ms, who="rule", what=what, text=text))

    def note(self, rule: Rule, key: str, began_ms: int, ended_ms: int) -> None:
        """Note a fault that is over, unless a ticket or a note of its key has told of that time already."""
        ticket = self.tickets.get(key)
        if ticket is not None and ticket.event_ms < ended_ms:
            return
        if any(begin < ended_ms and began_ms < end for begin, end in self.ended.get(key, ())):
            return
        self._remember(key, began_ms, ended_ms)
        self.effects.append(
            ClosedNote(
                site=self.before.site,
                vehicle=self.before.vehicle,
                device=device_of(key),
                key=key,
                fault=rule.fault.id,
                rule=rule.id,
                rule_version=rule.version,
                began_ms=began_ms,
                ended_ms=ended_ms,
                noted_ms=self.now_ms,
            )
        )

    def _remember(self, key: str, began_ms: int, ended_ms: int) -> None:
        self.put("ended", key, (*self.ended.get(key, ()), (began_ms, ended_ms))[-_MOST_ENDED:])

    @staticmethod
    def _evidence(rule: Rule, samples: tuple[EvidenceSample, ...], text: str) -> Evidence:
        return Evidence(rule.id, rule.version, tuple(sample.plain() for sample in samples), text)


def _told(samples: tuple[EvidenceSample, ...]) -> str:
    """Return the values in words, the last ones first."""
    return ", ".join(
        dict.fromkeys(
            f"{sample.metric}{{{','.join(sample.labels.values())}}} {sample.value}"
            if sample.labels
            else f"{sample.metric} {sample.value}"
            for sample in reversed(samples)
        )
    )
