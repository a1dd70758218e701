"""A unit of work tells the desk of every problem, in the same commit; what a person has seen goes back to judging."""

from __future__ import annotations

import pytest

from collector.core.identities import ProblemKey
from collector.core.problems import Problem, ProblemChange, ProblemRef
from collector.core.tickets import on_problems
from collector.core.tickets.acts import Act
from collector.core.tickets.draft import Draft
from collector.core.vehicle.events import Listening
from collector.site import people_work
from collector.site.memory import Memory
from collector.site.unit_of_work import UnitOfWork
from collector.store.rows import Changes, SiteData
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, Moment, encode
from tests.unit.test_intake import AGENT, JUDGE, MODEM, NOW, RUN, Centre, birth, live, sample, told

WINDOW_MS = 72 * 3_600_000


def absent(centre: Centre, first: int, count: int, sim: str = "absent") -> None:
    """Say so many times, ten seconds apart, what the SIM is."""
    for number in range(first, first + count):
        centre.now = NOW + number * 10_000
        body = [Moment(510_000 + number * 10_000, 0, [sample(None, sim)])]
        centre.take((AGENT.up("live"), encode(DEFLATED, RUN, body, Intervals([(number, number)]))))


def events(commits: list[Changes]) -> list[tuple[str, str]]:
    return [(one.ticket.id, one.event.what) for changes in commits for one in changes.recorded]


def reloaded(centre: Centre) -> SiteData:
    """Return what a new owner would load after these commits."""
    data = SiteData({}, None, {}, {}, {}, 0, last_numbers={2026: 1})
    for changes in centre.commits:
        data.vehicles.update(changes.vehicles)
        for one in changes.recorded:
            data.ticket_events.setdefault(one.ticket.id, []).append(one.event)
    problems = {one.problem.ref: one for changes in centre.commits for one in changes.problems}
    data.problems = list(problems.values())
    return data


def test_one_ticket_for_a_fault_that_comes_again_and_its_last_word_closes_it() -> None:
    centre = Centre()
    centre.take(birth(), told(MODEM))
    absent(centre, 0, 10)
    absent(centre, 10, 10, "ready")
    absent(centre, 20, 10)
    assert events(centre.commits) == [
        ("2026-0001", what) for what in ("opened", "problem_over", "self_healed", "reopened")
    ]
    assert centre.memory.desk == Memory.of(JUDGE, reloaded(centre)).desk


def test_the_reopen_window_ends_by_time() -> None:
    centre = Centre()
    centre.take(birth(), told(MODEM))
    absent(centre, 0, 10)
    absent(centre, 10, 10, "ready")
    closed_ms = centre.memory.desk.tickets["2026-0001"].closed_ms
    assert closed_ms is not None
    for centre.now in (closed_ms + WINDOW_MS - 1, closed_ms + WINDOW_MS):
        work = UnitOfWork(centre.memory, JUDGE, Listening(None), centre.now)
        work.look()
        centre.commit(work)
    assert events(centre.commits)[-1] == ("2026-0001", "window_over")
    assert events(centre.commits)[-2] == ("2026-0001", "self_healed"), "not before its time"


def test_a_desk_that_raises_is_a_fault_of_ours_and_costs_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("desk")

    monkeypatch.setattr(people_work, "desk", broken)
    monkeypatch.setattr(people_work, "desk_all", broken)
    centre = Centre()
    centre.take(birth(), told(MODEM))
    absent(centre, 0, 10)
    assert len(centre.taken()) == 10
    assert centre.counted("fault.desk") == 1
    assert events(centre.commits) == []


def test_a_problem_on_which_the_desk_raises_costs_no_other_its_ticket(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = on_problems._NEWS["began"]

    def picky(draft: Draft, problem: Problem, text: str) -> None:
        if problem.key.device == "camera-1":
            raise RuntimeError("desk")
        heard(draft, problem, text)

    monkeypatch.setitem(on_problems._NEWS, "began", picky)
    work = Centre().work()
    for device in ("camera-0", "camera-1", "camera-2"):
        problem = Problem(
            site="north", vehicle="amb-3", key=ProblemKey.of("camera_down", device), rule="r", rule_version=1,
            state="active", event_ms=NOW, detected_ms=NOW,
        )  # fmt: skip
        work._changes.append(ProblemChange(problem, "began"))
    changes = work.changes()
    assert changes is not None
    assert [one.ticket.device for one in changes.recorded] == ["camera-0", "camera-2"]
    assert changes.counters == {"fault.desk": 1}


def test_what_a_person_has_seen_ends_a_fault_whose_end_no_reading_shows() -> None:
    centre = Centre()
    centre.take(birth(), told(MODEM))
    for number, firmware in enumerate(("1.0", "2.0")):
        centre.take(live([number], ["inventory", "modem-1", {"model": "M", "firmware": firmware, "input": "modem"}]))
    work = UnitOfWork(centre.memory, JUDGE, Listening(NOW - 1_000_000), centre.now)
    work.look()
    centre.commit(work)
    assert events(centre.commits) == [("2026-0001", "opened")]
    work = centre.work()
    work.tell_desk(Act(what="acknowledged", who="wang", role="engineer", ticket="2026-0001"))
    centre.commit(work)
    assert events(centre.commits)[1:] == [("2026-0001", "acknowledged"), ("2026-0001", "problem_over")]
    assert centre.memory.vehicles["amb-3"].problems == {}
    (problem,) = centre.memory.desk.problems.values()
    assert (problem.problem.ref, problem.problem.state) == (
        ProblemRef("amb-3", problem.problem.key),
        "over",
    )
