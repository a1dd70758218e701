"""Holes in an agent's sequence (docs/decisions/0065): in what order records arrive does not matter in the end.

A site without I/O is driven message by message; the judge beside it is ``step``, record by record in order of time.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.contract import DEFAULT
from collector.core.problems import ClosedNote, ProblemChange
from collector.core.rules.types import Rules
from collector.core.vehicle.events import Listening, Observed, RecordName
from collector.core.vehicle.state import FORMAT, Vehicle
from collector.core.vehicle.step import Context, step
from collector.replay import replay
from collector.site import unit_of_work
from collector.site.in_force import InForce
from collector.site.intake import Incoming
from collector.site.memory import Memory
from collector.site.unit_of_work import UnitOfWork
from collector.store.rows import Changes, SiteData
from telemetry.fleet import Site, VehiclePlan
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, Birth, HeldRun, Lane, Moment, SchemaBody, encode
from telemetry.records import Clock, Column, Schema
from telemetry.topics import AgentName
from tests.unit.judged_again import batches_of, judged_again, rows_of
from tests.unit.judging import SHIPPED, rules_of, vehicle_plan

NOW = 1_790_000_000_000
SITE, VEHICLE = "north", "amb-1"
MODEM = Schema("http", "modem", (Column("modem.temperature_c"), Column("modem.sim")))
LINK = Schema("probe", "uplink", (Column("link.loss_percent", {"target": "a"}),))
TABLET = Schema("system", "host", (Column("host.temperature_c"),))
SCHEMAS = {"box": (MODEM, LINK), "tablet": (TABLET,)}
RULES = """
rules:
  modem_hot:
    fault: modem_hot
    condition: {metric: modem.temperature_c, above: 80, clear: 75}
    for: 30s
    clear_for: 20s
  sim_absent: {fault: sim_absent, condition: {metric: modem.sim, is: [absent]}, for: 20s}
  lossy:
    fault: packet_loss
    condition: {metric: link.loss_percent, mean: {over: 1m}, above: 7, clear: 4}
    for: 10s
  tablet_hot: {fault: host_hot, condition: {metric: host.temperature_c, above: 50, clear: 45}, for: 20s}
