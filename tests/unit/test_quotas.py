"""What is beyond a vehicle's quotas: refused, counted, told by one ticket, and judged again the same."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any, get_args

import msgspec
import pytest

from collector.core.rules.files import load_rules
from collector.core.vehicle.events import Listening
from collector.site.in_force import Receiver
from collector.site.intake import Incoming
from collector.site.memory import Memory
from collector.site.quotas import Quotas, words_of
from collector.site.turns import Refusal
from collector.site.unit_of_work import UnitOfWork
from collector.store.rows import Quarantined, SiteData
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, PLAIN, Birth, HeldRun, Moment, encode
from telemetry.records import Clock, Column, Schema
from telemetry.topics import AgentName
from tests.unit import test_intake as intake_tests
from tests.unit.judged_again import judged_again, rows_of
from tests.unit.test_intake import AGENT, CLOCK, JUDGE, MODEM, NOW, RUN, Centre, birth, live, sample, told
from tests.unit.test_replay import FORCE, Site_

QUOTAS = Quotas()
HOUR_S = 3600


def refuse(site: Site_, quota: str, number: int = 1, vehicle: str = "amb-1") -> UnitOfWork:
    words = words_of(quota, QUOTAS)
    return site.do(lambda work: work.refuse(vehicle, quota, words, number))


def words_told(site: Site_) -> list[tuple[str, str, str]]:
    """(ticket, what, words) of every event of a ticket about a quota."""
    return [
        (one.ticket.id, one.event.what, str(getattr(one.event.body, "text", "")))
        for changes in site.commits
        for one in changes.recorded
        if one.ticket.fault == "quarantine_growing"
    ]


def test_one_ticket_says_which_quotas_and_ends_after_an_hour_without_a_refusal() -> None:
    site = Site_()
    site.drive(60, "amb-1")
    refuse(site, "records", 500)
    records, waiting = (words_of(quota, QUOTAS) for quota in ("records", "waiting_records"))
    assert records == "over quota: records (100000 at once, 500 a second)"
    assert words_told(site) == [("2026-0001", "opened", records)]
    site.drive(60, "amb-1")
    refuse(site, "waiting_records")
    assert words_told(site)[1:] == [("2026-0001", "noted", waiting)]
    for _ in range(40):
        site.drive(60, "amb-1")
        refuse(site, "records")
    assert len(words_told(site)) == 2, "it is told once"
    site.drive(HOUR_S + 60, "amb-1")
    assert [what for _, what, _ in words_told(site)[2:]] == ["problem_over", "self_healed"]
    assert not site.memory.vehicles["amb-1"].occurrences
    assert judged_again(FORCE, site.commits) == rows_of(site.commits)


def test_every_refusal_is_counted_and_the_log_hears_of_it_once_a_minute() -> None:
    site = Site_()
    batches = []
    for _ in range(100):
        refuse(site, "records", 1_000)
        batches.append(site.commits[-1].batch is not None)
        site.now += 1_000
    assert sum(changes.counters.get("over_quota.records", 0) for changes in site.commits) == 100_000
    assert sum(batches) <= 4


def test_every_quota_that_refuses_has_words() -> None:
    for quota in get_args(Refusal):
        assert words_of(quota, QUOTAS).startswith(f"over quota: {quota} (")


def test_a_topic_that_names_no_vehicle_is_counted_and_opens_nothing() -> None:
    site = Site_()
    refuse(site, "records", vehicle="no vehicle at all")
    assert site.commits[-1].counters == {"over_quota.records": 1}
    assert words_told(site) == []


def test_a_vehicle_in_the_workshop_has_the_ticket_too() -> None:
    assert "workshop" in load_rules().by_id["over_quota"].when


# --- what would stay --------------------------------------------------------------------------------------------------


def centre_with(**quotas: int) -> Centre:
    """A centre that knows the agent, its modem and one record, with these quotas."""
    centre = Centre()
    centre.take(birth(), told(MODEM), live([0], sample()))
    centre.memory.quotas = Quotas(**quotas)
    return centre


def event(kind: str, device: str = "", **body: Any) -> list[Any]:
    return [kind, device, body]


def refused(centre: Centre, *messages: tuple[str, bytes]) -> dict[str, int]:
    """Take these and return how many were refused, by quota; nobody else is the one to blame."""
    work = centre.take(*messages)
    assert {vehicle for vehicle, _ in work.refused} <= {AGENT.vehicle}
    assert work.faults == []
    return {quota: number for (_, quota), number in work.refused.items()}


def stranger(name: str) -> tuple[str, bytes]:
    return AgentName("north", "amb-3", name).up("state"), encode(DEFLATED, RUN, Birth(1, "b", "m", "1", 10.0))


def other_schema(number: int, columns: int = 1) -> Schema:
    return Schema(
        "probe", "modem-1", tuple(Column("link.rtt_ms", {"target": f"t{number}-{n}"}) for n in range(columns))
    )


def test_agents_beside_those_of_the_fleet_file() -> None:
    centre = centre_with(agents=2)
    assert refused(centre, *(stranger(f"a{n}") for n in range(5))) == {"agents": 3}
    assert set(centre.memory.vehicles["amb-3"].agents) == {"router", "a0", "a1"}
    assert refused(centre, stranger("a1"), birth(2)) == {}, "who is known goes on, and the fleet file's always do"
    junk = AgentName("north", "amb-3", "a9").up("live"), encode(PLAIN, RUN, {}, Intervals([(1, 1)]))
    assert refused(centre, junk) == {"agents": 1}, "what cannot be read needs an agent too"
    assert len(centre.memory.runs) == 3


def test_runs_that_are_new_within_a_day() -> None:
    centre = centre_with(runs=3)
    names = [f"{number:016x}" for number in range(100, 110)]
    before = len(centre.memory.runs)
    assert refused(centre, *(live([0], event("started"), run=name) for name in names)) == {"runs": 8}
    assert len(centre.memory.runs) == before + 2, "with the one that was there already"
    assert refused(centre, live([0], event("lost", run="f" * 16, reason="evicted", intervals=[[0, 9]]))) == {}, (
        "a duplicate is none of it"
    )
    assert refused(centre, live([1], event("lost", run="f" * 16, reason="evicted", intervals=[[0, 9]]))) == {"runs": 1}
    assert refused(centre, live([2], sample())) == {}
    held = {name: HeldRun("b", 0, 0) for name in (RUN, *names)}
    again = AGENT.up("state"), encode(DEFLATED, RUN, Birth(2, "b", "m", "1", 10.0, held))
    assert refused(centre, again) == {"runs": 1}, "told once"
    assert centre.memory.vehicles["amb-3"].agents["router"].session == 2, "to be there is nobody forbidden"
    centre.now += 86_400_000
    assert refused(centre, live([0], event("started"), run=names[9])) == {}


def test_pieces_of_numbers_of_a_run_and_of_all() -> None:
    centre = centre_with(run_intervals=120)
    odd = [live([2 * n], sample()) for n in range(1, 140)]
    assert refused(centre, *odd) == {"run_intervals": 139 - 119}
    assert refused(centre, live([1], sample()), live([39], sample())) == {}, "what fills a gap is no new piece"
    centre = centre_with(intervals=10)
    assert refused(centre, *odd) == {"intervals": 139 - 9}
    intervals = [[2 * n, 2 * n] for n in range(100)]
    assert refused(centre, live([1], event("lost", run=RUN, reason="evicted", intervals=intervals))) == {"intervals": 1}
    assert centre.memory.runs["amb-3", "router", RUN].row.lost.pieces == 0


def test_pieces_that_are_set_aside_count_too() -> None:
    centre = centre_with(run_intervals=20)
    junk = [(AGENT.up("live"), encode(PLAIN, RUN, n, Intervals([(2 * n, 2 * n)]))) for n in range(1, 40)]
    assert refused(centre, *junk)["run_intervals"] > 10
    assert centre.memory.runs["amb-3", "router", RUN].aside.pieces == 20


def test_schemas_and_their_columns() -> None:
    centre = centre_with(schemas=3)
    work = refused(centre, told(*(other_schema(n) for n in range(5)), clocks=[CLOCK, Clock(7, 0, NOW, "ntp", 5)]))
    assert work == {"schemas": 1}
    assert len(centre.memory.compiled) == 3
    assert 7 in centre.memory.runs["amb-3", "router", RUN].clocks, "clocks are taken all the same"
    centre = centre_with(series=10)
    assert refused(centre, told(other_schema(0, 8))) == {}
    assert refused(centre, told(other_schema(1, 8))) == {"series": 1}
    assert refused(centre, told(other_schema(0, 8), MODEM)) == {}, "what is known is none of it"
    assert refused(centre_with(schemas=3), told(unknown_schemas=tuple("abcd"))) == {"schemas": 1}


def test_clocks() -> None:
    centre = centre_with(clocks=3)
    assert refused(centre, told(clocks=[Clock(n, n, NOW, "ntp", 5) for n in range(5)])) == {"clocks": 1}
    assert refused(centre, told(clocks=[Clock(n, n, NOW, "ntp", 5) for n in range(1, 3)])) == {}
    assert refused(centre, told(clocks=[Clock(n, n, NOW, "ntp", 5) for n in range(1, 3)])) == {}, "the same again"
    assert refused(centre, told(clocks=[Clock(9, 9, NOW, "ntp", 5)])) == {"clocks": 1}


def test_devices() -> None:
    centre = centre_with(devices=3)
    trouble = {"input": "snmp", "problem": "no answer"}
    assert refused(centre, live([1, 2], event("problem", "a", **trouble), event("problem", "b", **trouble))) == {}
    assert refused(centre, live([3], event("problem", "c", **trouble))) == {"devices": 1}
    assert refused(centre, live([4], event("inventory", "c", model="x"))) == {"devices": 1}
    assert refused(centre, told(Schema("probe", "c", MODEM.columns))) == {"devices": 1}
    assert refused(centre, live([5], event("problem", "b", **trouble))) == {}
    assert len(centre.memory.vehicles["amb-3"].troubles) == 2


def test_metrics_that_nobody_knows_are_counted_by_name_so_often() -> None:
    centre = centre_with(unknown_metrics=2)
    schema = Schema("modem", "modem-1", tuple(Column(f"modem.new_{n}") for n in range(5)))
    centre.take(told(schema))
    assert refused(centre, live([1], [schema.id(), [1.0] * 5])) == {"unknown_metrics": 3}
    assert centre.taken()[-1] == (RUN, 1), "the record is taken"
    counters = centre.commits[-1].counters
    assert counters["unknown_metrics_beyond_quota"] == 3
    assert sum(name.startswith("unknown_metric.") for name in counters) == 2


def test_bytes_in_quarantine() -> None:
    centre = centre_with(quarantine_bytes=1_000)
    junk = [(AGENT.up("live"), encode(PLAIN, RUN, "x" * 400 + str(n), Intervals([(n, n)]))) for n in range(1, 5)]
    assert refused(centre, *junk) == {"quarantine_bytes": 2}
    assert [pairs for pairs, _ in centre.aside()] == [[(1, 1)], [(2, 2)]]
    assert centre.memory.runs["amb-3", "router", RUN].aside.pairs() == [(1, 2)], "what is refused is not receipted"
    records = live([8], sample(rsrp="x" * 300))
    assert refused(centre, records) == {"quarantine_bytes": 1}
    assert 8 not in centre.memory.runs["amb-3", "router", RUN].aside


def test_what_leaves_quarantine_makes_room() -> None:
    centre = centre_with(quarantine_bytes=500)
    topic, payload = AGENT.up("live"), encode(PLAIN, RUN, "x" * 400, Intervals([(1, 1)]))
    assert refused(centre, (topic, payload)) == {}
    assert refused(centre, (topic, encode(PLAIN, RUN, "y" * 400, Intervals([(2, 2)])))) == {"quarantine_bytes": 1}
    row = Quarantined(
        id=1, site="north", vehicle="amb-3", agent="router", run=RUN, pairs=[(1, 1)], kind="live", reason="",
        payload=payload, at_ms=NOW, state="retry",
    )  # fmt: skip
    work = centre.work()
    work.take_again(row)
    centre.commit(work)
    assert centre.commits[-1].released == [1], "and it stands there again, under another id"
    assert centre.memory.usage["amb-3"].quarantine_bytes == len(payload)


def test_problems_of_one_fault_and_so_tickets() -> None:
    centre = centre_with(problems=3)
    centre.listening = Listening(NOW)
    trouble = {"input": "snmp", "problem": "no profile fits"}
    numbers = itertools.count(1)
    centre.take(live([next(numbers) for _ in range(9)], *(event("problem", f"d{n}", **trouble) for n in range(9))))
    for _ in range(40):
        centre.now += 60_000
        work = centre.work()
        work.take(Incoming(*live([next(numbers)], event("started")), centre.now))
        work.look()
        centre.commit(work)
    problems = [key for key in centre.memory.vehicles["amb-3"].problems if key.device.startswith("d")]
    assert 0 < len(problems) <= 3, problems
    tickets = {one.ticket.device for changes in centre.commits for one in changes.recorded}
    assert len([device for device in tickets if device.startswith("d")]) <= 3
    assert "collector" in tickets, "one ticket says so"
    assert centre.counted("over_quota.problems") > 0


@pytest.mark.parametrize("quota", ["inventory"])
def test_what_is_counted_by_day_is_told_to_the_next_unit_of_work(quota: str) -> None:
    centre = centre_with(**{quota: 3})
    for number in range(1, 9):
        work = centre.take(live([number], event("inventory", "modem-1", model=f"m{number}")))
    assert work.withheld == {("amb-3", quota): 1}
    assert sum(len(changes.inventory) for changes in centre.commits) == 3
    assert centre.memory.vehicles["amb-3"].inventory, "the last word is known"
    centre.now += 86_400_000
    assert not centre.take(live([20], event("inventory", "modem-1", model="again"))).withheld


def test_faults_that_were_over_before_we_heard_are_noted_so_often_a_day() -> None:
    """All of them are judged; beyond the day's share they are counted in place of noted."""
    centre = centre_with(closed_notes=3)
    centre.listening = Listening(NOW - 1_000)
    schema = Schema("modem", "modem-1", tuple(Column("modem.sim", {"modem": str(number)}) for number in range(5)))
    held: Any = {RUN: HeldRun("boot-1", 10, 49)}
    centre.take(birth(**held), told(schema))
    absent = [
        Moment(510_000 + n * 10_000, 0, [[schema.id(), ["absent" if n < 30 else "ready"] * 5]]) for n in range(40)
    ]
    centre.now = NOW + 400_000
    centre.take((AGENT.up("backlog"), encode(DEFLATED, RUN, absent, Intervals([(10, 49)]))))
    withheld: Counter[tuple[str, str]] = Counter()
    for _ in range(3):  # it is filled, it has settled, it is stepped
        centre.now += 100_000
        work = centre.work()
        work.look()
        centre.commit(work)
        withheld.update(work.withheld)
    assert sum(len(changes.notes) for changes in centre.commits) == 3
    assert withheld == {("amb-3", "closed_notes"): 2}
    assert work.faults == []


