"""A site whose broker was away for an hour, and whose vehicles come back at once (docs/decisions/0065).

A real Mosquitto and the collector as the command starts it, on SQLite. Every vehicle has the standard kit, and says a
minute before the outage, then nothing for an hour, then all at once: its birth, what it says live every ten seconds
from there, and its whole backlog. One vehicle in ten lost its SIM in the outage and has none since, one in ten had none
for a while. Measured are the collector's CPU and memory until every fork has become the state, and by the log how long
after their moment live records were committed; and each vehicle's state is compared with that of the same records
judged one message at a time, as they would have come without the outage.

    python -m bench.forks --vehicles 300 --minutes 60 --record
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import yaml

from bench import fleet_traffic as traffic
from bench.row import percentile
from bench.standard_kit import MOMENT_MS, PARTS, START_MS, KitSample, samples
from collector.core.contract import DEFAULT
from collector.core.rules.files import load_rules
from collector.core.vehicle.events import Listening, Rejoined
from collector.core.vehicle.state import Vehicle
from collector.site.in_force import InForce
from collector.site.intake import Incoming
from collector.site.memory import Memory
from collector.site.unit_of_work import UnitOfWork
from collector.store import batch as log
from collector.store.commit import SiteConnection
from collector.store.log import read
from collector.store.rows import SiteData
from collector.store.store import Store
from telemetry.fleet import Broker, load_fleet
from telemetry.intervals import Intervals
from telemetry.message import NUMBERED, PLAIN, Birth, HeldRun, Moment, SchemaBody, encode
from telemetry.paho_mqtt import Connection
from telemetry.records import Clock
from telemetry.topics import AgentName
from tests.long_run import Record
from tests.services.mosquitto import mosquitto

WARM: Final = 6
"""Moments before the outage."""
PER_MESSAGE: Final = 200
"""Records in a backlog message, as agents send them."""
SETTLE_S: Final = 30
"""So long they speak live after the last fork has become the state."""
KINDS: Final = {
    "router": "router", "modem": "modem", "gnss": "gnss", "link": "link", "power": "power", "gateway": "host",
    "camera-1": "camera", "camera-2": "camera", "encoder": "encoder", "ups": "ups", "tablet": "host",
}  # fmt: skip
_INPUTS: Final[dict[str, dict[str, Any]]] = {
    "snmp": {"address": "192.0.2.1", "community_file": "/nowhere"},
    "modem": {"port": "/dev/none"},
    "gnss": {"port": "/dev/none"},
    "probe": {"targets": {"centre": {"kind": "icmp", "address": "192.0.2.2"}}},
    "system": {},
    "stream": {"url": "rtsp://192.0.2.3/", "stream": "main"},
    "http": {"url": "http://192.0.2.4/"},
}
"""What the fleet file says of each input; nobody asks it here."""
MOST_DELAY_S: Final = 5.0


@dataclass
class Kit:
    """One vehicle's agent. Moment ``n`` is at ``begin_ms + n * MOMENT_MS``."""

    number: int
    moments: Sequence[Sequence[KitSample]]
    begin_ms: int
    outage: int
    """Moments of it."""
    firsts: list[int] = field(default_factory=lambda: [0])
    """Of each moment the first sequence number."""
    said: int = 0
    """Moments that were said."""

    def __post_init__(self) -> None:
        self.name = AgentName(traffic.SITE, f"amb-{self.number:04d}", "box")
        self.run = f"{self.number + 1:016x}"
        self._schemas = {part.schema_id: n for n, part in enumerate(PARTS)}

    def state(self, session: int, held: tuple[int, int] | None) -> tuple[str, bytes]:
        runs = {} if held is None else {self.run: HeldRun("b", self.first(held[0]), self.first(held[1] + 1) - 1)}
        birth = Birth(session, "b", "m", "1", 10.0, runs, dict(KINDS))
        return self.name.up("state"), encode(PLAIN, self.run, birth)

    def schema(self) -> tuple[str, bytes]:
        clock = Clock(0, START_MS, self.begin_ms, "ntp", 5)
        schemas = {part.schema_id: part.schema for part in PARTS}
        return self.name.up("schema"), encode(
            NUMBERED, self.run, SchemaBody("b", schemas, (clock,), numbers=self._schemas)
        )

    def first(self, moment: int) -> int:
        """Return the first sequence number of a moment."""
        while len(self.firsts) <= moment:
            self.firsts.append(self.firsts[-1] + len(self._samples(len(self.firsts) - 1)))
        return self.firsts[moment]

    def _samples(self, moment: int) -> Sequence[KitSample]:
        return self.moments[moment % len(self.moments)]

    def _sim_is_out(self, moment: int) -> bool:
        since = moment - WARM
        if self.number % 10 == 1:
            return since >= self.outage // 3
        return self.number % 10 == 2 and self.outage // 4 <= since < self.outage * 3 // 4

    def moment(self, number: int) -> Moment:
        entries: list[list[Any]] = []
        for one in self._samples(number):
            values = list(one.values)
            if one.part.device == "modem" and self._sim_is_out(number):
                values[one.part.keys.index(("modem.sim", ""))] = "absent"
            entries.append([self._schemas[one.part.schema_id], values])
        return Moment(START_MS + number * MOMENT_MS, 0, entries)

    def live(self, number: int) -> tuple[str, bytes]:
        return self._message("live", [self.moment(number)], number, number)

    def backlog(self) -> Iterator[tuple[str, bytes]]:
        begin = WARM
        for last in range(WARM, WARM + self.outage):
            full = self.first(last + 2) - self.first(begin) > PER_MESSAGE
            if full or last == WARM + self.outage - 1:
                yield self._message("backlog", [self.moment(n) for n in range(begin, last + 1)], begin, last)
                begin = last + 1

    def _message(self, lane: str, moments: list[Moment], first: int, last: int) -> tuple[str, bytes]:
        names = Intervals([(self.first(first), self.first(last + 1) - 1)])
        return self.name.up(lane), encode(NUMBERED, self.run, moments, names)