"""
STEP = 10_000


@dataclass
class Agent:
    """An agent with its outbox: what it holds, by run, and whether it is connected."""

    name: str
    number: int
    run: str = ""
    session: int = 0
    next: int = 0
    connected: bool = True
    is_new: bool = True
    """It has not sent anything since its birth."""
    held: dict[str, list[tuple[int, int, list[Any]]]] = field(default_factory=dict)
    """By run: (sequence, ms after NOW, entry) of what the centre has not been sent."""
    runs: int = 0
    boot: str = "b"

    def begin_run(self) -> None:
        self.runs += 1
        self.run = f"{self.number:02x}{self.runs:014x}"
        self.session, self.next = 0, 0

    @property
    def topic(self) -> AgentName:
        return AgentName(SITE, VEHICLE, self.name)


class Centre:
    """A site whose messages come when they come; every unit of work is committed, and may be done again."""

    def __init__(self, rules: Rules | None = None, plan: VehiclePlan | None = None) -> None:
        plan = plan or vehicle_plan()
        self.in_force = InForce(SITE, Site(vehicles={VEHICLE: plan}), rules or rules_of(RULES), (), DEFAULT)
        self.memory = Memory.of(self.in_force, SiteData({}, None, {}, {}, {}, 0))
        self.now = NOW
        self.commits: list[Changes] = []
        self.effects: list[Any] = []
        self.agents = [Agent("box", 1), Agent("tablet", 2)]
        self.told: list[tuple[int, str, str, int, list[Any]]] = []
        """(ms after NOW, agent, run, sequence, entry) of every sample that was not lost."""

    # --- the centre

    def do(self, *messages: tuple[str, bytes]) -> UnitOfWork:
        work = UnitOfWork(self.memory, self.in_force, Listening(NOW - 3_600_000), self.now)
        for topic, payload in messages:
            work.take(Incoming(topic, payload, self.now))
        work.look()
        assert work.faults == []
        self.effects += [*work._changes, *(one for one in work._effects if isinstance(one, ClosedNote))]
        changes = work.changes()
        if changes is not None:
            self.commit(changes)
        work.keep()
        return work

    def commit(self, changes: Changes) -> None:
        self.commits.append(changes)

    def pass_time(self, ms: int) -> None:
        until = self.now + ms
        while (wake_ms := self.memory.wake_ms()) is not None and wake_ms <= until:
            self.now = max(wake_ms, self.now + 1)
            self.do()
        self.now = until

    def restart(self) -> None:
        """Let another owner load what is committed: what forks are stepped through stands in the log."""
        vehicles = {name: content for changes in self.commits for name, content in changes.vehicles.items()}
        data = SiteData(
            vehicles, None, {row: run.row for row, run in self.memory.runs.items()},
            {key: one for changes in self.commits for key, one in changes.schemas.items()},
            {key: dict(run.clocks) for key, run in self.memory.runs.items()}, self.memory.last_batch,
        )  # fmt: skip
        self.memory = Memory.of(self.in_force, data)
        for batch in batches_of(SITE, self.commits):
            self.memory.remember(batch)
        self.memory.have_remembered()

    @property
    def vehicle(self) -> Vehicle:
        return self.memory.vehicles[VEHICLE]

    def notes(self) -> list[tuple[str, float, float]]:
        return [
            (one.fault, (one.began_ms - NOW) / 1000, (one.ended_ms - NOW) / 1000)
            for one in self.effects
            if isinstance(one, ClosedNote)
        ]

    def news(self) -> list[tuple[str, str, float]]:
        """(news, fault, event time) in order."""
        return [
            (one.news, one.problem.key.fault, (one.problem.event_ms - NOW) / 1000)
            for one in self.effects
            if isinstance(one, ProblemChange)
        ]

    def tickets(self) -> list[tuple[str, float]]:
        return sorted(
            (one.ticket.fault, (one.ticket.event_ms - NOW) / 1000)
            for one in {one.ticket.id: one for changes in self.commits for one in changes.recorded}.values()
        )

    # --- the agents

    def birth(self, agent: Agent) -> None:
        agent.session += 1
        agent.is_new = True
        held = {run: HeldRun("b", rows[0][0], rows[-1][0]) for run, rows in agent.held.items() if rows}
        birth = Birth(agent.session, agent.boot, "m", "1", 0.0, held)
        schemas = {schema.id(): schema for schema in SCHEMAS[agent.name]}
        said = [(agent.topic.up("state"), encode(DEFLATED, agent.run, birth))]
        for run in {agent.run, *held}:
            clocks = (Clock(0, 0, NOW, "ntp", 5),)
            boot = agent.boot if run == agent.run else "b"
            said.append((agent.topic.up("schema"), encode(DEFLATED, run, SchemaBody(boot, schemas, clocks))))
        self.do(*said)

    def record(self, agent: Agent, *entries: list[Any]) -> list[tuple[int, int, list[Any]]]:
        rows = []
        for entry in entries:
            rows.append((agent.next, self.now - NOW, entry))
            self.told.append((self.now - NOW, agent.name, agent.run, agent.next, entry))
            agent.next += 1
        return rows

    def send(self, agent: Agent, lane: Lane, run: str, rows: Sequence[tuple[int, int, list[Any]]]) -> None:
        moments = [Moment(ms, 0, [entry]) for _, ms, entry in rows]
        names = Intervals((number, number) for number, _, _ in rows)
        self.do((agent.topic.up(lane), encode(DEFLATED, run, moments, names)))

    def drain(self, agent: Agent, most: int) -> None:
        """Send the oldest of what is held."""
        for run, rows in list(agent.held.items()):
            part, agent.held[run] = rows[:most], rows[most:]
            if part:
                self.send(agent, "backlog", run, part)
                return

    def lose(self, agent: Agent, run: str, count: int) -> None:
        """Lose some of what is held; ``tell_lost`` tells it."""
        gone = [number for number, _, _ in agent.held[run][:count]]
        agent.held[run] = agent.held[run][count:]
        self.told = [one for one in self.told if not (one[2] == run and one[3] in gone)]
        if gone:
            body = {"run": run, "intervals": [[gone[0], gone[-1]]], "reason": "evicted"}
            rows = self.record(agent, ["lost", "", body])
            self.told.pop()
            if agent.connected:
                self.send(agent, "live", agent.run, rows)
            else:
                agent.held.setdefault(agent.run, []).extend(rows)

    # --- the judge beside it

    def in_turn(self) -> tuple[Vehicle, list[Any]]:
        """Return the vehicle after each record in order of event time, one after the other, and the effects."""
        plan = self.in_force.vehicle_plan(VEHICLE)
        vehicle, effects = Vehicle.new(SITE, VEHICLE, plan), []
        context = Context(plan, Listening(NOW - 3_600_000))
        for ms, agent, run, number, (schema, values) in sorted(self.told, key=lambda one: (one[0], one[1], one[3])):
            compiled = self.memory.compiled[VEHICLE, agent, schema]
            event = Observed(RecordName(agent, run, number), "live", NOW + ms, compiled, compiled.check(values))
            vehicle, more = step(vehicle, event, context, self.in_force.rules, NOW + ms)
            effects += more
        return vehicle, effects


def of_the_kit(vehicle: Vehicle) -> dict[str, Any]:
    """Return what the kit's own readings have made of a vehicle."""
    found: dict[str, Any] = {
        part: dict(getattr(vehicle, part)) for part in ("rule_states", "windows", "facts", "proofs")
    }
    found["sources"] = {key: (one.last_ms, one.from_ms, one.step_ms) for key, one in vehicle.sources.items()}
    of_readings = ("modem_hot", "sim_absent", "packet_loss", "host_hot")
    found["problems"] = {
        key: (one.event_ms, one.times) for key, one in vehicle.problems.items() if key.fault in of_readings
    }
    found["ended"] = {key: (one.times, one.spans) for key, one in vehicle.ended.items() if key.fault in of_readings}
    return found


