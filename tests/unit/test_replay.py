"""The log judged again gives the same problems and tickets, byte for byte; a quiet vehicle costs nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from collector.contract import load_contract
from collector.core.contact_gaps import ContactGaps
from collector.core.places import cell_of
from collector.core.roster import Person
from collector.core.rules.files import load_rules, parse_rules
from collector.core.vehicle import step as judging
from collector.core.vehicle.events import Listening
from collector.core.vehicle.step import look
from collector.site import unit_of_work
from collector.site.acts import EDITION_ACTION, STATE_ACTION, TICKET_ACTION, EditionBody, StateBody, TicketBody
from collector.site.in_force import CONTRACT, FLEET, GAPS, RULES, EditionError, InForce, Receiver
from collector.site.intake import Incoming
from collector.site.memory import Memory, Unreadable
from collector.site.unit_of_work import UnitOfWork
from collector.store.batch import (
    ActedOnTicket,
    BegunAnew,
    EditionTaken,
    Entry,
    Group,
    Stepped,
    TimePassed,
    Woken,
    decode,
)
from collector.store.rows import Action, Changes, SiteData
from telemetry.fleet import AgentPlan, Device, Site, VehiclePlan
from telemetry.inputs import ModemInput, SnmpInput
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, Birth, Goodbye, Moment, SchemaBody, Will, encode
from telemetry.records import Clock, Column, Schema
from telemetry.topics import AgentName
from tests.unit.judged_again import batches_of, judged_again, judged_again_from_snapshots, rows_of

START = 1_790_000_000_000
SITE = "north"
RUNS = {"amb-1": "00000000000000a1", "amb-2": "00000000000000b2", "amb-3": "00000000000000c3"}
MODEM = Schema("modem", "modem-1", (Column("modem.rsrp_dbm", {"leg": "nr"}), Column("modem.sim")))
GNSS = Schema("gnss", "gnss", (Column("gnss.latitude"), Column("gnss.longitude")))
CAMERA = Schema("snmp", "cam-1", (Column("device.reachable"), Column("device.uptime_s")))


def act(id: int, vehicle: str, kind: str, body: str, now: int) -> Action:
    return Action(
        id=id, site=SITE, vehicle=vehicle, kind=kind, body=body, who="li", created_ms=now, taken_ms=None, error=""
    )


def plan() -> VehiclePlan:
    snmp = SnmpInput(address="127.0.0.1", community_file="x")
    devices = {
        "modem-1": Device(kind="modem", modem=ModemInput(port="/dev/x")),
        "cam-1": Device(kind="camera", snmp=snmp),
    }
    return VehiclePlan(agents={"router": AgentPlan(devices=devices)}, silent_after=190)


CONTRACT_ = msgspec.structs.replace(
    load_contract(None).contract,
    roster={"li": Person(name="李", role="engineer"), "sun": Person(name="孙", role="dispatcher")},
)
FORCE = InForce(
    SITE, Site(vehicles=dict.fromkeys(RUNS, plan())), load_rules(), (Receiver("webhook", "webhook"),), CONTRACT_
)


def _put_all(work: UnitOfWork) -> None:
    for kind, content in FORCE.contents().items():
        work.put_in_force(kind, content, anew=True)


class Site_:  # noqa: N801 - a site being driven
    """Units of work one after the other, in a time that is made up; now and then a new owner."""

    def __init__(self) -> None:
        self.now = START
        self.force = FORCE
        self.commits: list[Changes] = []
        self.schemas: dict[tuple[str, str, str], Schema] = {}
        self.memory = Memory.of(FORCE, SiteData({}, None, {}, {}, {}, 0))
        self.listening = Listening(START)
        self.sequence = {vehicle: itertools.count() for vehicle in RUNS}
        self.do(_put_all)
        for vehicle in RUNS:
            self.birth(vehicle)

    def do(self, what: Callable[[UnitOfWork], None] = lambda work: None) -> UnitOfWork:
        work = UnitOfWork(self.memory, self.force, self.listening, self.now)
        what(work)
        work.look()
        changes = work.changes()
        if changes is not None:
            self.schemas.update(changes.schemas)
            self.commits.append(changes)
        work.keep()
        self.force = work.in_force
        assert work.faults == []
        return work

    def say(self, vehicle: str, kind: str, payload: bytes) -> None:
        topic = AgentName(SITE, vehicle, "router").up(kind)
        self.do(lambda work: work.take(Incoming(topic, payload, self.now)))

    def ticket_act(self, what: str, ticket: str = "", **body: Any) -> None:
        action = self.wish(what, ticket, **body)
        self.do(lambda work: work.act(action))

    def wish(self, what: str, ticket: str = "", **body: Any) -> Action:
        wish = msgspec.json.encode(TicketBody(what, ticket, None, body)).decode()
        action = act(7, "", TICKET_ACTION, wish, self.now)
        if ticket and ticket not in self.memory.desk.tickets:  # the desk has let go of it: its history comes along
            events = rows_of(self.commits)["ticket_event"].values()
            action = msgspec.structs.replace(action, history=tuple(row[1:] for row in events if row[0] == ticket))
        return action

    def birth(self, vehicle: str, session: int = 1) -> None:
        run = RUNS[vehicle]
        self.say(vehicle, "state", encode(DEFLATED, run, Birth(session, "b", "m", "1", 0.0)))
        clocks = (Clock(0, 0, START, "ntp", 5),)
        self.say(
            vehicle,
            "schema",
            encode(DEFLATED, run, SchemaBody("b", {s.id(): s for s in (MODEM, CAMERA, GNSS)}, clocks)),
        )

    def moment(self, vehicle: str, sim: str = "ready", camera: bool = True, lane: str = "live") -> None:
        self.say(vehicle, lane, self.told(vehicle, sim, camera))

    def fix(self, vehicle: str) -> None:
        names = Intervals([(number := next(self.sequence[vehicle]), number)])
        moments = [Moment(self.now - START, 0, [[GNSS.id(), [31.2, 121.4]]])]
        self.say(vehicle, "live", encode(DEFLATED, RUNS[vehicle], moments, names))

    def told(self, vehicle: str, sim: str, camera: bool) -> bytes:
        entries = [[MODEM.id(), [-80.0, sim]], [CAMERA.id(), [camera, 5.0]]]
        numbers = [next(self.sequence[vehicle]) for _ in entries]
        names = Intervals((n, n) for n in numbers)
        return encode(DEFLATED, RUNS[vehicle], [Moment(self.now - START, 0, entries)], names)

    def gather(self, seconds: int, vehicle: str, sim: str) -> None:
        """One unit of work that goes on for so long."""

        def all_of_it(work: UnitOfWork) -> None:
            for _ in range(0, seconds, 10):
                self.now += 10_000
                work.go_on(self.now)
                topic = AgentName(SITE, vehicle, "router").up("live")
                work.take(Incoming(topic, self.told(vehicle, sim, True), self.now))

        self.do(all_of_it)

    def drive(
        self, seconds: float, *vehicles: str, sim: str = "ready", camera: bool = True, fixed: bool = False
    ) -> None:
        end = self.now + round(seconds * 1000)
        while self.now < end:
            for vehicle in vehicles:
                self.moment(vehicle, sim, camera)
                if fixed:
                    self.fix(vehicle)
            self.pass_time(10)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, looking when somebody wants that."""
        end = self.now + round(seconds * 1000)
        while (wake_ms := self.memory.wake_ms()) is not None and wake_ms <= end:
            self.now = max(self.now, wake_ms)
            self.do()
        self.now = end

    def new_owner(self) -> None:
        """Load what is committed, as after a crash."""
        rows = SiteData(
            {name: vehicle.to_json() for name, vehicle in self.memory.vehicles.items()},
            self.memory.state.to_json(), {}, dict(self.schemas), {}, self.memory.last_batch,
        )  # fmt: skip
        desk = self.memory.desk
        rows.ticket_events = {ticket: list(events) for ticket, events in desk.events.items()}
        rows.problems = list(desk.problems.values())
        rows.last_numbers = dict(desk.last_numbers)
        rows.snapshot_ms = self.memory.snapshot_ms
        runs = self.memory.runs
        self.memory = Memory.of(self.force, rows)
        self.memory.runs = runs


