"""What pages cost by the size of the fleet: a vehicle's answer, a change on the board, ``/metrics`` with 5,000 tickets.

The answers are made as the HTTP handlers make them, JSON included, from a database on disk; HTTP itself is left out. A
cost that does not grow has a ratio of about 1 between 10 and 2,000 vehicles.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Final

import msgspec

from bench.row import Row, row
from bench.standard_kit import PARTS
from collector.core.identities import ProblemKey, SourceKey
from collector.core.problems import ProblemRef
from collector.core.tickets.draft import Recorded
from collector.core.tickets.events import Opening, TicketEvent
from collector.core.tickets.fold import begin
from collector.core.vehicle.state import Agent, Source, Vehicle
from collector.core.vehicle.summary import summary_of
from collector.read import changes
from collector.store.commit import SiteConnection
from collector.store.rows import Changes
from collector.store.store import Store
from collector.web.app import Sources
from collector.web.machine import Extents
from collector.web.metrics import exposed
from collector.web.vehicles import named_vehicles, show_vehicle
from telemetry.fleet import AgentPlan, Device, Fleet, Site, VehiclePlan
from telemetry.inputs import SystemInput

SIZES: Final = (10, 200, 2_000)
OPEN_OF_EACH: Final = 2
"""Open tickets of each vehicle."""
MANY_TICKETS: Final = 5_000
RUNS: Final = 7
REPEATS: Final = 20
PLAN: Final = VehiclePlan(
    agents={"router": AgentPlan(devices={one.device: Device(kind="host", system=SystemInput()) for one in PARTS})}
)


class _House:
    """A site in a database, with its fleet."""

    def __init__(self, folder: str, vehicles: int, tickets: int) -> None:
        self.store = Store.open(f"sqlite:///{folder}/{vehicles}-{tickets}.sqlite")
        self.store.migrate()
        site = SiteConnection.acquire(self.store, "north", "bench")
        assert site is not None
        self.site = site
        names = [f"amb-{number:04}" for number in range(vehicles)]
        self.name = names[vehicles // 2]
        self.sources = Sources(self.store, Fleet(sites={"north": Site(vehicles=dict.fromkeys(names, PLAN))}), {})
        self.states = {name: _state(name) for name in names}
        opened = [_opened(number, names[number % vehicles]) for number in range(tickets)]
        self.say(names, opened)
        self.extents: Extents = {}

    def say(self, names: list[str], recorded: list[Recorded]) -> None:
        """Commit a word of these vehicles."""
        states = {name: self.states[name] for name in names}
        summaries = {name: summary_of(one, PLAN, 600_000) for name, one in states.items()}
        written = {name: one.to_json() for name, one in states.items()}
        self.site.commit(Changes(vehicles=written, summaries=summaries, recorded=recorded))

    def answer(self) -> None:
        """``GET /api/vehicles/{vehicle}``."""
        msgspec.json.encode(show_vehicle(self.sources, "north", self.name))

    def change(self) -> None:
        """A vehicle has spoken: what the stream finds, and what the board asks for then."""
        engine = self.store.engine
        now = changes.revisions(engine)
        found = changes.changed(engine, {"north": now["north"] - 1}, now)
        msgspec.json.encode(named_vehicles(self.sources, [vehicle for _, vehicle in found.vehicles]))

    def metrics(self) -> None:
        """``GET /metrics``."""
        exposed(self.sources, self.extents)

    def close(self) -> None:
        self.site.close()
        self.store.close()


def rows() -> list[Row]:
    """Return milliseconds of CPU (the database's too: it runs in this process), the sizes measured in turn."""
    with tempfile.TemporaryDirectory() as folder:
        houses = {size: _House(folder, size, OPEN_OF_EACH * size) for size in SIZES}
        for house in houses.values():
            house.say([house.name], [])
        small = houses[SIZES[0]]
        found = []
        for what, ask in (("one vehicle's answer", _House.answer), ("one change on the board", _House.change)):
            taken: dict[int, list[float]] = {size: [] for size in SIZES}
            for _ in range(RUNS):
                for size, house in houses.items():
                    taken[size].append(_ms(ask, house))
            for size in SIZES[1:]:
                found.append(
                    row(f"{what}, {size} vehicles, ms", taken[size], f"{SIZES[0]} vehicles", taken[SIZES[0]],
                        target="ratio <= 1.5")
                )  # fmt: skip
        many = _House(folder, 200, MANY_TICKETS)
        both = [(_ms(_House.metrics, many), _ms(_House.metrics, small)) for _ in range(RUNS)]
        found.append(
            row(f"/metrics, {MANY_TICKETS} open tickets, ms", [a for a, _ in both],
                f"{OPEN_OF_EACH * SIZES[0]} open tickets", [b for _, b in both], target="ours <= 100")
        )  # fmt: skip
        for house in (*houses.values(), many):
            house.close()
    return found


def _ms(ask: Callable[[_House], None], house: _House) -> float:
    taken = []
    for _ in range(REPEATS):
        begun = time.process_time()
        ask(house)
        taken.append(time.process_time() - begun)
    return statistics.median(taken) * 1000


def _state(name: str) -> Vehicle:
    sources = {
        SourceKey("router", part.device, part.input): Source(1_790_000_000_000, 1_790_000_000_000, 0, 10_000)
        for part in PARTS
    }
    agents = {"router": Agent(run="00000000000000aa", heard_ms=1_790_000_000_000, interval_ms=10_000)}
    return msgspec.structs.replace(Vehicle.new("north", name, PLAN), agents=agents, sources=sources)


def _opened(number: int, vehicle: str) -> Recorded:
    key = ProblemKey.of("camera_down", f"camera-{number}")
    at_ms = 1_790_000_000_000 + number
    body = Opening(
        source="rule", fault=key.fault, sla_class="general", severity="major", vehicle=vehicle, device=key.device,
        event_ms=at_ms, detected_ms=at_ms, problem=ProblemRef(vehicle, key), rule="camera", rule_version=1,
    )  # fmt: skip
    event = TicketEvent(number=1, what="opened", at_ms=at_ms, recorded_ms=at_ms, who="rule", body=body)
    return Recorded(begin("north", f"2026-{number + 1:04}", event), event)
