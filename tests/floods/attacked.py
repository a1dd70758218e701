"""The broker, access list and certificates as shipped, a collector, one attack after the other, beside a neighbour.

One collector goes through all of them: what an attack leaves behind is the next one's. The neighbour sends one sample
every ``EVERY_S`` on a connection with its own certificate and waits for the receipt of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from collector.store import log
from collector.store.store import Store
from telemetry.fleet import Broker, Tls
from telemetry.intervals import Intervals
from telemetry.mqtt import Message, MqttError
from telemetry.paho_mqtt import Connection
from telemetry.topics import AgentName
from tests.floods import attacks
from tests.floods.attacks import ATTACKS
from tests.floods.stage import DEVICES, EVERY_S, Collector, Neighbour
from tests.services.secured_broker import Secured, secured_broker

SITE: Final = "c1"
VEHICLE: Final = "amb-01"
NEIGHBOUR: Final = "amb-02"
FLEET: Final = {"sites": {SITE: {"vehicles": {name: {"agents": {"router": DEVICES}} for name in (VEHICLE, NEIGHBOUR)}}}}
GATHER_MS: Final = 100
"""In place of a second, so that what the neighbour waits for is the attack and not our own gathering."""
WAIT_S: Final = 60.0
"""For what must happen at last."""
LOST_S: Final = 10.0
"""A sample that is not committed after so long will not be: the neighbour sends each only once."""


@dataclasses.dataclass
class Suffered:
    """What came of one attack."""

    attack: str
    database: str
    item: int
    said: int = 0
    """Messages, connections or requests of the attacker's."""
    worst_wait_s: float = 0.0
    """Of the neighbour."""
    waits: int = 0
    counted: dict[str, int] = dataclasses.field(default_factory=dict)
    """By which counters have grown, and what the attacker was answered."""
    reconnects: int = 0
    """Of the collector's, to the broker."""
    epochs: int = 0
    """By which the site's epoch has grown: an ownership has ended."""
    health: str = ""
    """As ``/healthz`` says."""