def a_day_and_a_half() -> Site_:
    site = Site_()
    site.drive(60, *RUNS)
    site.drive(120, "amb-1", sim="absent")
    site.drive(60, *RUNS)
    site.gather(120, "amb-1", "locked")
    site.drive(300, "amb-2", "amb-3", camera=False)  # amb-1 is silent, two cameras die
    site.new_owner()
    site.drive(400, "amb-1", "amb-2")  # amb-3 too now
    body = msgspec.json.encode(StateBody("workshop")).decode()
    site.do(lambda work: work.act(act(1, "amb-3", STATE_ACTION, body, site.now)))
    site.ticket_act("opened", source="call", fault="", sla_class="general", severity="major", event_ms=site.now,
                    detected_ms=site.now, caller={"name": "Nurse Li"}, text="no picture")  # fmt: skip
    number = list(site.memory.desk.tickets)[-1]
    site.ticket_act("responded", number, how="remote")
    site.ticket_act("responded", number, how="remote")  # refused: it has
    site.ticket_act("resolved", number, done="restarted the encoder")
    site.ticket_act("opened", source="call", fault="", sla_class="general", severity="major", event_ms=site.now,
                    detected_ms=site.now, text="is it on?")  # fmt: skip
    number = list(site.memory.desk.tickets)[-1]
    site.ticket_act("cancelled", number, reason="a question")
    assert number not in site.memory.desk.tickets
    site.ticket_act("corrected", number, number=2, at_ms=site.now, reason="for the record")
    assert number not in site.memory.desk.tickets
    assert [row[2] for row in rows_of(site.commits)["ticket_event"].values() if row[0] == number] == [
        "opened", "cancelled", "corrected",
    ]  # fmt: skip
    site.say("amb-2", "state", encode(DEFLATED, RUNS["amb-2"], Goodbye(1, "parked")))
    site.pass_time(3600)
    site.listening = Listening(None)
    site.pass_time(600)
    site.do()
    site.listening = Listening(site.now)
    site.pass_time(24 * 3600)
    site.birth("amb-2", 2)
    body = msgspec.json.encode(StateBody("on_duty")).decode()
    site.do(lambda work: work.act(act(2, "amb-3", STATE_ACTION, body, site.now)))
    site.drive(200, *RUNS, sim="locked")
    site.say("amb-1", "state", encode(DEFLATED, RUNS["amb-1"], Will(1)))
    site.pass_time(2000)
    return site


