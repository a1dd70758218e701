"""What judging goes by: the fleet file's word on the site, rules, contract, each in an edition. Pure.

In force is what stands in the database: a collector whose own files say otherwise serves the site by the database's,
until somebody puts in the new ones (``kitwatch reload``).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from collector.core.contact_gaps import ContactGaps
from collector.core.contract import DEFAULT, Contract
from collector.core.coverage import Coverage
from collector.core.diagnosis import Topology
from collector.core.identities import InventoryKey
from collector.core.learnt import NOTHING, Learnt
from collector.core.rules.files import parse_rules
from collector.core.rules.schemas import AGENT_DEVICE, CompiledSchema, compile_schema
from collector.core.rules.types import Rules
from collector.core.vehicle.events import Observed
from collector.core.vehicle.key_figures import KeyFigure
from collector.core.vehicle.state import Vehicle
from collector.core.vehicle.summary import Summary, summary_of
from collector.store.rows import SchemaKey
from telemetry.fleet import Site, VehiclePlan
from telemetry.records import Schema

UNKNOWN: Final = VehiclePlan(agents={})
"""A vehicle that the fleet file does not know."""
FLEET: Final = "fleet"
RULES: Final = "rules"
CONTRACT: Final = "contract"
GAPS: Final = "gaps"
COVERAGE: Final = "coverage"
LEARNT: Final = (GAPS, COVERAGE)
"""Kinds of editions that no file holds: drains learn them (docs/coverage.md)."""
_ENCODER: Final = msgspec.json.Encoder()  # unsorted: the order of faults and rules in their files decides


class EditionError(ValueError):
    """An edition that this version cannot go by: ``kind``, and why."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(f"edition of {kind}: {why}")
        self.kind = kind


class Receiver(NamedTuple):
    """An entry of ``notifications`` in ``collector.yaml``: a receiver, or a channel to people of the roster."""

    name: str
    channel: str
    """Its kind."""
    tells: tuple[str, ...] | None = None
    """Of which kinds of notifications, or those to people of which roles, it is told; ``None``: of all, unless it is
    the channel of a person."""


