"""What a vehicle is doing as far as judging goes, and its state as people see it (docs/architecture.md). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, Protocol

from collector.core.identities import SourceKey
from collector.core.problems import Duty
from collector.core.vehicle.state import Agent, Expectation, Fact, Position, Source, Vehicle
from telemetry.fleet import VehiclePlan


def duty_of(vehicle: Vehicle, plan: VehiclePlan, fact_ms: int) -> Duty:
    """Return what the vehicle is doing as far as judging goes; ``duty`` says how that is found."""
    return duty(vehicle, vehicle.given or plan.state, plan, fact_ms)


class Told(Protocol):
    """What a vehicle was last known to be: its state, or a working copy of that. Its parts are ``Vehicle``'s."""

    @property
    def agents(self) -> Mapping[str, Agent]:
        """By name."""

    @property
    def sources(self) -> Mapping[SourceKey, Source]:
        """By input."""

    @property
    def facts(self) -> Mapping[str, Fact]:
        """By name."""

    @property
    def position(self) -> Position | None:
        """The last fix."""

    @property
    def expectation(self) -> Expectation:
        """What may be expected of it."""


DRIVES_KMH: Final = 20
"""So fast no parked vehicle's receiver scatters, and nobody runs."""


def duty(told: Told, given: Literal["on_duty", "on_mission", "workshop"], plan: VehiclePlan, fact_ms: int) -> Duty:
    """Return what a vehicle is doing.

    What people say (``given``, or else the fleet file) before parked. Ignition off counts until its device says
    otherwise, or until the vehicle drives; once that device has been silent for ``fact_ms`` while the kit speaks,
    nothing is known of the ignition. A goodbye that says so parks the vehicle until that agent is back or the ignition
    is known to be on. What is inferred counts until the kit speaks.
    """
    if given != "on_duty":
        return given
    if told.expectation.parking is not None:
        return "parked"
    ignition = told.facts.get("ignition")
    if ignition is not None:
        teller = told.sources.get(ignition.source)
        answered_ms = None if teller is None else teller.answered_ms
        if _is_current(answered_ms, told.agents, plan, fact_ms):
            if not ignition.value:
                return "on_duty" if teller is not None and _drives(told.position, teller, fact_ms) else "parked"
            agent = told.agents.get(ignition.source.agent)
            has_left = agent is not None and agent.left == "parked"  # after all that it has told, though that waited
            if not has_left and answered_ms is not None and answered_ms > _parked_ms(told.agents):
                return "on_duty"
    return "parked" if any(agent.left == "parked" for agent in told.agents.values()) else "on_duty"


def kit_agents(plan: VehiclePlan, agents: Iterable[str]) -> list[str]:
    """Return those of a vehicle's agents that live by the kit's power.

    They read what is built in. A tablet reads itself, and what it reaches over the vehicle's network; it has a battery
    and speaks on when the kit is off.
    """
    for kinds in (_BUILT_IN, _REACHED):
        kit = [
            name for name, one in plan.agents.items() if any(device.kind in kinds for device in one.devices.values())
        ]
        if kit:
            return kit
    return [*agents]


_BUILT_IN: Final = frozenset({"modem", "gnss", "power", "ups"})
"""Kinds of device that only the kit's own box reads."""
_REACHED: Final = frozenset({"router", "switch", "camera", "encoder"})
"""Kinds that whoever is on the vehicle's network may read."""


def _parked_ms(agents: Mapping[str, Agent]) -> int:
    """Return when any agent last said that the vehicle is parked."""
    return max((agent.heard_ms or 0 for agent in agents.values() if agent.left == "parked"), default=-1)


def _is_current(answered_ms: int | None, agents: Mapping[str, Agent], plan: VehiclePlan, fact_ms: int) -> bool:
    """Say whether the ignition's last word still counts, given when its device last answered."""
    if answered_ms is None or _is_within(fact_ms, answered_ms, agents, agents):
        return True
    return _is_within(fact_ms, answered_ms, agents, kit_agents(plan, agents))


def _is_within(fact_ms: int, answered_ms: int, agents: Mapping[str, Agent], names: Iterable[str]) -> bool:
    heard = [agents[name].heard_ms for name in names if name in agents]
    return max((one for one in heard if one is not None), default=0) - answered_ms <= fact_ms


def _drives(position: Position | None, teller: Source, fact_ms: int) -> bool:
    """Say whether somebody else's receiver says that it drives, long after the ignition was last read."""
    if position is None or position.speed_kmh is None:
        return False
    return position.speed_kmh >= DRIVES_KMH and position.time_ms - teller.last_ms > fact_ms


def state_of(vehicle: Vehicle, plan: VehiclePlan, fact_ms: int) -> Duty | Literal["silent", "unheard"]:
    """Return the vehicle's state as people see it."""
    if any(key.fault == "vehicle_silent" for key in vehicle.problems):
        return "silent"
    if vehicle.expectation.unheard:
        return "unheard"
    return duty_of(vehicle, plan, fact_ms)
