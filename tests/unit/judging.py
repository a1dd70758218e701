"""A vehicle under test: samples, births and ticks in, problems out. Times in seconds after ``T0``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from collector.core.learnt import NOTHING, Learnt
from collector.core.problems import ClosedNote, Problem, ProblemChange, ProblemNews, ProblemRef
from collector.core.rules.files import load_rules, parse_rules
from collector.core.rules.schemas import CompiledSchema, compile_schema
from collector.core.rules.types import Rules
from collector.core.survey import Verdict
from collector.core.vehicle import forks
from collector.core.vehicle.draft import Effect
from collector.core.vehicle.events import (
    Born,
    Died,
    Event,
    Happened,
    Left,
    Listening,
    Missed,
    Observed,
    RecordName,
    TimePassed,
)
from collector.core.vehicle.state import InventoryEntry, Vehicle
from collector.core.vehicle.step import Context, step
from telemetry.files import parse_yaml
from telemetry.fleet import VehiclePlan
from telemetry.message import Lane
from telemetry.metrics import Value
from telemetry.records import Column, EventKind, Schema

T0 = 1_760_000_000_000
"""2025-10-09 08:53:20 UTC."""

PLAN = """
agents:
  box:
    devices:
      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
      modem: {kind: modem, modem: {port: /dev/m}}
      power: {kind: power, snmp: {address: 10.0.0.5, community_file: /c}}
      switch: {kind: switch, snmp: {address: 10.0.0.6, community_file: /c}}
      camera-1: {kind: camera, depends_on: [switch], snmp: {address: 10.0.0.2, community_file: /c}}
      ups: {kind: ups, snmp: {address: 10.0.0.7, community_file: /c}}
      uplink: {kind: link, depends_on: [router], probe: {targets: {a: {kind: icmp, address: 10.1.0.1}}}}
      gnss: {kind: gnss, gnss: {port: /dev/g}}
  tablet:
    devices:
      host: {kind: host, system: {}}
"""
HOT = """
rules:
  modem_hot: {fault: modem_hot, condition: {metric: modem.temperature_c, above: 80, clear: 75}, for: 1m}
