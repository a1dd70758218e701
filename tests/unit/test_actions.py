"""A person, or dispatch, says what state a vehicle is in (by hand before what the vehicle tells)."""

from __future__ import annotations

import pytest

from collector.core.rules.files import load_rules
from collector.core.vehicle.duty import duty_of
from collector.core.vehicle.events import Acted, Listening, StateWish
from collector.core.vehicle.state import FORMAT, Vehicle
from collector.site.in_force import InForce
from collector.site.memory import Memory
from collector.site.unit_of_work import UnitOfWork
from collector.store.rows import Action, SiteData
from telemetry.fleet import Site, VehiclePlan
from tests.unit.judging import SHIPPED, T0, Story, vehicle_plan

JUDGE = InForce("north", Site(vehicles={"amb-1": vehicle_plan()}), load_rules())


def told(story: Story) -> str:
    return duty_of(story.vehicle, story.plan, 600_000)


def acted(story: Story, state: StateWish, at: float) -> None:
    assert story.do(Acted(state, "dispatch"), at) == []


def test_a_mission_counts_as_one_though_the_ignition_is_off_and_ends_by_the_same_word() -> None:
    story = Story(SHIPPED, restart=True)
    story.sample("power", {"power.ignition": False}, 0)
    assert told(story) == "parked"
    acted(story, "on_mission", 1)
    assert told(story) == "on_mission"
    acted(story, "on_duty", 2)
    assert told(story) == "parked"
    story.sample("power", {"power.ignition": True}, 3)
    assert told(story) == "on_duty"


def test_a_persons_word_ends_missions_and_the_end_of_one_takes_no_vehicle_out_of_the_workshop() -> None:
    story = Story(SHIPPED, restart=True)
    story.do(Acted("on_mission", "dispatch", "a"), 1)
    acted(story, "workshop", 2)
    story.do(Acted("on_duty", "dispatch", "a"), 3)
    assert (told(story), story.vehicle.missions, story.vehicle.missions_over) == ("workshop", (), ("a",))
    story.do(Acted("on_mission", "dispatch", "b"), 4)
    assert told(story) == "on_mission", "dispatch sends it: the last word counts"
    acted(story, "on_duty", 5)
    story.do(Acted("on_mission", "dispatch", "c"), 6)
    story.do(Acted("on_duty", "dispatch", "c"), 7)
    assert told(story) == "on_duty", "b was ended by hand"
    for number in range(60):
        story.do(Acted("on_duty", "dispatch", f"m-{number}"), 10 + number)
    assert len(story.vehicle.missions_over) == 50
    assert Vehicle.from_json(story.vehicle.to_json()) == story.vehicle


def test_nothing_opens_in_the_workshop_until_somebody_takes_the_vehicle_out_of_it() -> None:
    story = Story(SHIPPED, restart=True)
    acted(story, "workshop", 0)
    for at in range(0, 600, 10):
        story.sample("modem", {"modem.sim": "absent"}, at)
    assert story.active() == []
    acted(story, "on_duty", 600)
    for at in range(600, 700, 10):
        story.sample("modem", {"modem.sim": "absent"}, at)
    assert story.active() == ["sim_absent/modem"]


def test_the_fleet_files_workshop_is_only_what_holds_until_somebody_says_otherwise() -> None:
    story = Story(SHIPPED, plan=vehicle_plan(state="workshop"))
    assert told(story) == "workshop"
    acted(story, "on_duty", 0)
    assert told(story) == "on_duty"
    assert Vehicle.from_json(story.vehicle.to_json()) == story.vehicle


def action(id: int, body: str, kind: str = "state") -> Action:
    return Action(
        id=id, site="north", vehicle="amb-1", kind=kind, body=body, who="王", created_ms=T0, taken_ms=None, error=""
    )


def memory() -> Memory:
    return Memory.of(JUDGE, SiteData({}, None, {}, {}, {}, 0))


def test_the_state_and_the_mark_are_of_one_commit_and_of_none_that_fails() -> None:
    known = memory()
    work = UnitOfWork(known, JUDGE, Listening(T0), T0)
    work.act(action(7, '{"state":"on_mission"}'))
    changes = work.changes()
    assert changes is not None
    assert [(one.id, one.taken_ms, one.error) for one in changes.actions_taken] == [(7, T0, "")]
    assert Vehicle.from_json(changes.vehicles["amb-1"]).given == "on_mission"
    assert "amb-1" not in known.vehicles, "not committed yet"
    work.keep()
    assert known.vehicles["amb-1"].given == "on_mission"


@pytest.mark.parametrize(("waited_ms", "before"), [(0, ()), (59_999, ()), (3_600_000, ((T0, "on_mission"),))])
def test_a_word_that_waited_for_the_collector_holds_from_when_it_was_given(
    waited_ms: int, before: tuple[tuple[int, str], ...]
) -> None:
    known = memory()
    work = UnitOfWork(known, JUDGE, Listening(T0), T0)
    work.act(action(7, '{"mission":"m1","what":"begins","at_ms":1}', "mission"))
    work.changes()
    work.keep()
    work = UnitOfWork(known, JUDGE, Listening(T0), T0 + waited_ms)
    work.act(action(8, '{"mission":"m1","what":"ends","at_ms":2}', "mission"))
    changes = work.changes()
    assert changes is not None
    vehicle = Vehicle.from_json(changes.vehicles["amb-1"])
    assert (vehicle.given, vehicle.given_before) == ("on_duty", before)


def test_the_last_of_several_words_counts() -> None:
    work = UnitOfWork(memory(), JUDGE, Listening(T0), T0)
    for id, state in enumerate(("on_mission", "workshop", "on_duty", "on_mission")):
        work.act(action(id, f'{{"state":"{state}"}}'))
    changes = work.changes()
    assert changes is not None
    assert Vehicle.from_json(changes.vehicles["amb-1"]).given == "on_mission"
    assert [one.id for one in changes.actions_taken] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (action(1, "{}", kind="restart"), "kind: expected state, edition, mission or ticket, found 'restart'"),
        (action(1, '{"state":"flying"}'), "flying"),
        (action(1, "{"), "truncated"),
    ],
)
def test_what_cannot_be_done_is_taken_with_its_reason_and_counted(one: Action, words: str) -> None:
    work = UnitOfWork(memory(), JUDGE, Listening(T0), T0)
    work.act(one)
    changes = work.changes()
    assert changes is not None
    assert (changes.vehicles, changes.counters) == ({}, {"fault.action": 1})
    assert words in changes.actions_taken[0].error


def test_a_vehicle_that_the_fleet_file_does_not_know_has_a_state_too() -> None:
    assert (
        duty_of(Vehicle(format=FORMAT, site="north", vehicle="x", given="on_mission"), VehiclePlan(agents={}), 1)
        == "on_mission"
    )