class Scene:
    """What an attack has at hand: the attacker's certificate, and whoever can reach the pages."""

    site = SITE
    vehicle = VEHICLE
    agent = AgentName(SITE, VEHICLE, "router")

    def __init__(self, secured: Secured, collector: Collector, seconds: float, database: str) -> None:
        self._database = database
        self.collector = collector
        self.web = collector.web
        self.broker = broker_of(secured, VEHICLE)
        self.collectors_listener = broker_of(secured, VEHICLE, "collector")
        self.real = Neighbour(self.broker, VEHICLE, SITE)
        """The agent whose certificate the attacker has."""
        self.said = 0
        self.saw: Counter[str] = Counter()
        """What the attacker was answered."""
        self._seconds = seconds
        self._end_s = 0.0
        self._connection: Connection | None = None
        self._kept: list[Connection] = []

    def begin(self) -> None:
        """Begin another attack."""
        self.said, self.saw = 0, Counter()
        self._end_s = time.monotonic() + self._seconds

    def is_over(self) -> bool:
        """Say whether the attack has lasted for long enough."""
        return time.monotonic() >= self._end_s

    async def turns(self) -> AsyncIterator[int]:
        """Yield now and then until the attack has lasted for long enough, once at least."""
        turn = 0
        while not turn or not self.is_over():
            yield turn
            turn += 1
            await asyncio.sleep(attacks.EVERY_S)

    async def lasts(self) -> None:
        """Wait until the attack has lasted for long enough."""
        await asyncio.sleep(max(0.0, self._end_s - time.monotonic()))

    def now_ms(self) -> int:
        """Return the time, as everybody knows it."""
        return time.time_ns() // 1_000_000

    async def say(self, kind: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish below the attacker's own name."""
        await self.publish(self.agent.up(kind), payload, retain=retain)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish anything, and connect again where the broker has ended the connection for it."""
        self.said += 1
        try:
            if self._connection is None or not self._connection.is_open:
                await self.leave()
                self._connection = Connection(self.broker, "attacker", on_message=_nothing, timeout=5)
                await self._connection.open()
            await self._connection.deliver(topic, payload, retain=retain)
        except (MqttError, OSError, TimeoutError) as error:
            self.saw["not taken by the broker" if isinstance(error, MqttError) else "connection ended"] += 1

    async def connect(self, broker: Broker, id: str) -> None:
        """Connect under a client id of the attacker's choice, and leave."""
        self.said += 1
        connection = Connection(broker, id, on_message=_nothing, timeout=5)
        try:
            await connection.open()
            self.saw["under the certificate's name"] += 1
        except (MqttError, OSError, TimeoutError):
            self.saw["refused"] += 1
        await connection.close()

    async def born_beside(self, run: str, payload: bytes) -> None:
        """Come as another box with the same certificate, while the others stay connected as long as they are let."""
        self.said += 1
        connection = Connection(self.broker, f"box-{run}", on_message=_nothing, timeout=5)
        self._kept.append(connection)
        with contextlib.suppress(MqttError, OSError, TimeoutError):
            await connection.open()
            await connection.deliver(self.agent.up("state"), payload, retain=True)

    async def ask(self, host: str, body: bytes, heads: str = "") -> None:
        """Ask the pages for what changes something, and note the status."""
        self.said += 1
        head = (
            f"POST /api/vehicles/amb-02/state HTTP/1.1\r\nHost: {host}\r\n{heads}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", self.web)
        writer.write(head.encode() + body)
        line = await asyncio.wait_for(reader.readline(), WAIT_S)
        self.saw[f"answered {line.split()[1].decode()}"] += 1
        writer.close()

    async def leave(self) -> None:
        """Disconnect, the other boxes too."""
        kept, self._kept = self._kept, []
        for connection in [*kept, *([self._connection] if self._connection else [])]:
            await connection.close()
        self._connection = None

    async def real_agent_speaks(self) -> None:
        """Let the real agent send records under numbers that were claimed: each is committed all the same."""
        await self.real.open()
        for _ in range(10):
            await self.real.send()
        async with asyncio.timeout(WAIT_S):
            while self.real.open_since():  # noqa: ASYNC110 - a receipt sends no event here
                await asyncio.sleep(0.05)
        await self.real.close()
        sent, kept, end_s = len(self.real.waits), -1, time.monotonic() + LOST_S
        while kept != sent and time.monotonic() < end_s:  # a receipt of what was claimed may come before the commit
            await asyncio.sleep(0.05)
            kept = await asyncio.to_thread(self._kept_of, self.real.run)
        self.saw["real records committed" if kept == sent else "real records receipted and not kept"] += sent

    def _kept_of(self, run: str) -> int:
        """Return how many records of a run stand in the log."""
        store = Store.open(self._database)
        try:
            groups = [group for one in log.read(store, SITE, 0, 100_000) for group in one.groups if group.run == run]
        finally:
            store.close()
        return sum(len(Intervals(group.pairs)) for group in groups)


def _nothing(message: Message) -> None:
    """Hear what the broker brings."""


def broker_of(secured: Secured, name: str, listener: str = "vehicles") -> Broker:
    """Return where somebody connects with the certificate of that name."""
    pair = secured.certificate(name)
    tls = Tls(ca=str(secured.directory / "ca.crt"), certificate=str(pair.certificate), key=str(pair.key))
    return Broker(host="localhost", port=secured.ports[listener], tls=tls)


async def suffer(directory: Path, names: Sequence[str], seconds: float, database: str) -> list[Suffered]:
    """Let one attack after the other go over one collector, so many seconds each."""
    with _collector(directory, database) as (secured, collector):
        neighbour = Neighbour(broker_of(secured, NEIGHBOUR), NEIGHBOUR, SITE)
        await neighbour.open()
        scene = Scene(secured, collector, seconds, database)
        kind = "sqlite" if database.startswith("sqlite") else "postgresql"
        found = []
        for name in names:
            found.append(Suffered(name, kind, ATTACKS[name].item))
            await _suffer(scene, neighbour, found[-1])
        await neighbour.close()
        return found


@contextlib.contextmanager
def _collector(directory: Path, database: str) -> Iterator[tuple[Secured, Collector]]:
    with secured_broker(directory) as secured:
        broker = broker_of(secured, "collector", "collector")
        tls = {name: getattr(broker.tls, name) for name in ("ca", "certificate", "key")}
        (directory / "centre").mkdir()
        at = {"host": broker.host, "port": broker.port, "tls": tls}
        collector = Collector(directory / "centre", at, database, FLEET, gather_ms=GATHER_MS)
        try:
            collector.start()
            yield secured, collector
        finally:
            collector.stop()


async def _suffer(scene: Scene, neighbour: Neighbour, told: Suffered) -> None:
    """Let one attack go on, the neighbour's sample every ``EVERY_S``, until all of these are committed."""
    collector = scene.collector
    before, state = await asyncio.to_thread(_counters, collector), await asyncio.to_thread(_site, collector)
    earlier = {*neighbour.waits, *neighbour.open_since()}
    scene.begin()
    attack = asyncio.create_task(ATTACKS[told.attack].does(scene))
    async with asyncio.timeout(3 * WAIT_S):
        while not attack.done() or _waits(neighbour, earlier):
            if attack.done() and max(_waits(neighbour, earlier)) > LOST_S:
                break
            if not attack.done():
                await neighbour.send()
            await asyncio.sleep(EVERY_S)
    await attack
    await scene.leave()
    waits = [wait for number, wait in neighbour.waits.items() if number not in earlier]
    waits += _waits(neighbour, earlier)
    told.said, told.worst_wait_s, told.waits = scene.said, max(waits), len(waits)
    await _count(scene, told, before)
    after = await asyncio.to_thread(_site, collector)
    told.epochs = after["epoch"] - state["epoch"]
    told.reconnects = after["connects"] - state["connects"]
    told.health = (await asyncio.to_thread(collector.get, "healthz"))["status"]


def _waits(neighbour: Neighbour, earlier: Collection[int]) -> list[float]:
    """Return for how long each of the samples waits that are not committed yet, but for the ``earlier`` ones."""
    return [wait for number, wait in neighbour.open_since().items() if number not in earlier]


async def _count(scene: Scene, told: Suffered, before: Counter[str]) -> None:
    """Note what was counted, once there is something of what must have been: a commit gathers for a while."""
    end_s = time.monotonic() + LOST_S
    while True:
        now = await asyncio.to_thread(_counters, scene.collector)
        told.counted = {**dict(now - before), **scene.saw}
        if told.counted.keys() & set(ATTACKS[told.attack].counted) or time.monotonic() >= end_s:
            return
        await asyncio.sleep(0.1)


def _counters(collector: Collector) -> Counter[str]:
    """Return what the collector counts of what it does not take, and the attacker's tickets by fault."""
    metrics = collector.read("metrics")
    found: Counter[str] = Counter()
    for what, number in re.findall(r'^kitwatch_committed_total{.*what="([^"]+)"} (\S+)$', metrics, re.MULTILINE):
        found[what] += int(float(number))
    for why, number in re.findall(r'^kitwatch_web_connections_closed_total{why="(\w+)"} (\S+)$', metrics, re.MULTILINE):
        found[f"requests {why}"] += int(float(number))
    for ticket in collector.get(f"api/tickets?vehicle={VEHICLE}&limit=200")["tickets"]:
        found[f"ticket {ticket['fault']}"] += 1
    return found


def _site(collector: Collector) -> dict[str, Any]:
    site = collector.get("healthz")["sites"][SITE]
    return {"epoch": site["epoch"], "connects": collector.log().count(f"site {SITE}: connected")}
