"""Fleets as rows of a real database, and the real web server beside them: for pages that tests look at.

Vehicles, samples, problems and tickets go through the types and the commit of a collector; nothing is made up of the
API. The site's owner is a thread that says it listens, as long as it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import yaml
from aiohttp import web

from bench.standard_kit import PARTS, samples
from collector.channels import deliveries as delivered
from collector.channels.deliveries import Lane
from collector.channels.deliveries import State as DeliveryState
from collector.contract import load_contract
from collector.core.identities import ProblemKey, SourceKey
from collector.core.problems import Evidence, Problem, ProblemRef
from collector.core.rules.files import load_rules
from collector.core.rules.schemas import CompiledSchema, compile_schema
from collector.core.tickets import events as e
from collector.core.tickets.draft import Recorded
from collector.core.tickets.events import Opening, TicketEvent
from collector.core.tickets.fold import begin, fold
from collector.core.vehicle.events import Observed, RecordName
from collector.core.vehicle.state import Agent, Source, Vehicle
from collector.read import tickets as read
from collector.site.in_force import InForce
from collector.store.commit import SiteConnection
from collector.store.rows import Changes, EditionRow, NotificationRow, SiteReport
from collector.store.store import Store
from collector.web.app import Sources, make_app
from telemetry.faults import FAULTS, severity
from telemetry.fleet import AgentPlan, Device, DeviceKind, Fleet, Site, VehiclePlan
from telemetry.inputs import SystemInput
from tests.services.api import let_in_browser
from tests.services.process import free_port

SITE: Final = "c1"
KINDS: Final[Mapping[str, DeviceKind]] = {
    "router": "router", "modem": "modem", "gnss": "gnss", "link": "link", "power": "power", "gateway": "host",
    "camera-1": "camera", "camera-2": "camera", "encoder": "encoder", "ups": "ups", "tablet": "host",
}  # fmt: skip
CONTRACT: Final = {
    "start": "2026-01-01",
    "roster": {
        "wang": {"name": "王建国", "role": "engineer", "phone": "138 0571 0001"},
        "li": {"name": "李敏", "role": "dispatcher", "phone": "138 0571 0002"},
        "chen": {"name": "陈志强", "role": "manager", "phone": "138 0571 0003"},
    },
}
_MINUTE: Final = 60_000


@dataclass(frozen=True)
class Broken:
    """What is wrong with a vehicle. ``ticket``: whether somebody owes something because of it."""

    fault: str
    device: str = "modem"
    minutes: int = 12
    ticket: bool = True
    acknowledged: bool = False
    because_of: tuple[str, str] | None = None
    """(fault, device) of its cause."""


SEEN: Final[Mapping[str, tuple[str, object]]] = {
    "camera_down": ("device.reachable", False), "video_all_down": ("stream.up", False),
    "sim_absent": ("modem.sim", "absent"), "modem_hot": ("modem.temperature_c", 87.5),
}  # fmt: skip
"""By fault: what its rule saw."""
STORIES: Final[Mapping[int, Sequence[Broken]]] = {
    0: [Broken("sim_absent", "modem", 20)],
    1: [
        Broken("video_all_down", "encoder", 70, acknowledged=True),
        Broken("camera_down", "camera-1", 70, ticket=False, because_of=("video_all_down", "encoder")),
        Broken("camera_down", "camera-2", 70, ticket=False, because_of=("video_all_down", "encoder")),
    ],
    2: [Broken("camera_down", "camera-1", 40)],
    4: [Broken("packet_loss", "router", 8, ticket=False)],
    5: [Broken("antenna_degraded", "modem", 600, acknowledged=True), Broken("modem_hot", "modem", 30)],
}
"""By number of the vehicle; number 3 has said nothing for eight minutes."""
SILENT: Final = 3


class House:
    """A site in a database, with its fleet, contract and tickets; ``say`` writes more."""

    def __init__(self, folder: Path, plans: Mapping[str, VehiclePlan], name: str = "杭州市急救中心") -> None:
        self.store = Store.open(f"sqlite:///{folder}/k.sqlite")
        self.store.migrate()
        self.fleet = Fleet(sites={SITE: Site(vehicles=dict(plans), name=name, hotline="0571 8505 0120")})
        (folder / "contract.yaml").write_text(yaml.safe_dump(CONTRACT, allow_unicode=True))
        agreed = load_contract(folder / "contract.yaml")
        self.in_force = InForce(SITE, self.fleet.sites[SITE], load_rules(fleet=self.fleet), contract=agreed.contract)
        found = SiteConnection.acquire(self.store, SITE, "tests")
        assert found is not None
        self.site = found
        self.tickets = 0
        self.said: dict[str, tuple[int, Vehicle, Sequence[Broken]]] = {}
        """By vehicle: its number, state and troubles as last said."""
        self.now_ms = time.time_ns() // 1_000_000
        rows = [EditionRow(kind, 1, 1, kind, content) for kind, content in self.in_force.contents().items()]
        self.site.commit(Changes(editions=rows))
        self._plan = next(iter(plans.values()))
        self._compiled = {part.schema_id: self._compile(part.schema_id) for part in PARTS}
        self._values = list(samples(1, 7))

    def _compile(self, id: str) -> CompiledSchema:
        schema = next(part.schema for part in PARTS if part.schema_id == id)
        kind = KINDS.get(schema.device, "")
        return compile_schema(
            schema, self.in_force.rules, kind, site=SITE, vehicle="any", agent="router", fleet=self._plan
        )

    def say(self, number: int, name: str, broken: Sequence[Broken], *, heard_ms: int, state: str = "") -> None:
        """Commit a vehicle as it stands, with its tickets."""
        now_ms = self.now_ms
        problems = {}
        for one in broken:
            key = ProblemKey.of(one.fault, one.device)
            cause = None if one.because_of is None else ProblemRef(name, ProblemKey.of(*one.because_of))
            at_ms = now_ms - one.minutes * _MINUTE
            problems[key] = Problem(
                site=SITE, vehicle=name, key=key, rule=one.fault, rule_version=1, state="active", event_ms=at_ms,
                detected_ms=at_ms + 10_000, cause=cause,
            )  # fmt: skip
        sources = {
            SourceKey("router", part.device, part.input): Source(heard_ms, heard_ms, 0, 10_000 * part.every)
            for part in PARTS
        }
        agents = {
            "router": Agent(
                run="00000000000000aa", heard_ms=heard_ms, interval_ms=10_000, version="0.1.0",
                left="parked" if state == "parked" else "",
            )
        }  # fmt: skip
        vehicle = msgspec.structs.replace(
            Vehicle.new(SITE, name, self._plan), agents=agents, sources=sources, problems=problems,
            given=state if state in ("on_mission", "workshop") else "",
        )  # fmt: skip
        last = [] if state == "parked" else self._last(number, heard_ms, broken)
        self.said[name] = (number, vehicle, broken)
        recorded: list[Recorded] = []
        for one in broken:
            if one.ticket:
                recorded += self._ticket(name, one)
        self.site.commit(
            Changes(
                vehicles={name: vehicle.to_json()},
                summaries={name: self.in_force.summary(name, vehicle, last)},
                recorded=recorded,
            )
        )

    def refresh(self, *, heard_ms: int, turn: int) -> None:
        """Commit all summaries with later times and other readings, as an owner does though nothing is new."""
        summaries = {}
        for name, (number, vehicle, broken) in self.said.items():
            agents = {id: msgspec.structs.replace(one, heard_ms=heard_ms) for id, one in vehicle.agents.items()}
            later = msgspec.structs.replace(vehicle, agents=agents)
            summaries[name] = self.in_force.summary(name, later, self._last(number + turn, heard_ms, broken))
        self.site.commit(Changes(summaries=summaries))

    def _last(self, number: int, heard_ms: int, broken: Sequence[Broken]) -> list[Observed]:
        down = {one.device for one in broken if one.fault == "camera_down"}
        absent = any(one.fault == "sim_absent" for one in broken)
        found = []
        for moment in self._values[:: 1 + number % 6]:
            for sample in moment:
                compiled = self._compiled[sample.part.schema_id]
                values = list(sample.values)
                for index, (metric, _) in enumerate(sample.part.keys):
                    if metric == "modem.sim" and absent:
                        values[index] = "absent"
                    elif metric == "stream.up":
                        values[index] = sample.part.device not in down
                    elif metric == "stream.frozen":
                        values[index] = False
                found.append(Observed(RecordName("router", "aa", 1), "live", heard_ms, compiled, values))
        return list({one.compiled.source: one for one in found}.values())

    def _ticket(self, vehicle: str, one: Broken) -> list[Recorded]:
        self.tickets += 1
        id = f"2026-{self.tickets:04}"
        at_ms = self.now_ms - one.minutes * _MINUTE
        sla_class = FAULTS[one.fault].sla_class
        key = ProblemKey.of(one.fault, one.device)
        body = Opening(
            source="rule", fault=one.fault, sla_class=sla_class, severity=severity(sla_class), vehicle=vehicle,
            device=one.device, event_ms=at_ms - 30_000, detected_ms=at_ms, problem=ProblemRef(vehicle, key),
            rule=one.fault, rule_version=1, evidence=_evidence(one, at_ms - 30_000),
        )  # fmt: skip
        events = [TicketEvent(number=1, what="opened", at_ms=at_ms, recorded_ms=at_ms, who="rule", body=body)]
        if one.acknowledged:
            late = at_ms + 2 * _MINUTE
            events.append(
                TicketEvent(
                    number=2, what="acknowledged", at_ms=late, recorded_ms=late, who="wang", body=e.Remark("我来处理")
                )
            )
        recorded = [Recorded(begin(SITE, id, events[0]), events[0])]
        recorded += [Recorded(fold(SITE, id, events[: at + 1]), events[at]) for at in range(1, len(events))]
        return recorded

    def act(self, ticket: str, what: str, body: e.Body, who: str = "wang", *, minutes: float = 1 / 60) -> None:
        """Commit what a person does, so many minutes after what happened last, as the site's owner would."""
        found = read.ticket(self.store.engine, ticket, SITE)
        assert found is not None
        _, events = found
        at_ms = events[-1].recorded_ms + round(minutes * _MINUTE)
        event = TicketEvent(
            number=events[-1].number + 1, what=what, at_ms=at_ms, recorded_ms=at_ms, who=who, body=body
        )  # fmt: skip
        self.site.commit(Changes(recorded=[Recorded(fold(SITE, ticket, [*events, event]), event)]))

    def tell(self, ticket: str, deliveries: Sequence[tuple[str, str, DeliveryState, str]]) -> None:
        """Tell people of a ticket; each is (receiver, channel, what became of it, why not)."""
        receivers = tuple((receiver, channel) for receiver, channel, _, _ in deliveries)
        row = NotificationRow(f"k-{ticket}", ticket, '{"text": "x"}', self.now_ms, receivers)
        self.site.commit(Changes(notifications=[row]))
        for receiver, channel, state, error in deliveries:
            (waiting,) = delivered.next_of_each_ticket(self.store, Lane(SITE, receiver, channel))
            delivered.settle(self.store, SITE, waiting, state, attempts=3, next_ms=self.now_ms, error=error)

    def count_open(self) -> int:
        """Return how many tickets are open."""
        return len(read.list_tickets(self.store.engine, state="open", limit=1000))

    def close(self) -> None:
        """Let the site and its database go."""
        self.site.close()
        self.store.close()