"""


def vehicle_plan(text: str = PLAN, **change: Any) -> VehiclePlan:
    from telemetry.files import convert

    """A silence is due after 190 s unless the plan says otherwise, so that no test waits for what nobody has learnt."""
    return convert({"silent_after": 190, **parse_yaml(text, "plan"), **change}, VehiclePlan, "plan")


def rules_of(text: str) -> Rules:
    return parse_rules([("rules.yaml", parse_yaml(text, "rules.yaml"))])


SHIPPED = load_rules()
"""Read once: tests change nothing in it."""


@dataclass
class Story:
    """One vehicle. ``restart``: between any two events the state goes through JSON, as over a restart."""

    rules: Rules = field(default_factory=lambda: rules_of(HOT))
    plan: VehiclePlan = field(default_factory=vehicle_plan)
    listening: Listening = field(default_factory=lambda: Listening(T0 - 3_600_000))
    verdict: Verdict = field(default_factory=Verdict)
    restart: bool = False
    learnt: Learnt = NOTHING
    vehicle: Vehicle = field(init=False)
    effects: list[Effect] = field(default_factory=list)
    events: list[tuple[Event, int]] = field(default_factory=list)
    """What happened, and when (``now``)."""
    since: list[forks.At] = field(default_factory=list)
    """The same since records are missing."""
    _sequence: int = 0
    _compiled: dict[tuple[Any, ...], CompiledSchema] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.vehicle = Vehicle.new("north", "amb-1", self.plan)

    def miss(self, agent: str, at: float) -> None:
        """Let records of an agent be missing from here on: what comes in the backlog waits for ``catch_up``."""
        missed = Missed(agent, "00000000000000aa", ((10**9, 10**9),))
        before = forks.Before(self.vehicle, 0)
        self.vehicle = forks.happened(self.vehicle, missed, before, T0 + round(at * 1000))
        self.since = []

    def catch_up(self, at: float) -> list[Effect]:
        """Let all that was missing have come."""
        assert self.vehicle.fork is not None
        stepped = forks.Stepping(self.vehicle.fork)
        context = Context(self.plan, self.listening, self.verdict)
        stepped.advance(sorted(self.since, key=lambda one: one.time_ms), context, self.rules)
        now_ms = T0 + round(at * 1000)
        self.vehicle, effects = forks.rejoin(self.vehicle, stepped, context, self.rules, now_ms)
        self.effects += effects
        return effects

    def do(self, event: Event, now: float) -> list[Effect]:
        if self.vehicle.fork is not None:
            if isinstance(event, Observed | Happened):
                # what is further ahead of our clock is not judged, nor stepped
                if event.time_ms - T0 - now * 1000 <= self.rules.settings.future_ms:
                    self.since.append(forks.At(event.time_ms, event))
            elif isinstance(event, Born | Left | Died):
                self.since.append(forks.At(T0 + round(now * 1000), event))
            if isinstance(event, Observed) and event.lane == "backlog":
                return []
        if self.restart:
            again = Vehicle.from_json(self.vehicle.to_json())
            assert again == self.vehicle
            self.vehicle = again
        self.events.append((event, T0 + round(now * 1000)))
        before = self.vehicle.to_json()
        context = Context(self.plan, self.listening, self.verdict, learnt=self.learnt)
        after, effects = step(self.vehicle, event, context, self.rules, T0 + round(now * 1000))
        assert self.vehicle.to_json() == before, "step changed its argument"
        self.vehicle = after
        self.effects += effects
        return effects

    def sample(
        self,
        device: str,
        values: Mapping[str, Value | None],
        at: float,
        *,
        now: float | None = None,
        lane: Lane = "live",
        agent: str = "box",
        input: str = "snmp",
    ) -> list[Effect]:
        """``values`` by metric, or by ``metric{label=value}``."""
        key = (agent, device, input, tuple(values), id(self.rules))
        compiled = self._compiled.get(key)
        if compiled is None:
            kinds = {id: found.kind for name, id, found in self.plan.devices() if name == agent}
            compiled = self._compiled[key] = compile_schema(
                Schema(input, device, tuple(_column(name) for name in values)),
                self.rules,
                "agent" if device == "agent" else kinds.get(device, ""),
                site="north",
                vehicle="amb-1",
                agent=agent,
                fleet=self.plan,
            )
        self._sequence += 1
        name = RecordName(agent, "00000000000000aa", self._sequence)
        event = Observed(name, lane, T0 + round(at * 1000), compiled, compiled.check(list(values.values())))
        return self.do(event, at if now is None else now)

    def heat(self, value: float | None, at: float, **more: Any) -> list[Effect]:
        return self.sample("modem", {"modem.temperature_c": value}, at, **more)

    def tell(
        self, kind: EventKind, device: str, body: Mapping[str, Any], at: float, *, agent: str = "box", **more: Any
    ) -> list[Effect]:
        self._sequence += 1
        name = RecordName(agent, "00000000000000aa", self._sequence)
        lane: Lane = more.get("lane", "live")
        return self.do(Happened(name, lane, T0 + round(at * 1000), kind, device, body), more.get("now", at))

    def born(self, agent: str, at: float, run: str = "r1", session: int = 1, interval: float = 0) -> list[Effect]:
        return self.do(Born(agent, run, session, f"machine-{run}", interval), at)

    def left(self, agent: str, reason: str, at: float, run: str = "r1", session: int = 1) -> list[Effect]:
        return self.do(Left(agent, run, session, reason), at)

    def died(self, agent: str, at: float, run: str = "r1", session: int = 1) -> list[Effect]:
        return self.do(Died(agent, run, session), at)

    def tick(self, at: float) -> list[Effect]:
        return self.do(TimePassed(), at)

    # --- what came out ------------------------------------------------------------------------------------------------

    def changes(self) -> list[ProblemChange]:
        return [effect for effect in self.effects if isinstance(effect, ProblemChange)]

    def problems(self) -> list[Problem]:
        """Every time that a problem was there, as it stood last, in the order of beginning."""
        return lives(self.effects)

    def faults(self) -> list[str]:
        return [problem.key.fault for problem in self.problems()]

    def active(self) -> list[str]:
        return sorted(key.text() for key in self.vehicle.problems)

    def roots(self) -> list[str]:
        """What is active and explained by nothing."""
        return sorted(key.text() for key, problem in self.vehicle.problems.items() if problem.cause is None)

    def explained(self) -> dict[str, str]:
        """Symptom -> cause of what is active."""
        return {
            key.text(): problem.cause.key.text()
            for key, problem in self.vehicle.problems.items()
            if problem.cause is not None
        }

    def life(self) -> list[tuple[str, str, float, float | None]]:
        """(fault, state, event time, end) of every problem, in seconds."""
        return [
            (
                problem.key.fault,
                problem.state,
                _seconds(problem.event_ms) or 0.0,
                _seconds(problem.over_event_ms),
            )
            for problem in self.problems()
        ]

    def notes(self) -> list[tuple[str, float, float]]:
        return [
            (effect.fault, _seconds(effect.began_ms) or 0.0, _seconds(effect.ended_ms) or 0.0)
            for effect in self.effects
            if isinstance(effect, ClosedNote)
        ]

    def news(self, what: ProblemNews) -> list[ProblemChange]:
        return [change for change in self.changes() if change.news == what]

    def inventory(self) -> list[InventoryEntry]:
        return [effect for effect in self.effects if isinstance(effect, InventoryEntry)]


def lives(effects: Iterable[object]) -> list[Problem]:
    """Every time that a problem was there, as it stood last, in the order of beginning; never two of a key at once."""
    found: list[Problem] = []
    there: dict[ProblemRef, int] = {}
    for change in effects:
        if not isinstance(change, ProblemChange) or change.news == "explains":
            continue
        problem = change.problem
        if change.news in ("began", "again"):
            assert problem.ref not in there, problem.ref
            there[problem.ref] = len(found)
            found.append(problem)
        else:
            found[there[problem.ref]] = problem
        if problem.state in ("over", "orphaned"):
            del there[problem.ref]
    return found


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else (ms - T0) / 1000


def _column(name: str) -> Column:
    metric, _, labels = name.partition("{")
    pairs = dict(part.split("=") for part in labels.rstrip("}").split(",")) if labels else {}
    return Column(metric, pairs)
