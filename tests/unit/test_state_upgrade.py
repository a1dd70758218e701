"""States that the first version stored go on: ``states/vehicle-format-1.json`` was written by it, poison and all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collector.core.identities import OccurrenceKey, ProblemKey
from collector.core.survey import SiteState
from collector.core.vehicle.draft import Draft
from collector.core.vehicle.state import FORMAT, StateError, Vehicle
from tests.unit.judging import SHIPPED, Story

STORED = (Path(__file__).parent / "states" / "vehicle-format-1.json").read_bytes()
SIM = ProblemKey("sim_absent", "modem")


def upgraded() -> Story:
    story = Story(SHIPPED)
    story.vehicle = Vehicle.from_json(STORED)
    return story


def test_open_tickets_are_active_problems_of_the_same_key() -> None:
    vehicle = Vehicle.from_json(STORED)
    tickets = json.loads(STORED)["tickets"]
    assert len(tickets) == 5
    assert {problem.event_ms for problem in vehicle.problems.values()} == {one["event_ms"] for one in tickets.values()}
    assert ProblemKey("stream_frozen", "camera-1", (("stream", "a/b"),)) in vehicle.problems
    assert all(problem.state == "active" and problem.key == key for key, problem in vehicle.problems.items())
    assert vehicle.problems[SIM].evidence[0].samples[0]["value"] == "absent"


def test_nothing_else_that_can_be_read_is_lost() -> None:
    vehicle, plain = Vehicle.from_json(STORED), json.loads(STORED)
    assert vehicle.format == FORMAT
    assert len(vehicle.sources) == len(plain["sources"]) - 1, "a source with input x/y names nothing"
    assert len(vehicle.troubles) == len(plain["problems"]) - 1, "nor does a problem without its device"
    assert {len(vehicle.rule_states), len(plain["conditions"])} == {4}
    assert set(vehicle.occurrences) == {OccurrenceKey("clash", "box"), OccurrenceKey("lost", "box", "evicted")}
    assert (vehicle.fork, "past_ignition" in vehicle.facts) == (None, False)
    assert len(plain["proofs"]) == 1, "of the same source"
    for part in ("agents", "facts", "inventory", "changes"):
        assert len(getattr(vehicle, part)) == len(plain[part]), part
    assert Vehicle.from_json(vehicle.to_json()) == vehicle


def test_a_fault_that_lasts_goes_on_and_ends_as_the_same_problem() -> None:
    story = upgraded()
    for at in range(410, 460, 10):
        story.sample("modem", {"modem.sim": "absent", "modem.temperature_c": 85.0}, at, input="modem")
    assert {change.news for change in story.changes()} <= {"caused", "adopted"}
    for at in range(460, 560, 10):
        story.sample("modem", {"modem.sim": "ready", "modem.temperature_c": 85.0}, at, input="modem")
    ((news, problem),) = [(c.news, c.problem) for c in story.changes() if c.news not in ("caused", "adopted")]
    assert (news, problem.key, problem.times) == ("over", SIM, 1)
    assert problem.event_ms == json.loads(STORED)["tickets"]["sim_absent/modem"]["event_ms"]


def test_time_goes_on_for_it() -> None:
    """The stored problem without a device ended this for ever."""
    story = upgraded()
    for at in range(410, 900, 10):
        story.tick(at)
    assert "vehicle_silent/amb-1" in story.active()


def test_what_is_over_by_then_stays_remembered() -> None:
    plain = json.loads(STORED)
    plain["ended"] = {"camera_down/camera-1": [[1, 2], [5, 9]], "stream_frozen/camera-1/stream=a,b": [[3, 4]]}
    vehicle = Vehicle.from_json(json.dumps(plain).encode())
    assert vehicle.ended[ProblemKey("camera_down", "camera-1")].spans == ((1, 2), (5, 9))
    assert vehicle.ended[ProblemKey("stream_frozen", "camera-1", (("stream", "a,b"),))].times == 1


def test_a_site_that_was_unreachable_still_is() -> None:
    ticket = {
        "id": "north.3", "site": "north", "vehicle": "", "device": "north", "key": "site_unreachable/north",
        "fault": "site_unreachable", "severity": "critical", "sla_class": "disaster", "state": "open",
        "rule": "site_unreachable", "rule_version": 1, "event_ms": 5, "detected_ms": 6, "opened_ms": 6,
        "resolved_event_ms": None, "resolved_ms": None, "evidence": [],
    }  # fmt: skip
    stored = {"format": 1, "site": "north", "next_ticket": 4, "tickets": {"site_unreachable/north": ticket},
              "silent_ms": 6, "back_ms": None, "cleared_ms": 2}  # fmt: skip
    state = SiteState.from_json(json.dumps(stored).encode())
    assert state.problems[ProblemKey("site_unreachable", "north")].event_ms == 5
    assert state.cleared_ms == 2
    assert SiteState.from_json(state.to_json()) == state


@pytest.mark.parametrize("content", [b"{}", b"[]", b'{"format":0}', b'{"format":"2"}', b'{"format":2}', b"{", b"null"])
def test_what_is_no_state_is_said_in_one_line(content: bytes) -> None:
    with pytest.raises(StateError, match="expected a"):
        Vehicle.from_json(content)


def test_a_misspelt_part_or_key_is_a_type_error() -> None:
    """Held by mypy, which warns of an ignore that nothing needs."""
    story = upgraded()
    draft = Draft(story.vehicle, story.plan, story.listening, story.verdict, story.rules, 0)
    with pytest.raises(AttributeError):
        draft.conditons["x"] = None  # type: ignore[attr-defined]
    draft.rule_states["x"] = None  # type: ignore[index, assignment]
    draft.sources.pop("box/modem/modem", None)  # type: ignore[call-overload]