def spans_told(effects: Sequence[Any]) -> set[tuple[str, int, int]]:
    """Return (fault, begin, end) of all that is over, as a problem or as a note."""
    found = {(one.fault, one.began_ms, one.ended_ms) for one in effects if isinstance(one, ClosedNote)}
    for one in effects:
        if isinstance(one, ProblemChange) and one.news == "over" and not isinstance(one, ClosedNote):
            found.add((one.problem.key.fault, one.problem.event_ms, one.problem.over_event_ms or 0))
    return found


# --- properties -------------------------------------------------------------------------------------------------------


def live_a_life(seed: int, *, restarts: bool = False, moments: int = 40, centre: Centre | None = None) -> Centre:
    """A life of two agents: gaps, runs, losses, backlog by parts beside live. All has come in the end."""
    chance, centre = random.Random(seed), centre or Centre()
    heat, loss, sim, host = 60.0, 0.0, "ready", 40.0
    for agent in centre.agents:
        agent.begin_run()
        centre.birth(agent)
    for _ in range(moments):
        centre.pass_time(STEP)
        if chance.random() < 0.2:
            heat, loss = chance.choice([60.0, 60.0, 78.0, 90.0]), chance.choice([0.0, 0.0, 30.0])
            sim, host = chance.choice(["ready", "ready", "absent"]), chance.choice([40.0, 55.0])
        for agent in centre.agents:
            if agent.connected and chance.random() < 0.15:
                agent.connected = False
            elif not agent.connected and chance.random() < 0.2:
                _come_back(centre, agent, chance)
            values: list[list[Any]] = (
                [[MODEM.id(), [heat, sim]], [LINK.id(), [loss]]] if agent.name == "box" else [[TABLET.id(), [host]]]
            )
            rows = centre.record(agent, *values)
            if not agent.connected:
                agent.held.setdefault(agent.run, []).extend(rows)
            elif (
                chance.random() < 0.1 and not agent.is_new
            ):  # the link is bad for a moment: it goes with the backlog, nobody says so
                agent.held.setdefault(agent.run, []).extend(rows)
            else:
                centre.send(agent, "live", agent.run, rows)
                agent.is_new = False
            if agent.held and chance.random() < 0.05:
                centre.lose(agent, next(iter(agent.held)), chance.randint(1, 4))
            if agent.connected and chance.random() < 0.4:
                centre.drain(agent, chance.randint(1, 6))
        if restarts and chance.random() < 0.3:
            centre.restart()
    for agent in centre.agents:
        if not agent.connected:
            _come_back(centre, agent, chance)
        while any(agent.held.values()):
            centre.drain(agent, chance.randint(1, 9))
            centre.now += 1
    centre.pass_time(100_000)
    return centre