def test_a_day_and_a_half_judged_again_is_the_same_byte_for_byte() -> None:
    site = a_day_and_a_half()
    rows = rows_of(site.commits)
    faults = {row[2] for row in rows["problem"].values()}
    assert {"sim_absent", "sim_locked", "camera_down", "vehicle_silent", "site_unreachable"} <= faults, faults
    assert len(rows["ticket"]) >= 5
    assert judged_again(FORCE, site.commits) == rows
    kinds = {type(entry) for batch in batches_of(SITE, site.commits) for entry in batch.entries}
    assert kinds >= {Stepped, Woken, EditionTaken, TimePassed, ActedOnTicket}


def test_judging_again_may_begin_at_any_days_snapshot() -> None:
    site = a_day_and_a_half()
    found = judged_again_from_snapshots(FORCE, site.commits)
    assert len(found) == 2, "one a day"
    assert found[1][0] > 50, "the second one is not at the beginning"
    for _, rest, again in found:
        assert again == rest


def test_what_began_anew_is_judged_again_the_same_and_its_tickets_ask_a_person() -> None:
    site = Site_()
    site.drive(120, "amb-1", sim="absent")
    site.pass_time(2000)  # silent, and the site with it
    for name in ("amb-1", ""):
        site.memory.unreadable[name] = Unreadable(b"\xff", "no UTF-8")
        site.do(partial(UnitOfWork.begin_anew, vehicle=name))
    assert site.memory.unreadable == {}
    assert [(row.vehicle, row.kind, row.payload) for changes in site.commits for row in changes.quarantine] == [
        ("amb-1", "vehicle_state", b"\xff"),
        ("", "site_state", b"\xff"),
    ]
    site.birth("amb-1", 2)
    site.drive(120, "amb-1", sim="absent")
    rows = rows_of(site.commits)
    assert "orphaned" in [event[2] for event in rows["ticket_event"].values()]
    assert judged_again(FORCE, site.commits) == rows
    assert any(isinstance(entry, BegunAnew) for batch in batches_of(SITE, site.commits) for entry in batch.entries)