def _evidence(one: Broken, at_ms: int) -> tuple[Evidence, ...]:
    """Return what the rule saw, twice."""
    if one.fault not in SEEN:
        return ()
    metric, value = SEEN[one.fault]
    about = {"agent": "router", "run": "00000000000000aa", "device": one.device, "metric": metric, "labels": {}}
    first = {**about, "sequence": 17, "time_ms": at_ms, "value": value, "shows": "first"}
    last = {**about, "sequence": 59, "time_ms": at_ms + 30_000, "value": value, "shows": "last"}
    return (Evidence(one.fault, 1, (first, last)),)


def kit_plan(name: str = "", plate: str = "", phone: str = "") -> VehiclePlan:
    """Return a vehicle with the standard kit."""
    devices = {id: Device(kind=kind, system=SystemInput()) for id, kind in KINDS.items()}
    return VehiclePlan(agents={"router": AgentPlan(devices=devices)}, name=name, plate=plate, phone=phone)


def short_names(number: int) -> VehiclePlan:
    """Return a vehicle that is called as dispatchers call theirs."""
    return kit_plan(f"急救{number:02}车", f"浙A·{12000 + number}", f"1390571{number:04}")


def fill(house: House, *, without_sim: int = 0, more_tickets: int = 0) -> None:
    """Let every vehicle speak: the first ones with what ``STORIES`` says, so many of the last ones without a SIM."""
    names = list(house.fleet.sites[SITE].vehicles)
    for number, name in enumerate(names):
        broken = list(STORIES.get(number, ())) if len(names) > 2 or number == 0 else []
        if number >= len(names) - without_sim:
            broken = [Broken("sim_absent", "modem", 5 + number)]
        if len(names) - without_sim - more_tickets <= number < len(names) - without_sim:
            broken = [Broken("camera_down", "camera-2", 3 + number % 90)]
        state = {6: "on_mission", 7: "on_mission", 8: "workshop"}.get(number, "parked" if number % 5 == 4 else "")
        minutes = 8 if number == SILENT and not broken else 0
        house.say(
            number, name, broken, heard_ms=house.now_ms - minutes * _MINUTE - 1000 * (number % 20),
            state="" if broken else state,
        )  # fmt: skip


