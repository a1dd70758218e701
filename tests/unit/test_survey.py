"""The site's verdict: one problem for the site, none for its vehicles (field note T11)."""

from __future__ import annotations

import functools

import msgspec
import pytest

from collector.core.identities import SourceKey
from collector.core.problems import ProblemChange
from collector.core.survey import Pause, SiteState, Verdict, listened, survey, verdict_of
from collector.core.vehicle.events import Acted, Born, Listening, TimePassed
from collector.core.vehicle.state import Agent, Fact, Vehicle
from collector.core.vehicle.step import Context, step
from telemetry.fleet import VehiclePlan
from tests.unit.bounds import cost
from tests.unit.judging import SHIPPED, T0, lives, vehicle_plan

PLAN = """
agents:
  box:
    devices:
      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
"""
COUNT = 60


class Fleet:
    """A site of vehicles; a word is a birth of a new session."""

    def __init__(self, count: int = COUNT, plan: VehiclePlan | None = None) -> None:
        self.plan = plan or vehicle_plan(PLAN)
        self.vehicles = {f"amb-{n}": Vehicle.new("north", f"amb-{n}", self.plan) for n in range(count)}
        self.state = SiteState.new("north")
        self.verdict = Verdict()
        self.listening = Listening(T0 - 3_600_000)
        self.effects: list[object] = []
        self._session = 0

    def seconds(self, start: int, end: int, speaking: list[str]) -> None:
        for at in range(start, end, 5):
            now_ms = T0 + at * 1000
            for name in speaking if at % 10 == 0 else []:
                self._session += 1
                self._step(name, Born("box", "r1", self._session, "m", 0), now_ms)
            before = self.state.to_json()
            fleet = [(vehicle, self.plan) for vehicle in self.vehicles.values()]
            after, self.verdict, effects = survey(self.state, fleet, self.listening, now_ms, SHIPPED)
            assert self.state.to_json() == before, "survey changed its argument"
            self.state = SiteState.from_json(after.to_json())
            assert self.state == after
            self.effects += effects
            for name in self.vehicles:
                self._step(name, TimePassed(), now_ms)

    def park(self, name: str) -> None:
        """Its ignition is read as off."""
        source = SourceKey("box", "router", "snmp")
        fact = Fact(False, source, T0)
        self.vehicles[name] = msgspec.structs.replace(self.vehicles[name], facts={"ignition": fact})

    def call_out(self, name: str, at: int) -> None:
        """A mission begins."""
        self._step(name, Acted("on_mission", "dispatch", "m1"), T0 + at * 1000)

    def _step(self, name: str, event: Acted | Born | TimePassed, now_ms: int) -> None:
        context = Context(self.plan, self.listening, self.verdict)
        self.vehicles[name], effects = step(self.vehicles[name], event, context, SHIPPED, now_ms)
        self.effects += effects

    def faults(self) -> list[tuple[str, str, str]]:
        return [(p.key.fault, p.vehicle, p.state) for p in lives(self.effects) if "absent" not in p.rule]


def everyone(fleet: Fleet) -> list[str]:
    return list(fleet.vehicles)


@pytest.mark.long
def test_the_uplink_down_is_one_problem_and_no_vehicles() -> None:
    fleet = Fleet()
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 3700, [])
    assert fleet.faults() == [("site_unreachable", "", "active")]
    (problem,) = [change.problem for change in fleet.effects if isinstance(change, ProblemChange)]
    assert (problem.key.text(), problem.vehicle, problem.times) == ("site_unreachable/north", "", 1)
    assert (problem.event_ms, problem.detected_ms) == (T0 + 90_000, T0 + 250_000)
    assert problem.evidence[0].text == "60 of 60 vehicles silent at one moment, and no word of any other"
    fleet.seconds(3700, 3900, everyone(fleet))
    assert fleet.faults() == [("site_unreachable", "", "over")]


@pytest.mark.long
def test_who_stays_away_after_the_site_is_back_is_silent_itself() -> None:
    fleet = Fleet(5)
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 1000, [])
    fleet.seconds(1000, 2000, everyone(fleet)[1:])
    assert fleet.faults() == [("site_unreachable", "", "over"), ("vehicle_silent", "amb-0", "active")]


@pytest.mark.long
def test_one_vehicle_of_many_is_its_own_silence() -> None:
    fleet = Fleet()
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 400, everyone(fleet)[1:])
    assert fleet.faults() == [("vehicle_silent", "amb-0", "active")]


def test_a_survey_costs_as_much_for_each_vehicle_of_a_large_site_as_of_a_small_one() -> None:
    """Every ticket waits for one: at 450 vehicles it took 20 ms of the 30 from a breach to its ticket."""

    def least_s(count: int) -> float:
        fleet = Fleet(count)
        fleet.seconds(0, 5, everyone(fleet))
        known = [(vehicle, fleet.plan) for vehicle in fleet.vehicles.values()]
        surveyed = functools.partial(survey, fleet.state, known, fleet.listening, T0 + 5_000, SHIPPED)
        return min(cost(surveyed)[1] for _ in range(5)) / count

    assert least_s(2_000) < 4 * least_s(100)


