"""The vehicles of a site together: what its broker hears, in order of time, and what its fleet file says. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simulator.life import kit
from simulator.life.agent import Agent, Centre, Heard
from simulator.life.body import Body, Wiring
from simulator.life.faults import Befallen
from simulator.life.world import Drive, Leg, Map
from telemetry.fleet import Device
from telemetry.records import ClockSource
from telemetry.topics import AgentName


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One vehicle's life, all of it."""

    name: str
    legs: tuple[Leg, ...]
    repeat: bool = False
    wiring: Wiring = field(default_factory=Wiring)
    tablet: str = "no"
    """``yes``: its agent has an uplink of its own; ``shared``: its way out is the vehicle's modem."""
    switch: str = "unmanaged"
    clock: ClockSource = "gnss"
    befallen: tuple[Befallen, ...] = ()
    fleet: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the fleet file."""

    modules: tuple[str, ...] = ()
    """Modules of the platform, of the "vehicle" that is the centre itself."""

    @property
    def agents(self) -> tuple[str, ...]:
        """Who speaks for it."""
        if self.modules:
            return (kit.PROBE,)
        return (kit.BOX,) if self.tablet == "no" else (kit.BOX, kit.TABLET)


@dataclass(frozen=True, slots=True)
class Lives:
    """The lives of a site's vehicles from ``begins_ms`` to ``until_ms`` (UTC)."""

    site: str
    map: Map
    vehicles: tuple[Vehicle, ...]
    begins_ms: int
    until_ms: int
    seed: int
    poll_s: int = 10
    alike: bool = False
    """All inputs poll so often; otherwise none does more often."""
    interval_ms: int = 0
    centre: Centre = field(default_factory=Centre)

    def heard(self, agents: Iterable[Agent] | None = None) -> Iterator[Heard]:
        """Yield what the broker hears of all agents, or of these, in order of time."""
        speaking = self.agents() if agents is None else agents
        return heapq.merge(*(agent.says() for agent in speaking), key=lambda heard: heard.at_ms)

    def agents(self, make: Callable[..., Agent] = Agent) -> Iterator[Agent]:
        """Yield the agents of all vehicles, each with its life before it; ``make`` makes them."""
        for vehicle in self.vehicles:
            body = self.body(vehicle)
            for name in vehicle.agents:
                own = name == kit.TABLET and vehicle.tablet == "yes"
                yield make(
                    AgentName(self.site, vehicle.name, name),
                    kit.module_inputs(vehicle.modules, self.poll_s)
                    if vehicle.modules
                    else kit.inputs(name, self.poll_s, switch=vehicle.switch == "managed", alike=self.alike),
                    body,
                    self.centre,
                    body.has_contact if own else body.way_out,
                    begins_ms=self.begins_ms,
                    until_ms=self.until_ms,
                    seed=f"{self.seed}/{vehicle.name}/{name}",
                    clock=vehicle.clock,
                    interval_ms=self.interval_ms,
                )

    def body(self, vehicle: Vehicle) -> Body:
        """Return a vehicle's kit."""
        drive = Drive(self.map, vehicle.legs, self.begins_ms, self.seed, repeat=vehicle.repeat)
        seed = f"{self.seed}/{vehicle.name}"
        return Body(drive, vehicle.wiring, vehicle.befallen, self.begins_ms, self.until_ms, seed)

    def plan(self, vehicle: Vehicle) -> dict[str, Any]:
        """Return what the fleet file says of a vehicle."""
        if vehicle.modules:
            devices = kit.module_devices(vehicle.modules, self.poll_s)
            return {"agents": {kit.PROBE: {"devices": devices}}, **vehicle.fleet}
        agents: dict[str, Any] = {
            name: {"devices": kit.devices(name, self.poll_s, vehicle.switch, alike=self.alike)}
            for name in vehicle.agents
        }
        if "hardware_address" in Device.__struct_fields__:
            for agent in agents.values():
                if "router" in agent["devices"]:
                    agent["devices"]["router"]["hardware_address"] = kit.router_address(vehicle.name)
        if self.interval_ms:
            for agent in agents.values():
                agent["send_interval"] = self.interval_ms / 1000
        return {"agents": agents, **vehicle.fleet}

    def site_plan(self, vehicles: Sequence[Vehicle] | None = None) -> dict[str, Any]:
        """Return what the fleet file says of the site."""
        named = self.vehicles if vehicles is None else vehicles
        return {"vehicles": {vehicle.name: self.plan(vehicle) for vehicle in named}}