def without(vehicle: str, device: str = "") -> Callable[[UnitOfWork], None]:
    """Put a fleet file in force that no longer names a vehicle, or a device of it."""
    plans = dict(FORCE.site.vehicles)
    if device:
        agents = {
            name: msgspec.structs.replace(
                agent, devices={id: one for id, one in agent.devices.items() if id != device}
            )
            for name, agent in plans[vehicle].agents.items()
        }  # fmt: skip
        plans[vehicle] = msgspec.structs.replace(plans[vehicle], agents=agents)
    else:
        del plans[vehicle]
    site = msgspec.structs.replace(FORCE.site, vehicles=plans)
    content = msgspec.structs.replace(FORCE, site=site).contents()["fleet"]
    return lambda work: work.put_in_force("fleet", content)


def test_a_vehicle_that_the_fleet_file_names_no_more_asks_a_person_and_is_not_silent_again() -> None:
    site = Site_()
    site.drive(400, "amb-1", "amb-3", camera=False)  # amb-2 is silent
    before = {ticket.vehicle: ticket for ticket in site.memory.desk.tickets.values()}
    assert {ticket.fault for ticket in before.values()} == {"camera_down", "vehicle_silent"}
    site.do(without("amb-2"))
    site.memory.go_by(site.force)
    for _ in range(12):  # two hours, the others well
        site.drive(600, "amb-1", "amb-3")
    rows = rows_of(site.commits)
    told = [row[2] for row in rows["ticket_event"].values() if row[0] == before["amb-2"].id]
    assert told[:3] == ["opened", "orphaned", "asked"]
    assert site.memory.desk.tickets[before["amb-2"].id].state == "new", "never closed by it"
    assert [row[0] for row in rows["ticket"].values() if row[4] == "amb-2"] == [before["amb-2"].id]
    assert site.memory.vehicles["amb-2"].problems == {}
    assert judged_again(FORCE, site.commits) == rows


def test_a_device_that_the_fleet_file_names_no_more_asks_a_person() -> None:
    site = Site_()
    site.drive(400, *RUNS, camera=False)
    (ticket,) = [one for one in site.memory.desk.tickets.values() if one.vehicle == "amb-1"]
    site.do(without("amb-1", "cam-1"))
    site.memory.go_by(site.force)
    site.drive(60, *RUNS)
    found = site.memory.desk.tickets
    assert found[ticket.id].unjudged is not None
    assert found[ticket.id].held() == [], "the key is free"
    others = [one for one in found.values() if one.vehicle != "amb-1"]
    assert [one.unjudged for one in others] == [None] * len(others)
    assert judged_again(FORCE, site.commits) == rows_of(site.commits)


def test_a_silent_device_that_the_fleet_file_names_no_more_asks_one_person_once() -> None:
    """Found by a drill: the unit of work that let go of it found it silent once more, by the plan of before."""
    site = Site_()
    site.drive(60, *RUNS)
    for _ in range(60):
        for vehicle, run in RUNS.items():
            entries: list[Any] = [
                [MODEM.id(), [-80.0, "ready"]],
                *([[CAMERA.id(), [False, None]]] if vehicle == "amb-1" else []),
            ]
            names = Intervals((n, n) for n in [next(site.sequence[vehicle]) for _ in entries])
            site.say(vehicle, "live", encode(DEFLATED, run, [Moment(site.now - START, 0, entries)], names))
        site.pass_time(10)
    site.do(without("amb-1", "cam-1"))
    site.memory.go_by(site.force)
    site.drive(60, *RUNS)
    mine = [one for one in site.memory.desk.tickets.values() if one.vehicle == "amb-1"]
    assert [(one.fault, one.unjudged is not None) for one in mine] == [("camera_down", True)]
    assert site.memory.vehicles["amb-1"].problems == {}
    assert judged_again(FORCE, site.commits) == rows_of(site.commits)