def write_files(directory: Path, broker_port: int, vehicles: int, speed: float = 1.0) -> Path:
    """Write the collector's files; return its configuration. ``speed``: all goes so much faster."""
    devices: dict[str, Any] = {name: {"kind": kind} for name, kind in KINDS.items()}
    for part in PARTS:
        if part.device in devices:
            interval = part.every * MOMENT_MS / 1000 / speed
            times = {"interval": interval, "deadline": min(5.0, interval)}
            devices[part.device][part.input] = {**_INPUTS[part.input], **times}
    names = [f"amb-{number:04d}" for number in range(vehicles)]
    fleet = {"sites": {traffic.SITE: {"vehicles": {name: {"agents": {"box": {"devices": devices}}} for name in names}}}}
    (directory / "fleet.yaml").write_text(json.dumps(fleet))
    config = {
        "broker": {"host": "127.0.0.1", "port": broker_port},
        "database": f"sqlite:///{directory}/kitwatch.sqlite",
        "fleet": "fleet.yaml",
        "web": {"port": 0},
        "speed": speed,
    }
    path = directory / "collector.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


# --- the return -------------------------------------------------------------------------------------------------------


@dataclass
class Watched:
    """What the log has said so far."""

    number: int = 0
    records: int = 0
    rejoined: dict[str, int] = field(default_factory=dict)
    """By vehicle, when (ms)."""
    delays_ms: list[int] = field(default_factory=list)
    """Of live records since the return, until their commit began."""
    slowest: Counter[str] = field(default_factory=Counter)
    """By vehicle, the longest of them."""
    given_up: int = 0

    def look(self, store: Store, kits: dict[str, Kit], after_ms: int) -> None:
        for batch in read(store, traffic.SITE, self.number, 50):
            self.number = batch.number
            entries = batch.entries
            end_ms = max((one.now_ms for one in entries if isinstance(one, log.TimePassed)), default=batch.now_ms)
            for entry in entries:
                if isinstance(entry, log.Stepped) and isinstance(entry.event, Rejoined):
                    self.rejoined[entry.vehicle] = end_ms
                    self.given_up += entry.event.given_up
                elif isinstance(entry, log.Group):
                    self.records += entry.count
                    if entry.lane == "live":
                        begin_ms = kits[entry.vehicle].begin_ms - START_MS
                        for moment in entry.moments:
                            if begin_ms + moment.mono_ms >= after_ms:
                                delay_ms = end_ms - begin_ms - moment.mono_ms
                                self.delays_ms.append(delay_ms)
                                self.slowest[entry.vehicle] = max(self.slowest[entry.vehicle], delay_ms)


