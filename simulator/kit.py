"""One vehicle's kit on real protocols, led by a scenario.

A router, cameras, a UPS and a distribution panel over SNMP, a modem and a GNSS receiver on ptys, an encoder over HTTP
and RTSP.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from simulator.camera import camera_table
from simulator.gnss import SimulatedGnss
from simulator.http import IsapiDevice
from simulator.modem import Maker, SimulatedModem
from simulator.panel import panel_table
from simulator.router import router_table
from simulator.rtsp import PATH, RtspServer
from simulator.scenario import Scenario
from simulator.snmp import SnmpAgent, Table
from simulator.ups import ups_table
from simulator.world import KitState, kit_state

ENCODER_USER = "viewer"


@dataclass
class Endpoints:
    """Where the kit answers. What it does not have is None."""

    router_port: int
    modem_port: str
    gnss_port: str
    camera_ports: dict[str, int] = field(default_factory=dict)
    ups_port: int | None = None
    panel_port: int | None = None
    encoder_url: str | None = None
    """The encoder's HTTP interface."""
    stream_url: str | None = None
    """The same encoder's stream."""


class Kit:
    """A simulated kit; the scenario begins when ``start`` is called, or at ``begun`` (monotonic seconds) if given.

    ``ups`` adds a UPS and a distribution panel. ``encoder_password`` adds an encoder, which ``ENCODER_USER`` opens
    with it. ``modem`` is who made the modem; ``gnss_period`` seconds lie between two positions.
    """

    def __init__(
        self,
        vehicle: str,
        scenario: Scenario,
        community: str,
        cameras: tuple[str, ...] = ("camera-1",),
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        *,
        ups: bool = False,
        encoder_password: str | None = None,
        modem: Maker = "quectel",
        gnss_period: float = 1.0,
    ) -> None:
        self.vehicle = vehicle
        self.cameras = list(cameras)
        self._scenario = scenario
        self._monotonic = monotonic
        self._begun = monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        serial = f"{sum(vehicle.encode()) * 7919 % 10**10:010d}"
        self._modem = SimulatedModem(self.state, f"86995500{serial}"[:15], modem)
        self._gnss = SimulatedGnss(self.state, wall, gnss_period)
        self._router = SnmpAgent(community, lambda: router_table(self.state(), serial))
        self._cameras = {camera: SnmpAgent(community, partial(self._camera_table, camera)) for camera in cameras}
        self._ups = SnmpAgent(community, lambda: ups_table(self.state(), serial)) if ups else None
        self._panel = SnmpAgent(community, lambda: panel_table(self.state())) if ups else None
        self.encoder: IsapiDevice | None = None
        self._stream: RtspServer | None = None
        if encoder_password is not None:
            self.encoder = IsapiDevice(self.state, ENCODER_USER, encoder_password, serial, monotonic)
            self._stream = RtspServer(self.state, ENCODER_USER, encoder_password)

    def _camera_table(self, camera: str) -> Table | None:
        return camera_table(self.state(), camera)

    def state(self) -> KitState:
        """Return the truth at this moment."""
        return kit_state(self._scenario, self.vehicle, self.cameras, self._monotonic() - self._begun)

    def asked(self) -> dict[str, Counter[str]]:
        """Return what each device was asked so far, by its kind of question."""
        devices: dict[str, Any] = {
            "router": self._router, **self._cameras, "ups": self._ups, "panel": self._panel, "modem": self._modem,
            "gnss": self._gnss, "encoder": self.encoder, "stream": self._stream,
        }  # fmt: skip
        return {name: device.asked for name, device in devices.items() if device is not None}

    async def start(self, begun: float | None = None) -> Endpoints:
        """Begin to answer; return where."""
        self._begun = self._monotonic() if begun is None else begun
        self._modem.line.start()
        self._gnss.line.start()
        self._tasks.append(asyncio.create_task(self._gnss.run(), name=f"gnss of {self.vehicle}"))
        return Endpoints(
            router_port=await self._router.start(),
            modem_port=self._modem.line.path,
            gnss_port=self._gnss.line.path,
            camera_ports={camera: await agent.start() for camera, agent in self._cameras.items()},
            ups_port=await self._ups.start() if self._ups else None,
            panel_port=await self._panel.start() if self._panel else None,
            encoder_url=f"http://127.0.0.1:{await self.encoder.start()}" if self.encoder else None,
            stream_url=f"rtsp://127.0.0.1:{await self._stream.start()}{PATH}" if self._stream else None,
        )

    async def stop(self) -> None:
        """Pull all plugs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for agent in (self._router, *self._cameras.values(), self._ups, self._panel):
            if agent is not None:
                agent.stop()
        for server in (self.encoder, self._stream):
            if server is not None:
                await server.stop()
        self._modem.line.stop()
        self._gnss.line.stop()