def test_half_is_not_most() -> None:
    fleet = Fleet(4)
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 600, everyone(fleet)[2:])
    assert [fault for fault, _, _ in fleet.faults()] == ["vehicle_silent", "vehicle_silent"]


def test_of_two_that_fall_silent_each_is_silent_itself() -> None:
    """A site of one or two has no verdict: nobody can tell it from its vehicles."""
    fleet = Fleet(2)
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 600, [])
    assert fleet.faults() == [("vehicle_silent", "amb-0", "active"), ("vehicle_silent", "amb-1", "active")]


def test_three_of_three_and_it_begins_no_earlier() -> None:
    """150 s beside the poll interval of 10 s, from the last word at 90."""
    fleet = Fleet(3)
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 250, [])
    assert fleet.faults() == []
    fleet.seconds(250, 600, [])
    assert fleet.faults() == [("site_unreachable", "", "active")]


@pytest.mark.parametrize("speak", [True, False])
def test_a_site_is_back_when_it_speaks_also_where_our_clock_was_set_back_meanwhile(speak: bool) -> None:
    """By the clock that was set back it was told an hour from now; no vehicle was silent for itself until then."""
    fleet = Fleet(3)
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 600, [])
    fleet.listening = Listening(None)
    fleet.seconds(-3000, -2995, [])
    fleet.listening = Listening(T0 - 2_995_000)
    fleet.seconds(-2990, -2700, everyone(fleet) if speak else [])
    assert fleet.faults() == [("site_unreachable", "", "over" if speak else "active")]


def test_routers_that_restart_at_once_by_plan_are_back_before() -> None:
    fleet = Fleet(12)
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 240, [])  # 150 s between two words
    fleet.seconds(240, 900, everyone(fleet))
    assert fleet.faults() == []


def test_who_falls_silent_more_than_a_minute_apart_did_not_do_so_at_one_moment() -> None:
    """Within 60 s and the poll interval of 10 s; the last of the three is the third that ought to speak."""
    for apart, faults in ((70, ["site_unreachable"]), (80, ["vehicle_silent"] * 3)):
        fleet = Fleet(3)
        fleet.seconds(0, 100, everyone(fleet))
        fleet.seconds(100, 100 + apart, everyone(fleet)[2:])
        fleet.seconds(100 + apart, 700, [])
        assert [fault for fault, _, _ in fleet.faults()] == faults, apart


def test_one_parked_vehicle_that_speaks_is_proof_of_life() -> None:
    """Three of twelve in one tunnel; or all that are out, while one stands at the station on its own feed."""
    fleet = Fleet(12)
    parked = everyone(fleet)[3:]
    for name in parked:
        fleet.park(name)
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 700, parked[:1])
    assert [fault for fault, _, _ in fleet.faults()] == ["vehicle_silent"] * 3
    fleet = Fleet(12)
    for name in everyone(fleet)[3:]:
        fleet.park(name)
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 700, [])
    assert fleet.faults() == [("site_unreachable", "", "active")], "the same without a word of those"


def test_any_word_ends_it_though_the_others_stay_away() -> None:
    fleet = Fleet(6)
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 400, [])
    assert fleet.faults() == [("site_unreachable", "", "active")]
    fleet.seconds(400, 500, everyone(fleet)[:1])
    assert fleet.faults() == [("site_unreachable", "", "over")]


def test_parked_vehicles_that_are_called_out_at_once_did_not_fall_silent_together() -> None:
    """Found by a quiet life: kits that are off since the evening, and three missions that begin at six."""
    fleet = Fleet(3)
    for name in everyone(fleet):
        fleet.park(name)
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 600, [])
    for name in everyone(fleet):
        fleet.call_out(name, 600)
    fleet.seconds(600, 600 + 120, [])
    assert fleet.faults() == [], "a kit has two minutes to start"
    fleet.seconds(720, 1200, [])
    assert [fault for fault, _, _ in fleet.faults()] == ["vehicle_silent"] * 3


def test_the_only_vehicle_is_never_the_site() -> None:
    fleet = Fleet(1)
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 600, [])
    assert fleet.faults() == [("vehicle_silent", "amb-0", "active")]


@pytest.mark.long
def test_an_hour_of_our_own_outage_opens_nothing() -> None:
    fleet = Fleet()
    fleet.seconds(0, 100, everyone(fleet))
    fleet.listening = Listening(None)
    fleet.seconds(100, 3700, [])
    fleet.listening = Listening(T0 + 3_700_000)
    fleet.seconds(3700, 3860, [])
    fleet.seconds(3860, 4500, everyone(fleet))
    assert fleet.faults() == []


def test_listening_anew_is_no_sign_that_the_site_is_back() -> None:
    fleet = Fleet(5)
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 400, [])
    fleet.listening = Listening(T0 + 400_000)
    fleet.seconds(400, 1000, [])
    assert fleet.faults() == [("site_unreachable", "", "active")]