def test_what_a_gathering_unit_takes_is_judged_at_its_own_time() -> None:
    """Not when the unit began: else a ticket is opened before the sample that it was opened for."""
    site = Site_()
    site.drive(60, *RUNS)
    began = site.now
    site.gather(120, "amb-1", "absent")
    kept = [one for changes in site.commits for one in changes.problems if one.problem.key.fault == "sim_absent"]
    (problem,) = [one.problem for one in kept]
    times = [sample["time_ms"] for one in problem.evidence for sample in one.samples]
    assert max(times) <= problem.detected_ms <= site.now
    assert problem.detected_ms > began + 10_000


def test_several_acts_in_one_unit_of_work_on_a_ticket_that_the_desk_lets_go_of_come_one_after_the_other() -> None:
    """It is cancelled and the time of that corrected at once; later, when its history has to be read, twice more."""
    site = Site_()
    site.ticket_act("opened", source="call", fault="", sla_class="general", severity="major", event_ms=site.now,
                    detected_ms=site.now, text="is it on?")  # fmt: skip
    (number,) = site.memory.desk.tickets

    def at_once(*wishes: Action) -> None:
        def take(work: UnitOfWork) -> None:
            for one in wishes:
                work.act(one)

        changes = site.do(take).changes()
        assert changes is not None
        assert [one.error for one in changes.actions_taken] == ["", ""]

    def corrected(why: str) -> Action:
        return site.wish("corrected", number, number=2, at_ms=site.now, reason=why)

    at_once(site.wish("cancelled", number, reason="a question"), corrected("one"))
    assert number not in site.memory.desk.tickets
    at_once(corrected("two"), corrected("three"))
    rows = rows_of(site.commits)
    assert [row[1:3] for row in rows["ticket_event"].values() if row[0] == number] == [
        (1, "opened"), (2, "cancelled"), (3, "corrected"), (4, "corrected"), (5, "corrected"),
    ]  # fmt: skip
    assert judged_again(FORCE, site.commits) == rows


def _with_a_router() -> InForce:
    """A camera behind a router that is read, believed at once."""
    snmp = SnmpInput(address="127.0.0.1", community_file="x")
    devices = {
        "router-1": Device(kind="router", snmp=snmp),
        "cam-1": Device(kind="camera", snmp=snmp, depends_on=("router-1",)),
    }
    of_camera = {"fault": "camera_down", "kinds": ["camera"], "for": "0s",
                 "condition": {"metric": "device.reachable", "is": [False]}}  # fmt: skip
    vehicle = VehiclePlan(agents={"router": AgentPlan(devices=devices)})
    rules = parse_rules([("mine", {"rules": {"camera_down": of_camera}})])
    return msgspec.structs.replace(FORCE, site=Site(vehicles=dict.fromkeys(RUNS, vehicle)), rules=rules)


def test_a_message_that_comes_again_brings_nothing_that_the_log_does_not_tell() -> None:
    """Found by the desk's machine: what waited for its cause was opened by a message without one new record."""
    router = Schema("snmp", "router-1", (Column("device.reachable"),))
    site = Site_()
    for kind in (FLEET, RULES):
        content = _with_a_router().contents()[kind]
        site.do(partial(UnitOfWork.put_in_force, kind=kind, content=content))
    schemas = SchemaBody("b", {router.id(): router}, ())
    site.say("amb-1", "schema", encode(DEFLATED, RUNS["amb-1"], schemas))

    def said(schema: Schema, *values: Any) -> bytes:
        names = Intervals([(number := next(site.sequence["amb-1"]), number)])
        moments = [Moment(site.now - START, 0, [[schema.id(), list(values)]])]
        return encode(DEFLATED, RUNS["amb-1"], moments, names)

    site.say("amb-1", "live", said(router, True))
    site.pass_time(600)
    dead = said(CAMERA, False, None)
    site.say("amb-1", "live", dead)
    assert rows_of(site.commits)["ticket"] == {}, "it waits a minute for a sign of its router"
    site.now += 90_000
    site.say("amb-1", "live", dead)
    rows = rows_of(site.commits)
    assert [ticket[0] for ticket in rows["ticket"].values()], "the look at the time has opened it"
    assert judged_again(site.force, site.commits) == rows