async def play(port: int, kits: Sequence[Kit], store: Store, collector: psutil.Process, go_ms: int) -> dict[str, Any]:
    """Say it all; return what was measured."""
    heard = asyncio.Event()
    broker, by_name = Broker(host="127.0.0.1", port=port), {kit.name.vehicle: kit for kit in kits}
    watched, expiry = Watched(), traffic.EXPIRY_S
    async with contextlib.AsyncExitStack() as stack:
        links = [
            await stack.enter_async_context(Connection(broker, f"kit-{n}", on_message=traffic.on_presence(heard)))
            for n in range(8)
        ]
        await traffic.owner_there(links[0], heard)
        link_of = {kit.number: links[kit.number % len(links)] for kit in kits}
        for kit in kits:
            link = link_of[kit.number]
            link.publish(*kit.state(1, None), retain=True)
            link.publish(*kit.schema())
            for number in range(WARM):
                link.publish(*kit.live(number), expiry=expiry)
        before = sum(kit.first(WARM) for kit in kits)
        await _until(lambda: watched.records >= before, watched, store, by_name, go_ms)
        backlog = {kit.number: list(kit.backlog()) for kit in kits}
        if time.time_ns() // 1_000_000 > go_ms:
            raise RuntimeError("the machine is too slow: it was not ready when the outage was over")
        memory = [collector.memory_info().rss]
        await asyncio.sleep(max(0.0, go_ms / 1000 - time.time()))
        cpu_s, begun = traffic.cpu_seconds(collector), time.monotonic()
        speaking = [asyncio.create_task(_speak(kit, link_of[kit.number], backlog[kit.number])) for kit in kits]
        await _until(lambda: len(watched.rejoined) == len(kits), watched, store, by_name, go_ms, memory, collector)
        took_s, spent_s = time.monotonic() - begun, traffic.cpu_seconds(collector) - cpu_s
        await asyncio.sleep(min(SETTLE_S, took_s))
        for task in speaking:
            task.cancel()
        await asyncio.gather(*speaking, return_exceptions=True)
        said = sum(kit.first(kit.said) for kit in kits)
        await _until(lambda: watched.records >= said, watched, store, by_name, go_ms, memory, collector)
    delays = sorted(watched.delays_ms)
    return {
        "vehicles": len(kits),
        "records": said,
        "backlog_messages": sum(map(len, backlog.values())),
        "until_the_last_fork_was_the_state_s": round(took_s, 1),
        "collector_cpu_s": round(spent_s, 1),
        "cpu_us_a_record": round(1e6 * spent_s / said, 1),
        "memory_before_mib": round(memory[0] / 2**20, 1),
        "memory_most_mib": round(max(memory) / 2**20, 1),
        "live_messages": len(delays),
        "live_delay_ms": {
            "median": round(percentile(delays, 0.5)), "p99": round(percentile(delays, 0.99)), "most": delays[-1],
        },
        "vehicles_with_a_delay_beyond_5_s": sum(one > 1000 * MOST_DELAY_S for one in watched.slowest.values()),
        "forks_given_up": watched.given_up,
    }  # fmt: skip


async def _speak(kit: Kit, link: Connection, backlog: Sequence[tuple[str, bytes]]) -> None:
    """Come back: birth, live from here on at its times, and the backlog all at once."""
    number = kit.said = WARM + kit.outage
    link.publish(*kit.state(2, (WARM, number - 1)), retain=True)
    for topic, payload in backlog:
        link.publish(topic, payload)
        await asyncio.sleep(0)
    while True:
        wait_s = (kit.begin_ms + number * MOMENT_MS) / 1000 - time.time()
        await asyncio.sleep(max(0.0, wait_s))
        link.publish(*kit.live(number), expiry=traffic.EXPIRY_S)
        number += 1
        kit.said = number


async def _until(
    what: Any, watched: Watched, store: Store, kits: dict[str, Kit], after_ms: int, memory: list[int] | None = None,
    collector: psutil.Process | None = None,
) -> None:  # fmt: skip
    end = time.monotonic() + 600
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(f"after ten minutes: {watched.records} records, {len(watched.rejoined)} rejoined")
        await asyncio.to_thread(watched.look, store, kits, after_ms)
        if memory is not None and collector is not None:
            memory.append(collector.memory_info().rss)
        await asyncio.sleep(0.2)


# --- the same without an outage ---------------------------------------------------------------------------------------

OF_THE_KIT: Final = ("rule_states", "windows", "readings", "facts", "proofs")
"""Parts of a vehicle's state that readings alone decide; of sources and problems what they decide of them."""


def of_the_kit(vehicle: Vehicle) -> dict[str, Any]:
    """Return what the kit's own readings have made of a vehicle, whenever they came."""
    found: dict[str, Any] = {part: dict(getattr(vehicle, part)) for part in OF_THE_KIT}
    found["sources"] = {key: (one.last_ms, one.from_ms, one.step_ms) for key, one in vehicle.sources.items()}
    found["problems"] = {key: (one.rule, one.event_ms, one.times) for key, one in vehicle.problems.items()}
    found["ended"] = {key: (one.times, one.spans) for key, one in vehicle.ended.items()}
    return found