def _come_back(centre: Centre, agent: Agent, chance: random.Random) -> None:
    agent.connected = True
    if chance.random() < 0.3:
        agent.begin_run()
    centre.birth(agent)


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_however_records_arrive_the_vehicle_ends_as_if_they_had_come_in_turn(seed: int) -> None:
    centre = live_a_life(seed)
    vehicle, effects = centre.in_turn()
    assert centre.vehicle.fork is None
    assert of_the_kit(centre.vehicle) == of_the_kit(vehicle)
    told = spans_told(centre.effects)
    own = [one for one in effects if not isinstance(one, ProblemChange) or one.problem.cause is None]
    for fault, begin, end in spans_told(own):  # what another fault explains is told with that one
        assert any(f == fault and b < end and begin < e for f, b, e in told), f"{fault} from {begin} is told"


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_another_owner_in_the_middle_makes_no_difference(seed: int) -> None:
    centre = live_a_life(seed, restarts=True)
    assert centre.vehicle.fork is None
    assert of_the_kit(centre.vehicle) == of_the_kit(centre.in_turn()[0])


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_the_log_judged_again_comes_to_the_same_byte_for_byte(seed: int) -> None:
    centre = live_a_life(seed)
    assert judged_again(centre.in_force, centre.commits) == rows_of(centre.commits)


# --- what people hear -------------------------------------------------------------------------------------------------

HOUR = 3600
WHEN = ("began", "again", "moved", "over")
"""What tells when something was."""


class Outage(Centre):
    """One agent, an hour without contact, and the backlog afterwards. Times are seconds after the outage's begin."""

    def __init__(self, heat: dict[range, float | None], **more: Any) -> None:
        super().__init__(**more)
        self.begin = NOW + 60_000
        self.heat = heat
        self.box = self.agents[0]
        self.box.begin_run()
        self.birth(self.box)
        for at in range(-50, 0, 10):
            self.live(at)
        self.box.connected = False
        for at in range(0, HOUR, 10):
            self.now = self.begin + at * 1000
            rows = self.record(self.box, self.entry(at))
            self.box.held.setdefault(self.box.run, []).extend(rows)

    def entry(self, at: int) -> list[Any]:
        return [MODEM.id(), [next((heat for span, heat in self.heat.items() if at in span), 60.0), "ready"]]

    def live(self, at: int) -> None:
        self.pass_time(self.begin + at * 1000 - self.now)
        self.send(self.box, "live", self.box.run, self.record(self.box, self.entry(at)))

    def back(self, at: int = HOUR) -> None:
        self.pass_time(self.begin + at * 1000 - self.now)
        self.birth(self.box)

    def catch_up(self) -> None:
        """Send all that is held, and go on live until the fork is the state."""
        while any(self.box.held.values()):
            self.drain(self.box, 999)
        at = (self.now - self.begin) // 1000
        for later in range(at - at % 10 + 10, at + 120, 10):
            self.live(later)

    def since(self, ms: int | None) -> float | None:
        return None if ms is None else (ms - self.begin) / 1000

    def heard(self) -> list[tuple[str, float | None, float | None]]:
        """(news, event time, end) of each change of the modem's heat."""
        return [
            (one.news, self.since(one.problem.event_ms), self.since(one.problem.over_event_ms))
            for one in self.effects
            if isinstance(one, ProblemChange) and one.problem.key.fault == "modem_hot" and one.news in WHEN
        ]

    def noted(self) -> list[tuple[float | None, float | None]]:
        return [
            (self.since(one.began_ms), self.since(one.ended_ms)) for one in self.effects if isinstance(one, ClosedNote)
        ]