class InForce(msgspec.Struct, frozen=True):
    """What judging goes by, the same for every unit of work of an ownership."""

    site_id: str
    site: Site
    rules: Rules
    receivers: tuple[Receiver, ...] = ()
    """Who is told, or by whom; without any no notification is made, lest the first gets them all."""
    contract: Contract = DEFAULT
    learnt: Learnt = NOTHING
    """What is known of the site's places."""
    editions: Mapping[str, int] = msgspec.field(default_factory=dict)
    """By kind: the number under which each stands in the database."""

    @property
    def channels(self) -> frozenset[str]:
        """The names of the channels that there are."""
        return frozenset(one.name for one in self.receivers)

    def vehicle_plan(self, vehicle: str) -> VehiclePlan:
        """Return what the fleet file says of a vehicle; one unknown to it is judged by its words alone."""
        return self.site.vehicles.get(vehicle, UNKNOWN)

    def summary(
        self, name: str, vehicle: Vehicle, last: Iterable[Observed] = (), carried: Iterable[KeyFigure] = ()
    ) -> Summary:
        """Return what lists show of a vehicle; ``last``: its last live samples, ``carried``: figures of before them."""
        return summary_of(vehicle, self.vehicle_plan(name), self.rules.settings.fact_ms, last, carried)

    def compile(self, key: SchemaKey, schema: Schema, vehicle: Vehicle | None) -> CompiledSchema:
        """Return an agent's schema, compiled; the vehicle's state knows the device's model."""
        fleet = self.vehicle_plan(key[0])
        agent = fleet.agents.get(key[1])
        device = agent.devices.get(schema.device) if agent else None
        kind = "agent" if schema.device == AGENT_DEVICE else device.kind if device else ""
        known = vehicle.inventory.get(InventoryKey(schema.device)) if vehicle else None
        model = known.model if known else ""
        return compile_schema(
            schema,
            self.rules,
            kind,
            site=self.site_id,
            vehicle=key[0],
            agent=key[1],
            model=model,
            fleet=fleet,
            other_routers=self.site.other_routers(key[0]),
        )

    def contents(self) -> dict[str, bytes]:
        """Return what an edition of each kind holds: JSON in the files' own order, on which judging depends."""
        return {
            FLEET: _ENCODER.encode(self.site),
            RULES: _ENCODER.encode(
                {"files": self.rules.files, "speed": self.rules.speed, "topology": self.rules.topology}
            ),
            CONTRACT: _ENCODER.encode(self.contract),
        }

    def judges_as(self, other: InForce) -> bool:
        """Say whether it differs from another one in no more than what was learnt: nothing is compiled anew then."""
        return (self.site, self.rules, self.contract) == (other.site, other.rules, other.contract)

    def with_rules(self, rules: Rules) -> InForce:
        """Return the same with other rules, of no edition."""
        return msgspec.structs.replace(self, rules=rules)

    def numbered(self, kind: str, number: int) -> InForce:
        """Return the same, known in the database under this number."""
        return msgspec.structs.replace(self, editions={**self.editions, kind: number})

    def edited(self, kind: str, number: int, content: bytes) -> InForce:
        """Return the same with another edition of one kind. Raises EditionError for one that cannot be used."""
        editions = {**self.editions, kind: number}
        try:
            if kind == FLEET:
                return msgspec.structs.replace(self, site=_site.decode(content), editions=editions)
            if kind == CONTRACT:
                return msgspec.structs.replace(self, contract=_contract.decode(content), editions=editions)
            if kind == GAPS:
                learnt = msgspec.structs.replace(self.learnt, gaps=ContactGaps.from_json(content))
                return msgspec.structs.replace(self, learnt=learnt, editions=editions)
            if kind == COVERAGE:
                learnt = msgspec.structs.replace(self.learnt, coverage=Coverage.from_json(content))
                return msgspec.structs.replace(self, learnt=learnt, editions=editions)
            if kind == RULES:
                found = _rules.decode(content)
                rules = dataclasses.replace(parse_rules(found.files), topology=found.topology)
                if found.speed != 1.0:
                    rules = rules.scaled(found.speed)
                return msgspec.structs.replace(self, rules=rules, editions=editions)
        except (ValueError, KeyError, TypeError) as error:
            raise EditionError(kind, str(error)) from error
        raise EditionError(kind, f"expected {FLEET}, {RULES}, {CONTRACT}, {GAPS} or {COVERAGE}")


def unlisted(before: Site, after: Site) -> list[tuple[str, str]]:
    """Return (vehicle, device) of what the fleet file names no more; an empty device: the whole vehicle."""
    gone = []
    for name, plan in before.vehicles.items():
        now = after.vehicles.get(name)
        if now is None:
            gone.append((name, ""))
            continue
        devices = {device for _, device, _ in now.devices()}
        gone += [(name, device) for _, device, _ in plan.devices() if device not in devices]
    return gone


def listed(before: Site, after: Site) -> list[tuple[str, str]]:
    """Return (vehicle, device or agent) of what the fleet file names and did not before; empty: the whole vehicle."""
    new = []
    for name, plan in after.vehicles.items():
        was = before.vehicles.get(name)
        if was is None:
            new.append((name, ""))
            continue
        known = {*was.agents, *(device for _, device, _ in was.devices())}
        names = (*plan.agents, *(device for _, device, _ in plan.devices()))
        new += [(name, one) for one in names if one not in known]
    return new


def without(plan: VehiclePlan, device: str) -> VehiclePlan:
    """Return a vehicle's plan without a device; empty: of a vehicle that is named no more."""
    if not device:
        return UNKNOWN
    agents = {
        name: msgspec.structs.replace(agent, devices={id: one for id, one in agent.devices.items() if id != device})
        for name, agent in plan.agents.items()
    }
    return msgspec.structs.replace(plan, agents=agents)


class _Rules(msgspec.Struct):
    files: list[tuple[str, Any]]
    speed: float
    topology: Topology


_rules: Final = msgspec.json.Decoder(_Rules)
_site: Final = msgspec.json.Decoder(Site)
_contract: Final = msgspec.json.Decoder(Contract)


def digest(content: bytes) -> str:
    """Return the name of a content: 128 bits of BLAKE2b."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