def judged_in_order(in_force: InForce, kit: Kit) -> Vehicle:
    """Return the vehicle after one message at a time, each at its own moment."""
    memory = Memory.of(in_force, SiteData({}, None, {}, {}, {}, 0))
    told = [kit.state(1, None), kit.schema(), *(kit.live(number) for number in range(kit.said))]
    for number, (topic, payload) in enumerate(told):
        now_ms = kit.begin_ms + max(0, number - 2) * MOMENT_MS + 1_000
        work = UnitOfWork(memory, in_force, Listening(kit.begin_ms - 3_600_000), now_ms)
        work.take(Incoming(topic, payload, now_ms))
        work.look()
        if number % 60 == 0:
            work.changes()
        work.keep()
    return memory.vehicles[kit.name.vehicle]


def compare(directory: Path, kits: Sequence[Kit], speed: float) -> list[str]:
    """Return the vehicles whose state is not the same, each with the parts."""
    store = Store.open(f"sqlite:///{directory}/kitwatch.sqlite")
    rules = load_rules() if speed == 1.0 else load_rules().scaled(speed)
    in_force = InForce(traffic.SITE, load_fleet(directory / "fleet.yaml").sites[traffic.SITE], rules, (), DEFAULT)
    try:
        site = SiteConnection.acquire(store, traffic.SITE, "bench")
        assert site is not None, "the collector has ended"
        found = site.load().vehicles
        site.close()
    finally:
        store.close()
    wrong = []
    for kit in kits:
        ours = of_the_kit(Vehicle.from_json(found[kit.name.vehicle]))
        theirs = of_the_kit(judged_in_order(in_force, kit))
        parts = [part for part in ours if ours[part] != theirs[part]]
        if parts:
            wrong.append(f"{kit.name.vehicle}: {', '.join(parts)}")
    return wrong


def run(
    vehicles: int, minutes: float, seed: int = 1, compared: int | None = None, speed: float = 1.0
) -> dict[str, Any]:
    """Return what was measured, and what of ``compared`` vehicles (all) did not end in the same state.

    ``speed``: the collector judges so much faster, and waits so much shorter for live to speak after a backlog.
    """
    outage = round(minutes * 60_000 / MOMENT_MS)
    driven = [[list(moment) for moment in samples(seed + n, 360)] for n in range(min(vehicles, 10))]
    with tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name, mosquitto(Path(name)) as broker:
        directory = Path(name)
        config = write_files(directory, broker.port, vehicles, speed)
        with traffic.collector(directory, config) as collector:
            url = f"sqlite:///{directory}/kitwatch.sqlite"
            store = _opened(url)
            go_ms = time.time_ns() // 1_000_000 + 20_000 + 200 * vehicles
            begin_ms = go_ms - (WARM + outage) * MOMENT_MS
            kits = [
                Kit(n, driven[n % len(driven)], begin_ms + n * MOMENT_MS // vehicles, outage) for n in range(vehicles)
            ]
            try:
                found = asyncio.run(play(broker.port, kits, store, collector, go_ms))
            except Exception as error:
                raise RuntimeError((directory / "collector.log").read_text(errors="replace")[-3000:]) from error
            finally:
                store.close()
        chosen = kits if compared is None else kits[:compared]
        wrong = compare(directory, chosen, speed)
        return {**found, "minutes": minutes, "compared": len(chosen), "not_the_same": wrong}


def _opened(url: str) -> Store:
    end = time.monotonic() + 60
    while True:
        try:
            return Store.open(url)
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def holds(found: dict[str, Any]) -> bool:
    """Say whether it is as it ought to be."""
    return not found["not_the_same"] and not found["vehicles_with_a_delay_beyond_5_s"] and not found["forks_given_up"]


def main() -> int:
    """Run it; exit 1 if it does not hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.forks", description=__doc__)
    parser.add_argument("--vehicles", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--compared", type=int, help="vehicles whose state is compared; default all")
    parser.add_argument("--record", action="store_true", help="keep the figures in a file of their own")
    args = parser.parse_args()
    began, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    found = run(args.vehicles, args.minutes, compared=args.compared)
    print(json.dumps(found, indent=1, ensure_ascii=False))
    if args.record:
        record = Record("forks", "bench.forks", sys.argv[1:], [1], began, time.monotonic() - clock, found, holds(found))
        print(record.write(), file=sys.stderr)
    return 0 if holds(found) else 1


if __name__ == "__main__":
    sys.exit(main())