def test_still_true_one_ticket_event_time_from_the_sample_detection_now() -> None:
    """Field note T9: a fault that began in the backlog and lasts. Live says nothing of it: nobody reads it now."""
    site = Outage({range(1000, HOUR): 90.0, range(HOUR, 99_999): None})
    site.back()
    site.live(HOUR)
    site.catch_up()
    ((news, event, end),) = site.heard()
    assert (news, event, end) == ("began", 1000, None)
    (problem,) = site.vehicle.problems.values()
    assert problem.detected_ms > site.begin + HOUR * 1000, "clocks run from when we knew"
    assert problem.evidence[0].samples[0]["time_ms"] == site.begin + 1_000_000
    assert [fault for fault, _ in site.tickets() if fault == "modem_hot"] == ["modem_hot"]


def test_what_is_active_in_both_began_when_the_fork_says() -> None:
    site = Outage({range(1000, 9999): 90.0})
    site.back()
    for at in range(HOUR, HOUR + 60, 10):
        site.live(at)
    site.catch_up()
    assert site.heard() == [("began", HOUR, None), ("moved", 1000, None)]


def test_what_live_alone_has_is_over_at_the_forks_time() -> None:
    """It was hot before the outage, cool in it, and nobody reads it since."""
    site = Outage({range(-50, 100): 90.0, range(HOUR, 99_999): None})
    site.back()
    site.live(HOUR)
    assert site.heard() == [("began", -50, None)]
    site.catch_up()
    assert site.heard() == [("began", -50, None), ("over", -50, 100)]


def test_an_end_that_live_sees_waits_for_what_is_missing() -> None:
    """It was hot before the outage and cool from its 100th second on: that is when it was over."""
    site = Outage({range(-50, 100): 90.0})
    site.back()
    for at in range(HOUR, HOUR + 120, 10):
        site.live(at)
    assert site.heard() == [("began", -50, None)]
    site.catch_up()
    assert site.heard() == [("began", -50, None), ("over", -50, 100)]


def test_an_end_waits_ten_minutes_for_what_may_never_come() -> None:
    site = Outage({range(-50, 100): 90.0})
    site.back()
    for at in range(HOUR, HOUR + 700, 10):
        site.live(at)
    assert site.heard() == [("began", -50, None), ("over", -50, HOUR)]


def test_an_end_waits_for_a_hole_of_an_agent_that_was_never_away() -> None:
    """One record comes late by the backlog, half an hour after the agent came: it says that it was hot in between."""
    site = Outage({range(HOUR + 1800, HOUR + 1900): 90.0, range(HOUR + 1910, HOUR + 1920): 90.0})
    site.back()
    site.catch_up()
    began = (site.now - site.begin) // 1000 // 10 * 10 + 10
    for at in range(began, HOUR + 1910, 10):
        site.live(at)
    late = site.record(site.box, site.entry(HOUR + 1910))
    site.pass_time(10_000)
    for at in range(HOUR + 1920, HOUR + 1980, 10):
        site.live(at)
    assert site.heard() == [("began", HOUR + 1800, None)]
    site.send(site.box, "backlog", site.box.run, late)
    for at in range(HOUR + 1980, HOUR + 2100, 10):
        site.live(at)
    assert site.heard() == [("began", HOUR + 1800, None), ("over", HOUR + 1800, HOUR + 1920)]


