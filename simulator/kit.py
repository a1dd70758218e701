"""One vehicle's kit on real protocols: a router and cameras over SNMP, a modem and a GNSS receiver on ptys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from simulator.camera import camera_table
from simulator.gnss import SimulatedGnss
from simulator.modem import SimulatedModem
from simulator.router import router_table
from simulator.scenario import Scenario
from simulator.snmp import SnmpAgent, Table
from simulator.world import KitState, kit_state


@dataclass
class Endpoints:
    """Where the kit answers."""

    router_port: int
    modem_port: str
    gnss_port: str
    camera_ports: dict[str, int] = field(default_factory=dict)


class Kit:
    """A simulated kit; the scenario begins when ``start`` is called, or at ``begun`` (monotonic seconds) if given."""

    def __init__(
        self,
        vehicle: str,
        scenario: Scenario,
        community: str,
        cameras: tuple[str, ...] = ("camera-1",),
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.vehicle = vehicle
        self.cameras = list(cameras)
        self._scenario = scenario
        self._monotonic = monotonic
        self._wall = wall
        self._begun = monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        serial = f"{sum(vehicle.encode()) * 7919 % 10**10:010d}"
        self._modem = SimulatedModem(self.state, f"86995500{serial}"[:15])
        self._gnss = SimulatedGnss(self.state, wall)
        self._agents = {"router": SnmpAgent(community, lambda: router_table(self.state(), serial))}
        for camera in cameras:
            self._agents[camera] = SnmpAgent(community, partial(self._camera_table, camera))

    def _camera_table(self, camera: str) -> Table | None:
        return camera_table(self.state(), camera)

    def state(self) -> KitState:
        """Return the truth at this moment."""
        return kit_state(self._scenario, self.vehicle, self.cameras, self._monotonic() - self._begun)

    async def start(self, begun: float | None = None) -> Endpoints:
        """Begin to answer; return where."""
        self._begun = self._monotonic() if begun is None else begun
        ports = {name: await agent.start() for name, agent in self._agents.items()}
        self._modem.line.start()
        self._gnss.line.start()
        self._tasks.append(asyncio.create_task(self._gnss.run(), name=f"gnss of {self.vehicle}"))
        router = ports.pop("router")
        return Endpoints(router, self._modem.line.path, self._gnss.line.path, ports)

    async def stop(self) -> None:
        """Pull all plugs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for agent in self._agents.values():
            agent.stop()
        self._modem.line.stop()
        self._gnss.line.stop()