def test_what_poison_has_parted_is_judged_again_in_the_same_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that are stepped one by one, because one of their message raises, are looked at for causes one by one."""
    observed = judging._judge_sample

    def observe(draft: Any, event: Any, gap_ms: int) -> None:
        if event.values[0] == -66.0:
            raise ZeroDivisionError("a rule divided")
        observed(draft, event, gap_ms)

    monkeypatch.setattr(judging, "_judge_sample", observe)
    site = Site_()
    site.drive(60, *RUNS)
    bad: list[list[Any]] = [[MODEM.id(), [-80.0, "absent"]], [MODEM.id(), [-66.0, "absent"]]]
    entries = [*bad, [MODEM.id(), [-80.0, "absent"]]]
    first = next(site.sequence["amb-1"])
    names = Intervals([(first, first + 2)])
    site.sequence["amb-1"] = itertools.count(first + 3)
    moments = [Moment(site.now - START + n, 0, [entry]) for n, entry in enumerate(entries)]
    work = UnitOfWork(site.memory, site.force, site.listening, site.now)
    topic = AgentName(SITE, "amb-1", "router").up("live")
    work.take(Incoming(topic, encode(DEFLATED, RUNS["amb-1"], moments, names), site.now))
    changes = work.changes()
    assert changes is not None
    assert changes.batch is not None
    assert len(work.faults) == 1
    groups = [entry for entry in decode(changes.batch.content)[1] if isinstance(entry, Group)]
    assert [entry.pairs for entry in groups] == [[(first, first)], [(first + 2, first + 2)]]


def test_a_clock_is_read_from_what_was_taken_because_the_log_holds_nothing_else() -> None:
    """The newest record of a message is one that comes again: its moment stands in no log."""
    site = Site_()
    site.drive(60, *RUNS)
    first = next(site.sequence["amb-1"])
    site.sequence["amb-1"] = itertools.count(first + 2)
    good = [MODEM.id(), [-80.0, "ready"]]
    older, newest = (Moment(site.now - START - ago, 0, [good]) for ago in (40_000, 0))
    again = Intervals([(first + 1, first + 1)])
    site.say("amb-1", "live", encode(DEFLATED, RUNS["amb-1"], [newest], again))
    site.say("amb-1", "live", encode(DEFLATED, RUNS["amb-1"], [older, newest], Intervals([(first, first + 1)])))
    rows = rows_of(site.commits)
    assert judged_again(FORCE, site.commits) == rows


def test_leaving_out_one_entry_is_noticed() -> None:
    """The comparison can fail: without the looks at the time, or without a birth, other problems come out."""
    site = a_day_and_a_half()
    whole = rows_of(site.commits)
    for kind in (Woken, Stepped, TimePassed, ActedOnTicket):
        really = UnitOfWork.replay

        def without(self: UnitOfWork, entry: Entry, kind: type = kind, really: Any = really) -> None:
            if not isinstance(entry, kind):
                really(self, entry)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(UnitOfWork, "replay", without)
            assert judged_again(FORCE, site.commits) != whole


def test_other_rules_are_an_event_and_judged_again_from_there() -> None:
    site = Site_()
    site.drive(120, "amb-1", sim="absent")
    files = [*FORCE.rules.files, ("mine", {"overrides": [{"rule": "sim_absent", "disabled": True}]})]
    other = msgspec.structs.replace(FORCE, rules=parse_rules(files))
    body = msgspec.json.encode(EditionBody(RULES, other.contents()[RULES].decode())).decode()
    site.do(lambda work: work.act(act(1, "", EDITION_ACTION, body, site.now)))
    assert site.force.editions[RULES] == 2
    site.drive(60, "amb-1")
    site.drive(300, "amb-2", sim="absent")
    rows = rows_of(site.commits)
    assert {key[0] for key, row in rows["problem"].items() if row[2] == "sim_absent"} == {"amb-1"}
    assert judged_again(FORCE, site.commits) == rows
    site.do(lambda work: work.act(act(2, "", EDITION_ACTION, body, site.now)))
    assert site.force.editions[RULES] == 2, "the same again is no new edition"


def test_what_was_learnt_is_an_event_and_changes_no_more_than_what_is_asked_of_it() -> None:
    """An edition of gaps in the middle: silences before and after are judged by theirs, and again the same."""
    plan_ = msgspec.structs.replace(plan(), silent_after=None)
    force = msgspec.structs.replace(FORCE, site=Site(vehicles=dict.fromkeys(RUNS, plan_)))
    kept = ContactGaps(kept=frozenset({cell_of(31.2, 121.4)}))
    site = Site_()
    site.do(lambda work: work.put_in_force(FLEET, force.contents()[FLEET]))
    for learnt, limit_s in ((None, 600), (kept, 240)):
        if learnt is not None:
            compiled = dict(site.memory.compiled)
            site.do(lambda work: work.put_in_force(GAPS, kept.to_json()))
            assert site.memory.compiled == compiled
            assert all(site.memory.compiled[key] is one for key, one in compiled.items()), "nothing is compiled anew"
        site.drive(120, *RUNS, fixed=True)
        began = site.now - 10_000
        site.drive(limit_s - 20, "amb-2", "amb-3", fixed=True)
        assert not site.memory.vehicles["amb-1"].problems
        site.drive(20, "amb-2", "amb-3", fixed=True)
        (problem,) = site.memory.vehicles["amb-1"].problems.values()
        assert (problem.key.fault, problem.event_ms) == ("vehicle_silent", began)
        site.birth("amb-1", 2 + (learnt is not None))
        site.drive(120, *RUNS, fixed=True)
        assert not site.memory.vehicles["amb-1"].problems
    rows = rows_of(site.commits)
    assert {changes.batch and decode(changes.batch.content)[0].editions.get(GAPS) for changes in site.commits} >= {
        None,
        1,
    }
    assert judged_again(FORCE, site.commits) == rows
    for _, rest, again in judged_again_from_snapshots(FORCE, site.commits):
        assert again == rest
    site.do(lambda work: work.put_in_force(GAPS, kept.to_json(), anew=True))
    assert site.force.editions[GAPS] == 2


@pytest.mark.parametrize("content", ["{}", "[]", '{"files": [["x", {"rules": 5}]], "speed": 1}', "nonsense"])
def test_an_edition_that_cannot_be_used_is_refused_with_its_reason(content: str) -> None:
    site = Site_()
    body = msgspec.json.encode(EditionBody(RULES, content)).decode()
    work = UnitOfWork(site.memory, site.force, site.listening, site.now)
    work.act(act(1, "", EDITION_ACTION, body, site.now))
    changes = work.changes()
    assert changes is not None
    assert changes.actions_taken[0].error.startswith("EditionError: edition of rules: ")
    assert work.in_force is site.force
    with pytest.raises(EditionError, match="expected fleet, rules, contract, gaps or coverage"):
        FORCE.edited("weather", 1, b"{}")
    assert FORCE.edited(CONTRACT, 7, FORCE.contents()[CONTRACT]).contract == FORCE.contract


def test_an_edition_keeps_the_order_of_its_files() -> None:
    """Of two faults of one device the one that the topology names first explains the other, and rules go in order."""
    reread = FORCE.edited(RULES, 1, FORCE.contents()[RULES])
    assert list(reread.rules.topology.faults) == list(FORCE.rules.topology.faults)
    assert list(FORCE.rules.topology.faults) != sorted(FORCE.rules.topology.faults), "the shipped file shows it"
    assert list(reread.rules.by_id) == list(FORCE.rules.by_id)


@pytest.mark.long
def test_a_quiet_vehicle_costs_nothing_between_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of good samples every ten seconds: it is looked at when its silence would be due, and not before."""
    site = Site_()
    site.drive(60, "amb-1")
    looks = []

    def counted(*given: Any) -> Any:
        looks.append(site.now)
        return look(*given)

    monkeypatch.setattr(unit_of_work, "look", counted)
    before = site.now
    site.drive(6 * 3600, *RUNS)
    assert rows_of(site.commits)["problem"] == {}
    hours = (site.now - before) / 3_600_000
    assert len(looks) / hours / len(RUNS) < 60, "about once in the three minutes after which it would be silent"
    assert not any(isinstance(e, Woken) for batch in batches_of(SITE, site.commits[-500:]) for e in batch.entries)