def test_people_are_told_so_often_a_day_and_of_the_quota_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond is shown and sent to nobody; the ticket about it is sent."""
    force = msgspec.structs.replace(JUDGE, receivers=(Receiver("desk", "webhook"),))
    monkeypatch.setattr(intake_tests, "JUDGE", force)
    centre = centre_with(notifications=3)
    centre.listening = Listening(NOW)
    numbers = itertools.count(1)
    trouble = {"input": "snmp", "problem": "no profile fits"}
    centre.take(live([next(numbers) for _ in range(9)], *(event("problem", f"d{n}", **trouble) for n in range(9))))
    withheld: Counter[tuple[str, str]] = Counter()
    for _ in range(40):
        centre.now += 60_000
        work = centre.work()
        for (vehicle, quota), number in withheld.items():
            work.refuse(vehicle, quota, words_of(quota, centre.memory.quotas), number)
        work.take(Incoming(*live([next(numbers)], event("started")), centre.now))
        work.look()
        withheld = centre.commit(work).withheld
    opened = {one.ticket.id: one.ticket.device for changes in centre.commits for one in changes.recorded}
    assert sum(device.startswith("d") for device in opened.values()) > 3, "all tickets are there"
    told_of = [opened[row.ticket] for changes in centre.commits for row in changes.notifications]
    assert sum(device.startswith("d") for device in told_of) == 3
    assert "collector" in told_of, "that it is beyond the quota is sent"
    assert centre.counted("over_quota.notifications") >= 1


def test_what_a_vehicle_has_cost_is_known_to_the_next_owner() -> None:
    centre = centre_with()
    centre.take(
        told(other_schema(1, 7), clocks=[Clock(3, 3, NOW, "ntp", 5)]),
        stranger("other"),
        live([2, 4], event("problem", "cam-1", input="snmp", problem="no answer"), sample()),
        (AGENT.up("live"), encode(PLAIN, RUN, {}, Intervals([(9, 9)]))),
    )
    memory = centre.memory
    data = SiteData(
        {name: vehicle.to_json() for name, vehicle in memory.vehicles.items()}, None,
        {key: known.row for key, known in memory.runs.items()},
        {key: one.schema for key, one in memory.compiled.items()},
        {key: known.clocks for key, known in memory.runs.items()}, 0,
        quarantine_bytes={"amb-3": sum(len(row.payload) for changes in centre.commits for row in changes.quarantine)},
    )  # fmt: skip
    again = Memory.of(JUDGE, data).usage["amb-3"]
    before = memory.usage["amb-3"]
    before.intervals -= 1  # what stands in quarantine is known to an ownership only
    assert (again.schemas, again.series, again.clocks, again.intervals) == (2, 9, 2, before.intervals)
    assert again.quarantine_bytes == before.quarantine_bytes > 0
    assert again.devices == before.devices == {"modem-1", "cam-1"}
    assert again.agents == before.agents | {"router"}
    assert (again.day, again.runs) == (before.day, before.runs)


def test_schemas_that_are_asked_for_fit_into_a_receipt() -> None:
    centre = centre_with()
    for first in range(1, 2_000, 500):
        names = range(first, first + 500)
        centre.take(live(names, *([f"s{n:05}", [1.0]] for n in names)))
    centre.take(live([3_000], ["x" * 10_000, [1.0]]))
    needed = centre.needed()[RUN]
    assert len(needed.schemas) == 256
    assert max(len(str(name)) for name in needed.schemas) < 65
