"""Many simulated vehicles in one process: a light load that behaves as agents do, with a record of all that it made.

The vehicles of a site share one connection; each has a run, a birth, schemas, a clock and the real agent's rules of
sending again (``agent.uplink.resend``). They poll nothing and keep nothing on disk: what was made and not receipted is
in memory. There is no will (it would be the connection's, not the vehicle's) and no back-off (``reconnect_storm``).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import yaml

from agent.uplink.resend import Need, Resend
from telemetry import topics
from telemetry.fleet import Broker
from telemetry.intervals import Intervals
from telemetry.message import (
    DEFLATED,
    NUMBERED,
    PLAIN,
    Birth,
    HeldRun,
    Lane,
    Placed,
    Presence,
    Receipt,
    SchemaBody,
    Up,
    decode,
    encode,
    moments,
)
from telemetry.mqtt import Message, MqttError
from telemetry.paho_mqtt import Connection
from telemetry.records import Clock, Column, Event, Record, Sample, Schema
from telemetry.topics import AgentName

AGENT: Final = "router"
MODEM: Final = Schema("modem", "modem", (Column("modem.rsrp_dbm", {"leg": "nr"}), Column("modem.sim")))
HOST: Final = Schema("system", "host", (Column("host.cpu_percent"), Column("host.load1")))
SCHEMAS: Final = {schema.id(): schema for schema in (MODEM, HOST)}
NUMBERS: Final = {name: number for number, name in enumerate(SCHEMAS)}
DEVICES: Final[dict[str, Any]] = {
    "modem": {"kind": "modem", "modem": {"port": "/dev/null"}},
    "host": {"kind": "host", "system": {}},
}
START_MS: Final = 1_000_000
"""Monotonic time of every vehicle at the start."""
EXPIRY_S: Final = 600
RecordKey = tuple[str, str, str, int]
"""(vehicle, agent, run, sequence)."""


def fleet_yaml(sites: Mapping[str, Sequence[str]]) -> str:
    """Return the fleet file of these vehicles, by site."""
    vehicle = {"agents": {AGENT: {"devices": DEVICES}}}
    return yaml.safe_dump(
        {"sites": {site: {"vehicles": dict.fromkeys(names, vehicle)} for site, names in sites.items()}}
    )


@dataclass
class Vehicle:
    """One vehicle. ``made`` is everything that it ever recorded; times are seconds of ``time.monotonic``.

    ``sick`` (from, to): when its SIM is absent, in seconds after the start. ``format`` is the newest that its agent
    knows.
    """

    name: AgentName
    run: str
    clock: Clock
    begun_s: float
    sick: tuple[float, float] | None = None
    format: int = NUMBERED
    made: list[Record] = field(default_factory=list)
    made_s: list[float] = field(default_factory=list)
    receipted_s: dict[int, float] = field(default_factory=dict)
    born_in: int = 0
    """The epoch that our birth was for; 0 before the birth."""
    sending: Resend = field(default_factory=lambda: Resend(resend_after_ms=10_000))

    def now_ms(self) -> int:
        """Return its monotonic time."""
        return START_MS + round((time.monotonic() - self.begun_s) * 1000)

    def moment(self, chance: random.Random) -> list[Record]:
        """Record one moment: two samples, now and then an event."""
        mono_ms, number = self.now_ms(), len(self.made)
        after = time.monotonic() - self.begun_s
        sim = "absent" if self.sick is not None and self.sick[0] <= after < self.sick[1] else "ready"
        fresh: list[Record] = [
            Sample(number, mono_ms, MODEM.id(), [round(chance.uniform(-110, -70), 1), sim]),
            Sample(number + 1, mono_ms, HOST.id(), [round(chance.uniform(0, 60), 1), round(chance.uniform(0, 2), 2)]),
        ]
        if chance.random() < 0.05:
            body = {"input": "modem", "problem": chance.choice(("", "a test says so"))}
            fresh.append(Event(number + 2, mono_ms, "problem", "modem", body))
        self.made += fresh
        self.made_s += [time.monotonic()] * len(fresh)
        return fresh

    def placed(self, numbers: Intervals) -> list[Placed]:
        """Return records as they go over the wire."""
        return [Placed(self.made[number], self.clock.number) for number in numbers]


class Link:
    """The vehicles of one site and their connection. ``every`` is the seconds between two moments of a vehicle."""

    def __init__(self, site: str, vehicles: Sequence[Vehicle], broker: Broker, every: float, seed: int) -> None:
        self.site = site
        self.vehicles = {vehicle.name: vehicle for vehicle in vehicles}
        self.epochs: list[tuple[float, int]] = []
        """(time, epoch) of each new owner that was heard of."""
        self._broker = broker
        self._every = every
        self._chance = random.Random(seed)
        self._connection: Connection | None = None
        self._session = 0
        self._epoch = 0
        self._present = False

    async def run(self, recording: asyncio.Event) -> None:
        """Connect, and connect again, until cancelled; new moments only while ``recording`` is set."""
        due = {name: time.monotonic() + self._chance.uniform(0, self._every) for name in self.vehicles}
        while True:
            try:
                await self._connect()
                await self._talk(due, recording)
            except (MqttError, OSError):
                self._present = False
                await asyncio.sleep(self._chance.uniform(0.2, 1.0))

    async def _connect(self) -> None:
        self._session += 1
        self._present = False
        self._connection = Connection(self._broker, f"vehicles-{self.site}", on_message=self._on_message)
        await self._connection.open()
        for vehicle in self.vehicles.values():
            vehicle.sending.start_over()
            vehicle.born_in = 0
        down = AgentName(self.site, "+", "+").down("receipt")
        await self._connection.subscribe(topics.presence(self.site), down)

    async def _talk(self, due: dict[AgentName, float], recording: asyncio.Event) -> None:
        assert self._connection is not None
        while self._connection.is_open:
            for name, vehicle in self.vehicles.items():
                if self._present and vehicle.born_in != self._epoch:
                    self._give_birth(vehicle)
                if recording.is_set() and time.monotonic() >= due[name]:
                    due[name] = max(due[name] + self._every, time.monotonic())
                    self._record(vehicle)
                self._send_backlog(vehicle)
            await asyncio.sleep(0.05)
        raise self._connection.ended or MqttError("closed")

    def _on_message(self, message: Message) -> None:
        if message.topic == topics.presence(self.site):
            self._on_presence(decode(message.payload, Presence)[1] if message.payload else None)
            return
        _, _, _, site, vehicle, agent, _ = message.topic.split("/")
        self._on_receipt(self.vehicles[AgentName(site, vehicle, agent)], decode(message.payload, Receipt)[1])

    def _on_presence(self, said: Presence | None) -> None:
        if isinstance(said, Up) and said.epoch >= self._epoch:
            if said.epoch > self._epoch:
                self.epochs.append((time.monotonic(), said.epoch))
            self._epoch, self._present = said.epoch, True
            for vehicle in self.vehicles.values():
                if vehicle.born_in not in (0, said.epoch):
                    vehicle.sending.start_over()
                else:
                    vehicle.sending.resume(vehicle.now_ms())
        elif said is None or said.epoch >= self._epoch:
            self._present = False
            for vehicle in self.vehicles.values():
                vehicle.sending.pause(vehicle.now_ms())

    def _on_receipt(self, vehicle: Vehicle, receipt: Receipt) -> None:
        if not self._present or receipt.epoch != self._epoch or vehicle.born_in != self._epoch:
            return
        mine = receipt.birth == (vehicle.run, self._session)
        released = vehicle.sending.receipt(receipt.runs, vehicle.now_ms(), fresh=mine)
        for number in released.get(vehicle.run, Intervals()):
            vehicle.receipted_s[number] = time.monotonic()
        for run, lack in receipt.needed.items() if mine else ():
            self._tell_schemas(vehicle)
            names = {number: name for name, number in NUMBERS.items()}
            schemas = [ref if isinstance(ref, str) else names[ref] for ref in lack.schemas]
            vehicle.sending.send_needing(run, schemas, lack.clocks)

    def _give_birth(self, vehicle: Vehicle) -> None:
        boot = vehicle.run * 2
        held = vehicle.sending.held().get(vehicle.run)
        runs = {vehicle.run: HeldRun(boot, held.pairs()[0][0], held.pairs()[-1][1])} if held else {}
        kinds = {device: str(said["kind"]) for device, said in DEVICES.items()}
        birth = Birth(self._session, boot, str(vehicle.name.vehicle), "0", self._every, runs, kinds)
        self._publish(vehicle.name.up("state"), encode(PLAIN, vehicle.run, birth), retain=True)
        self._tell_schemas(vehicle)
        vehicle.born_in = self._epoch

    def _tell_schemas(self, vehicle: Vehicle) -> None:
        numbers = NUMBERS if vehicle.format == NUMBERED else msgspec.UNSET
        body = SchemaBody(vehicle.run * 2, SCHEMAS, (vehicle.clock,), numbers=numbers)
        self._publish(vehicle.name.up("schema"), encode(vehicle.format, vehicle.run, body))

    def _record(self, vehicle: Vehicle) -> None:
        numbers = Intervals((record.sequence, record.sequence) for record in vehicle.moment(self._chance))
        if self._present and vehicle.born_in == self._epoch:
            vehicle.sending.keep(vehicle.run, numbers)
            self._send("live", vehicle, numbers)
        else:
            vehicle.sending.hold(vehicle.run, numbers)

    def _send_backlog(self, vehicle: Vehicle) -> None:
        if not self._present or vehicle.born_in != self._epoch:
            return
        vehicle.sending.tick(vehicle.now_ms())
        while (message := vehicle.sending.next_backlog()) is not None:
            self._send("backlog", vehicle, message[1])

    def _send(self, lane: Lane, vehicle: Vehicle, numbers: Intervals) -> None:
        records = vehicle.placed(numbers)
        schemas = NUMBERS if vehicle.format == NUMBERED else None
        payload = encode(vehicle.format, vehicle.run, moments(records, schemas), numbers)
        self._publish(vehicle.name.up(lane), payload, expiry=EXPIRY_S if lane == "live" else None)
        needs = [
            Need(placed.record.schema if isinstance(placed.record, Sample) else None, placed.clock, Intervals([pair]))
            for placed in records
            for pair in [(placed.record.sequence, placed.record.sequence)]
        ]
        vehicle.sending.published(lane, vehicle.run, numbers, vehicle.now_ms(), needs)

    def _publish(self, topic: str, payload: bytes, *, retain: bool = False, expiry: int | None = None) -> None:
        assert self._connection is not None
        self._connection.publish(topic, payload, retain=retain, expiry=expiry)

    async def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            await self._connection.close()


class Vehicles:
    """All of them. ``async with`` starts them; while ``recording`` is clear they only bring home what is left."""

    def __init__(
        self,
        sites: Mapping[str, Sequence[str]],
        port: int,
        *,
        every: float,
        sick: Mapping[str, tuple[float, float]] | None = None,
        seed: int = 1,
    ) -> None:
        self.begun_s = time.monotonic()
        self.recording = asyncio.Event()
        self.recording.set()
        chance = random.Random(seed)
        broker = Broker(host="127.0.0.1", port=port)
        self.links: dict[str, Link] = {}
        for site, names in sites.items():
            clock = Clock(0, START_MS, time.time_ns() // 1_000_000, "ntp", 5)
            everyone = [
                Vehicle(
                    AgentName(site, name, AGENT),
                    f"{chance.getrandbits(64):016x}",
                    clock,
                    self.begun_s,
                    (sick or {}).get(name),
                    NUMBERED if number % 3 else DEFLATED,  # a fleet in the middle of its upgrade
                )
                for number, name in enumerate(names)
            ]
            self.links[site] = Link(site, everyone, broker, every, chance.getrandbits(32))
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Vehicles:
        self._tasks = [asyncio.create_task(link.run(self.recording)) for link in self.links.values()]
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self.links.values():
            await link.close()
        faults = [end for end in ends if not isinstance(end, asyncio.CancelledError)]
        assert not faults, f"the vehicles' own fault: {faults[0]!r}"

    @property
    def all(self) -> list[Vehicle]:
        """Every vehicle."""
        return [vehicle for link in self.links.values() for vehicle in link.vehicles.values()]

    def made(self) -> dict[RecordKey, Record]:
        """Return everything that was recorded: what the collectors owe."""
        return {
            (vehicle.name.vehicle, vehicle.name.agent, vehicle.run, record.sequence): record
            for vehicle in self.all
            for record in vehicle.made
        }

    def unreceipted(self) -> int:
        """Return how many records the vehicles still hold."""
        return sum(len(vehicle.made) - len(vehicle.receipted_s) for vehicle in self.all)

    def served_since(self, when_s: float) -> dict[str, float | None]:
        """Return, by site, how long after ``when_s`` a record made since then was receipted first."""
        found: dict[str, float | None] = {}
        for site, link in self.links.items():
            times = [
                at
                for vehicle in link.vehicles.values()
                for number, at in vehicle.receipted_s.items()
                if vehicle.made_s[number] > when_s
            ]
            found[site] = min(times) - when_s if times else None
        return found