class NoSim(Outage):
    """The SIM is out from the 1000th second to the 1600th, and the link loses a third then."""

    def entry(self, at: int) -> list[Any]:
        out = at in range(1000, 1600)
        if at % 20:
            return [LINK.id(), [30.0 if out else 0.0]]
        return [MODEM.id(), [60.0, "absent" if out else "ready"]]


def test_what_something_else_explained_in_the_hole_leaves_no_note() -> None:
    site = NoSim({})
    site.back()
    site.live(HOUR)
    site.catch_up()
    assert [one.fault for one in site.effects if isinstance(one, ClosedNote)] == ["sim_absent"]


def test_began_and_ended_before_we_heard_is_a_note_and_no_ticket() -> None:
    site = Outage({range(1000, 1600): 90.0})
    site.back()
    site.live(HOUR)
    site.catch_up()
    assert (site.heard(), site.noted()) == ([], [(1000, 1600)])


def test_a_hole_that_is_filled_by_parts_waits_for_the_last_one() -> None:
    site = Outage({range(1000, 1600): 90.0, range(2000, 9999): 90.0})
    site.back()
    for at in range(HOUR, HOUR + 40, 10):
        site.live(at)
        site.drain(site.box, 40)
        assert site.vehicle.has_hole
    assert site.heard() == [("began", HOUR, None)]
    site.catch_up()
    assert not site.vehicle.has_hole
    assert (site.heard()[1:], site.noted()) == ([("moved", 2000, None)], [(1000, 1600)])


def test_a_vehicle_that_is_lost_again_and_again_is_judged_within_ten_minutes() -> None:
    """Found by lives with faults: a router that started anew each three minutes was told once it no longer did."""
    site = Outage({range(1000, 9999): 90.0})
    site.back()
    site.live(HOUR)
    while any(site.box.held.values()):
        site.drain(site.box, 999)
    judged = []
    for minute in range(HOUR + 60, HOUR + 1200, 60):
        late = site.record(site.box, site.entry(minute))
        site.pass_time(10_000)
        for at in range(minute + 10, minute + 60, 10):
            site.live(at)
            if at == minute + 10:
                site.send(site.box, "backlog", site.box.run, late)
        if site.heard()[1:]:
            judged.append(minute - HOUR)
    assert site.heard()[1:] == [("moved", 1000, None)]
    assert judged[0] == 600


def test_what_is_lost_is_waited_for_no_more() -> None:
    site = Outage({range(1000, 9999): 90.0})
    site.back()
    site.box.connected = True
    site.live(HOUR)
    site.lose(site.box, site.box.run, 30)
    site.catch_up()
    assert site.vehicle.fork is None
    assert site.heard() == [("began", HOUR, None), ("moved", 1000, None)]


def test_an_old_run_that_a_birth_still_holds_is_a_hole_until_it_has_come() -> None:
    site = Outage({range(1000, 9999): 90.0})
    site.box.begin_run()
    site.back()
    for at in range(HOUR, HOUR + 60, 10):
        site.live(at)
    assert site.vehicle.has_hole
    site.catch_up()
    assert site.heard() == [("began", HOUR, None), ("moved", 1000, None)]


def test_a_birth_that_holds_less_says_that_the_rest_will_not_come() -> None:
    site = Outage({range(1000, 9999): 90.0})
    site.back()
    site.live(HOUR)
    site.box.held.clear()
    site.birth(site.box)
    site.catch_up()
    assert site.vehicle.fork is None


def test_after_the_lateness_bound_nobody_waits() -> None:
    site = Outage({})
    site.back()
    site.live(HOUR)
    assert site.vehicle.has_hole
    site.pass_time(72 * HOUR * 1000 + 1000)
    assert site.vehicle.fork is None
    assert (site.heard(), site.noted()) == ([], [])


def test_while_records_are_missing_no_silence_of_a_device_counts() -> None:
    """The camera's words may be among them. Without a hole it is told after four minutes."""

    def silent(hole: bool) -> list[str]:
        site = Outage({}, rules=SHIPPED)
        site.back()
        if not hole:
            site.catch_up()
        for at in range(HOUR, HOUR + 900, 10):
            site.live(at)
        return sorted(key.fault for key in site.vehicle.problems if key.device == "camera-1")

    assert silent(hole=True) == []
    assert silent(hole=False) != []