@contextlib.contextmanager
def served(house: House, *, listening: bool = True, person: str = "", port: int = 0) -> Iterator[str]:
    """Serve a house's pages, signed in as an engineer, or as that person of the roster; yield their address.

    Its owner says that it listens, or that it does not.
    """
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    port = port or free_port()
    let_in_browser(house.store, "" if person else "engineer", person or "tests")

    async def serve() -> None:
        runner = web.AppRunner(make_app(Sources(house.store, house.fleet, {})), shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        report = SiteReport(connected=listening, listening_since_ms=house.now_ms - 3_600_000 if listening else None)
        while not stop.is_set():
            await asyncio.to_thread(house.site.check, report)
            ready.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 2)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(60)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


@contextlib.contextmanager
def fleet_of(
    folder: Path,
    vehicles: int,
    *,
    without_sim: int = 0,
    more_tickets: int = 0,
    listening: bool = True,
    names: Callable[[int], VehiclePlan] | None = None,
    tell: Callable[[House], None] | None = None,
    person: str = "",
) -> Iterator[tuple[House, str]]:
    """Serve a fleet of so many vehicles, of which ``tell`` says what they do; yield it and the pages' address."""
    plan = names or short_names
    house = House(folder, {f"amb-{number:03}": plan(number) for number in range(1, vehicles + 1)})
    try:
        if tell is not None:
            tell(house)
        else:
            fill(house, without_sim=without_sim, more_tickets=more_tickets)
        with served(house, listening=listening, person=person) as address:
            yield house, address
    finally:
        house.close()
