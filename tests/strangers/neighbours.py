"""Honest vehicles of the stranger's site: what they say at each moment follows from the time alone.

Each goes through good hours and bad ones, a vehicle at a time: its SIM is locked, its camera does not answer, it is
silent, it parks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from telemetry.fleet import AgentPlan, Device, VehiclePlan
from telemetry.inputs import ModemInput, SnmpInput
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, Birth, Goodbye, HeldRun, Moment, SchemaBody, encode
from telemetry.records import Clock, Column, Schema
from telemetry.topics import AgentName

MODEM: Final = Schema("modem", "modem-1", (Column("modem.rsrp_dbm", {"leg": "nr"}), Column("modem.sim")))
CAMERA: Final = Schema("snmp", "cam-1", (Column("device.reachable"), Column("device.uptime_s")))
EVERY_MS: Final = 30_000
PHASE_MS: Final = 300_000
PHASES: Final = ("well", "locked", "well", "camera", "well", "silent", "well", "parked")


def plan() -> VehiclePlan:
    """Return what the fleet file says of such a vehicle, and of the stranger's."""
    snmp = SnmpInput(address="127.0.0.1", community_file="x")
    devices = {
        "modem-1": Device(kind="modem", modem=ModemInput(port="/dev/x")),
        "cam-1": Device(kind="camera", snmp=snmp),
    }
    return VehiclePlan(agents={"router": AgentPlan(devices=devices)})


class Neighbour:
    """One vehicle; ``number`` shifts its phases against the others', so that few are unwell at once."""

    def __init__(self, site: str, vehicle: str, number: int, start_ms: int) -> None:
        self.name = AgentName(site, vehicle, "router")
        self._run = f"{number + 1:016x}"
        self._start_ms = start_ms
        self._shift = number * 3
        self._sequence = itertools.count()
        self._session = itertools.count(1)
        self._next_ms = start_ms
        self._number = 0
        self._away = True

    def says(self, now_ms: int) -> Iterator[tuple[str, bytes]]:
        """Yield its messages (topic, payload) at this moment; none while it is not its turn."""
        if now_ms < self._next_ms:
            return
        self._next_ms = now_ms + EVERY_MS
        phase = PHASES[((now_ms - self._start_ms) // PHASE_MS + self._shift) % len(PHASES)]
        if phase in ("silent", "parked"):
            if phase == "parked" and not self._away:
                yield self._state(Goodbye(self._number, "parked"))
            self._away = True
            return
        if self._away:
            self._away = False
            self._number = next(self._session)
            yield self._state(Birth(self._number, "b", "m", "1", 30.0, {self._run: HeldRun("b", 0, 0)}))
            body = SchemaBody("b", {s.id(): s for s in (MODEM, CAMERA)}, (Clock(0, 0, self._start_ms, "ntp", 5),))
            yield self.name.up("schema"), encode(DEFLATED, self._run, body)
        sim = "locked" if phase == "locked" else "ready"
        entries = [[MODEM.id(), [-80.0, sim]], [CAMERA.id(), [phase != "camera", 5]]]
        numbers = Intervals((n, n) for n in (next(self._sequence), next(self._sequence)))
        moment = Moment(now_ms - self._start_ms, 0, entries)
        yield self.name.up("live"), encode(DEFLATED, self._run, [moment], numbers)

    def _state(self, body: Birth | Goodbye) -> tuple[str, bytes]:
        return self.name.up("state"), encode(DEFLATED, self._run, body)