def test_while_records_are_missing_no_new_run_says_that_the_end_before_it_was_abrupt() -> None:
    """The old run went on for an hour, as its backlog tells: the kit was off for 200 s and not for that hour too."""
    site = Outage({}, rules=SHIPPED, plan=vehicle_plan(kit_power="always"))
    site.box.boot = "after"
    site.box.begin_run()
    site.back(HOUR + 200)
    body = {"run_before": None, "ended": None, "booted": True}
    site.send(site.box, "live", site.box.run, site.record(site.box, ["started", "", body]))
    for at in range(HOUR + 210, HOUR + 900, 10):
        site.live(at)

    def lost() -> list[float | None]:
        found = [problem for problem in site.vehicle.problems.values() if problem.key.fault == "power_lost"]
        return [site.since(problem.event_ms) for problem in found]

    assert site.vehicle.has_hole
    assert lost() == []
    site.catch_up()
    assert lost() == [HOUR - 10]


def test_of_two_agents_one_that_is_quiet_forks_the_vehicle_and_no_hole_drops_it() -> None:
    site = Centre()
    box, tablet = site.agents
    for agent in site.agents:
        agent.begin_run()
        site.birth(agent)
    site.send(tablet, "live", tablet.run, site.record(tablet, [TABLET.id(), [40.0]]))
    for _ in range(9):
        site.pass_time(STEP)
        site.send(box, "live", box.run, site.record(box, [MODEM.id(), [60.0, "ready"]]))
    assert site.vehicle.fork is not None
    assert (site.vehicle.fork.silent, site.vehicle.has_hole) == (("tablet",), False)
    site.send(tablet, "live", tablet.run, site.record(tablet, [TABLET.id(), [40.0]]))
    assert site.vehicle.fork is None


def test_a_fork_goes_through_a_snapshot_and_what_came_before_it_is_remembered() -> None:
    """Judging again begins in the middle of a hole: the log is read from where that began."""
    site = Outage({range(1000, 9999): 90.0})
    site.back()
    site.live(HOUR)
    begin = len(site.commits)
    states, last, known = {VEHICLE: site.vehicle.to_json()}, site.memory.last_batch, site.memory.state.to_json()
    site.drain(site.box, 100)
    site.catch_up()
    data = SiteData(states, known, {}, {key: one for c in site.commits for key, one in c.schemas.items()}, {}, last)
    again = rows_of(list(replay(Memory.of(site.in_force, data), site.in_force, batches_of(SITE, site.commits), {})))
    assert again["state"] == rows_of(site.commits[begin:])["state"]


def test_a_state_with_what_late_data_had_of_their_own_goes_on_without() -> None:
    plain = msgspec.json.decode(Vehicle.new(SITE, VEHICLE, vehicle_plan()).to_json())
    source = "box/modem/http"
    plain |= {"format": 2, "past": {source: [1, 2, 3]}, "facts": {"past_ignition": [True, ["box", "modem", "http"], 5]}}
    vehicle = Vehicle.from_json(msgspec.json.encode(plain))
    assert (vehicle.format, dict(vehicle.facts), vehicle.fork) == (FORMAT, {}, None)


def test_a_fork_that_cannot_be_stepped_is_given_up_and_live_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Outage({range(1000, 9999): 90.0})
    site.back()
    site.live(HOUR)

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a rule divided")

    site.drain(site.box, 999)
    monkeypatch.setattr(unit_of_work, "Stepping", broken)
    counts: Counter[str] = Counter()
    for _ in range(3):  # it is filled, it has settled, it is stepped
        site.now += 100_000
        work = UnitOfWork(site.memory, site.in_force, Listening(NOW), site.now)
        work.look()
        counts.update(work.counts)
        work.changes()
        work.keep()
    assert (counts["forks_given_up"], counts["fault.rejoin"]) == (1, 1)
    assert site.vehicle.fork is None