def test_vehicles_in_the_workshop_and_never_heard_do_not_count() -> None:
    fleet = Fleet(3, vehicle_plan(PLAN, state="workshop"))
    fleet.seconds(0, 100, everyone(fleet))
    fleet.seconds(100, 900, [])
    assert fleet.faults() == []
    assert Fleet(3).verdict.expected == 0


def test_the_last_word_before_a_pause_is_known_after_it_whoever_speaks_then() -> None:
    def told(*heard_s: int) -> list[Vehicle]:
        agents = [msgspec.structs.replace(Agent(), heard_ms=T0 + at_s * 1000) for at_s in heard_s]
        return [msgspec.structs.replace(vehicle(f"amb-{n}"), agents={"box": agent}) for n, agent in enumerate(agents)]

    def vehicle(name: str) -> Vehicle:
        return Vehicle.new("north", name, vehicle_plan())

    def after(ms: int | None) -> int | None:
        return None if ms is None else (ms - T0) // 1000

    def pauses(state: SiteState) -> list[tuple[int | None, int | None]]:
        return [(after(one.spoke_ms), after(one.over_ms)) for one in state.pauses]

    heard = listened(SiteState.new("north"), told(0), Listening(T0), T0)
    assert pauses(heard) == [(0, 0)]
    assert listened(heard, told(100, 300), Listening(T0), T0 + 300_000) is heard
    deaf = listened(heard, told(100, 300), Listening(None, 180_000), T0 + 400_000)
    assert pauses(deaf) == [(300, None)], "what hid no parking is forgotten"
    assert listened(deaf, told(100, 500), Listening(None, 180_000), T0 + 600_000) is deaf, (
        "what waited is none of before"
    )
    again = listened(deaf, told(100, 500), Listening(T0 + 600_000, 180_000), T0 + 600_000)
    assert pauses(again) == [(300, 600)]
    assert listened(again, told(100, 900), Listening(T0 + 600_000, 180_000), T0 + 900_000) is again
    anew = listened(again, told(100, 900), Listening(T0 + 950_000, 180_000), T0 + 950_000)
    assert pauses(anew) == [(300, 600), (900, 950)], "a pause between two looks"
    last = listened(anew, told(100, 1000), Listening(None, 180_000), T0 + 1_000_000)
    assert pauses(last) == [(300, 600), (1000, None)]
    assert [verdict_of(last).pause_after(T0 + at_s * 1000) for at_s in (100, 500, 600)] == [
        last.pauses[0], last.pauses[0], last.pauses[1],
    ]  # fmt: skip


def test_of_many_pauses_the_oldest_become_one() -> None:
    state = SiteState.new("north")
    for hour in range(100):
        agent = msgspec.structs.replace(Agent(), heard_ms=T0 + hour * 3_600_000)
        known = [msgspec.structs.replace(Vehicle.new("north", "amb-1", vehicle_plan()), agents={"box": agent})]
        for since_ms in (None, T0 + (hour + 1) * 3_600_000):
            state = listened(state, known, Listening(since_ms, 180_000), T0 + (hour + 1) * 3_600_000)
    assert len(state.pauses) < 70
    assert (state.pauses[0].spoke_ms, state.pauses[-1].over_ms) == (T0, T0 + 100 * 3_600_000)


def test_a_last_word_from_before_our_clock_was_set_back_lies_in_no_future() -> None:
    agent = msgspec.structs.replace(Agent(), heard_ms=T0 + 3_600_000)
    known = [msgspec.structs.replace(Vehicle.new("north", "amb-1", vehicle_plan()), agents={"box": agent})]
    deaf = listened(SiteState.new("north"), known, Listening(None), T0 + 3_600_000)
    assert listened(deaf, known, Listening(T0), T0).pauses == (Pause(T0, T0),)


def test_where_vehicles_are_parked_is_learnt_once_whatever_our_clock_does() -> None:
    """Found by a quiet life: a start while our clock was an hour slow lay before the last one, and named no place."""
    fleet = Fleet(1)
    home, carport = "893099592b3ffff", "8930995a3afffff"

    def started(*parkings: tuple[str, int]) -> dict[str, int]:
        one = fleet.vehicles["amb-0"]
        known = msgspec.structs.replace(one.expectation, parkings=parkings)
        fleet.vehicles["amb-0"] = msgspec.structs.replace(one, expectation=known)
        fleet.seconds(0, 20, [])
        return {cell: parked.times for cell, parked in fleet.state.places.items()}

    first, slow, last = (home, T0), (carport, T0 - 3_600_000), (home, T0 + 600_000)
    assert started(first) == {home: 1}
    assert started(first, slow) == {home: 1, carport: 1}
    assert started(first, slow, last) == {home: 2, carport: 1}
    assert started(slow, last) == {home: 2, carport: 1}, "the oldest are forgotten"
    assert started((home, T0 + 700_000)) == {home: 3, carport: 1}
