"""Thresholds, states, tickets and their evidence on the live lane."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.diagnosis import causes
from collector.core.problems import Problem, ProblemChange
from collector.core.rules.expressions import leaves
from collector.core.rules.sampled import SampledRule
from collector.core.rules.schemas import compile_schema
from collector.core.rules.verdicts import BAD, BAND, CLEAR, UNKNOWN
from collector.core.vehicle.draft import Effect
from collector.core.vehicle.events import Told
from collector.core.vehicle.state import FORMAT, StateError, Vehicle
from collector.core.vehicle.step import Context, step, step_all
from telemetry.metrics import MAX_TEXT, METRICS, Metric
from telemetry.records import Column, Schema
from tests.unit.judging import HOT, PLAN, SHIPPED, T0, Story, rules_of, vehicle_plan


def test_opens_after_for_with_the_first_bad_value_as_event_time() -> None:
    story = Story()
    story.heat(70, 0)
    for at in (10, 20, 30, 40, 50, 60):
        assert story.heat(85, at) == []
    opened = story.heat(86, 70)
    ((problem, news, _),) = [(c.problem, c.news, c.text) for c in opened if isinstance(c, ProblemChange)]
    assert news == "began"
    assert (problem.key.text(), problem.key.device) == ("modem_hot/modem", "modem")
    assert (problem.event_ms, problem.detected_ms, problem.detected_ms) == (T0 + 10_000, T0 + 70_000, T0 + 70_000)
    assert (problem.duty, problem.state, problem.times, problem.cause) == ("on_duty", "active", 1, None)
    assert [(sample["time_ms"], sample["value"]) for sample in problem.evidence[0].samples] == [
        (T0 + 10_000, 85.0),
        (T0 + 70_000, 86.0),
    ]
    assert (problem.evidence[0].rule, problem.evidence[0].rule_version) == ("modem_hot", 1)


def test_resolves_after_clear_values_for_the_clear_duration() -> None:
    story = Story()
    for at in range(0, 70, 10):
        story.heat(85, at)
    assert story.active() == ["modem_hot/modem"]
    story.heat(78, 70)  # in the band: proves nothing
    story.heat(74, 80)
    story.heat(78, 90)  # breaks the row of clear values
    for at in range(100, 160, 10):
        story.heat(74, at)
        assert story.active() == ["modem_hot/modem"]
    story.heat(74, 160)
    assert story.life() == [("modem_hot", "over", 0.0, 100.0)]
    problem = story.problems()[0]
    assert problem.over_ms == T0 + 160_000
    samples = [(sample["shows"], sample["value"]) for sample in problem.evidence[1].samples]
    assert samples == [("worst", 85.0), ("last", 85.0), ("clear", 74.0), ("clear", 74.0)]


def test_band_breaks_a_pending_condition() -> None:
    story = Story()
    for at, value in ((0, 85), (30, 78), (60, 85), (90, 85)):
        story.heat(value, at)
    assert story.active() == []
    story.heat(85, 120)
    assert story.life() == [("modem_hot", "active", 60.0, None)]


def test_unknown_values_neither_reset_nor_open_nor_close() -> None:
    story = Story()
    story.heat(85, 0)
    for at in range(10, 70, 10):
        story.heat(None, at)
    assert story.active() == []
    story.heat(85, 70)
    assert story.life() == [("modem_hot", "active", 0.0, None)]
    for at in range(80, 800, 10):
        story.heat(None, at)
        story.tick(at)
    assert story.active() == ["modem_hot/modem"]


def test_silence_alone_opens_no_threshold() -> None:
    """Field note 45: no problem with a value that was never recorded."""
    story = Story()
    story.heat(85, 0)
    for at in range(1, 600):
        story.tick(at)
    assert story.active() == []


def test_a_pending_condition_survives_missing_samples_but_not_for_ever() -> None:
    story = Story()
    story.heat(85, 0)
    story.heat(85, 10)
    story.heat(85, 60)  # four polls missing
    assert story.life() == [("modem_hot", "active", 0.0, None)]
    story = Story()
    story.heat(85, 0)
    story.heat(85, 4000)  # over an hour: the bridge's end
    story.heat(85, 4070)
    assert story.life() == [("modem_hot", "active", 4000.0, None)]


def test_after_a_gap_the_duration_is_counted_anew_and_the_event_time_stays() -> None:
    """What was seen meanwhile may still come, and may show that it was clear in between."""
    story = Story()
    story.heat(85, 0)
    story.heat(85, 10)
    story.heat(85, 600)
    assert story.active() == []
    story.heat(85, 660)
    assert story.life() == [("modem_hot", "active", 0.0, None)]


@pytest.mark.parametrize(("again", "until", "over"), [(3600, 4000, 110.0), (130, 400, 130.0)], ids=["off", "failed"])
def test_kit_that_is_off_is_not_bad_meanwhile(again: int, until: int, over: float) -> None:
    """Found by `make told`: what a parked vehicle's kit had last was over when it started again, an hour later.

    Two polls that failed are no absence: then it is over with its first good word.
    """
    story = Story()
    for at in range(0, 110, 10):
        story.heat(95, at)
    for at in range(again, until, 10):
        story.heat(60, at)
    assert story.life() == [("modem_hot", "over", 0.0, over)]


def restarts(story: Story, *ups: tuple[int, int, int]) -> None:
    """Poll a router that started at the first of each from the second to the third, seconds after T0."""
    for started, start, end in ups:
        for at in range(start, end, 10):
            story.sample("router", {"device.reachable": True, "device.uptime_s": at - started}, at)
            story.tick(at + 5)


def test_a_router_that_starts_with_its_kit_has_not_restarted() -> None:
    """Found by `make told`: two restarts and the start after a parking were three, and the loop ended with that."""
    story = Story(SHIPPED)
    restarts(story, (-9000, 0, 260), (250, 260, 320), (310, 320, 380), (670, 680, 900))
    assert "router_reboot_loop" not in story.faults(), "the kit was off from 380 to 680 s"


def test_a_loop_of_restarts_ended_with_the_last_of_them() -> None:
    story = Story(SHIPPED)
    restarts(story, (-9000, 0, 260), (250, 260, 320), (310, 320, 380), (370, 380, 600), (3590, 3600, 4200))
    assert ("router_reboot_loop", "over", 260.0, 390.0) in story.life()


def test_state_rule_and_words_that_prove_nothing() -> None:
    story = Story(SHIPPED)
    for at, sim in ((0, "absent"), (10, "busy"), (20, "unknown"), (30, "absent")):
        story.sample("modem", {"modem.sim": sim}, at)
    assert story.life() == [("sim_absent", "active", 0.0, None)]
    for at in (40, 50, 60):
        story.sample("modem", {"modem.sim": "unknown"}, at)
    assert story.active() == ["sim_absent/modem"]
    for at in range(70, 120, 10):
        story.sample("modem", {"modem.sim": "ready"}, at)
    assert story.life() == [("sim_absent", "over", 0.0, 70.0)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"modem.registration": "denied", "modem.sim": "ready"}, ["registration_denied/modem"]),
        ({"modem.registration": "denied"}, ["registration_denied/modem"]),
        ({"modem.registration": "denied", "modem.sim": "absent"}, ["sim_absent/modem"]),
        ({"modem.registration": "home", "modem.sim": "ready"}, []),
        # poor in power and quality, where nobody knows what is usual
        ({"modem.rsrp_dbm{leg=lte}": -115.0, "modem.sinr_db{leg=lte}": -5.0}, []),
        ({"modem.rsrp_dbm{leg=lte}": None, "modem.sinr_db{leg=lte}": None}, []),
        ({"power.supply_v": 11.5}, ["supply_sag/modem"]),
        ({"power.supply_v": 23.0}, ["supply_sag/modem"]),
        ({"power.supply_v": 12.6}, []),
        ({"power.supply_v": 26.0}, []),
        ({"gnss.antenna": "short"}, ["gnss_antenna/modem"]),
        ({"gnss.antenna": "unknown"}, []),
        ({"stream.frozen{stream=main}": True}, ["stream_frozen/modem/stream=main"]),
    ],
)
def test_shipped_rules(values: dict[str, Any], expected: list[str]) -> None:
    story = Story(SHIPPED)
    for at in range(0, 1200, 30):
        story.sample("modem", values, at)
    assert story.active() == expected


def test_link_faults_name_the_router_and_need_all_targets() -> None:
    story = Story(SHIPPED)
    for at in range(0, 400, 10):
        story.sample("uplink", {"link.rtt_ms{target=a}": 900.0, "link.rtt_ms{target=b}": 40.0}, at, input="probe")
    assert story.active() == []
    for at in range(400, 800, 10):
        story.sample("uplink", {"link.rtt_ms{target=a}": 900.0, "link.rtt_ms{target=b}": None}, at, input="probe")
    assert story.active() == ["high_delay/router"]


def test_worn_ups_is_hardware_even_when_parked() -> None:
    story = Story(SHIPPED)
    worn = {"power.runtime_s": 120, "power.battery_percent": 100.0, "power.on_battery": False}
    for at in range(0, 2000, 30):
        story.sample("power", {"power.ignition": False}, at)
        story.sample("ups", worn, at)
    (problem,) = story.problems()
    assert (problem.key.fault, problem.duty) == ("ups_battery_worn", "parked")
    for at in range(2000, 6000, 30):  # on battery nothing is known of the charged runtime
        story.sample("power", {"power.ignition": False}, at)
        story.sample("ups", {**worn, "power.runtime_s": 900, "power.on_battery": True}, at)
    assert story.active() == ["ups_battery_worn/ups"]


# --- vehicle states ---------------------------------------------------------------------------------------------------


def test_parked_opens_deferrable_and_workshop_nothing() -> None:
    story = Story()
    story.sample("power", {"power.ignition": False}, 0)
    for at in range(0, 70, 10):
        story.heat(85, at)
    assert [problem.duty for problem in story.problems()] == ["parked"]
    story = Story(plan=vehicle_plan(state="workshop"))
    for at in range(0, 600, 10):
        story.heat(85, at)
    assert story.problems() == []
    story.plan = vehicle_plan()
    for at in range(600, 670, 10):
        story.heat(85, at)
    assert story.life() == [("modem_hot", "active", 600.0, None)]


def test_parked_devices_are_off_and_count_from_the_ignition_on() -> None:
    story = Story(SHIPPED)
    dead = {"device.reachable": False}
    story.sample("power", {"power.ignition": False}, 0)
    for at in range(0, 600, 10):
        story.sample("camera-1", dead, at)
    assert story.problems() == []
    story.sample("power", {"power.ignition": True}, 600)
    for at in range(600, 900, 10):  # three minutes to start, two for the rule
        story.sample("camera-1", dead, at)
        assert story.problems() == []
    story.sample("camera-1", dead, 900)
    assert story.life() == [("camera_down", "active", 600.0, None)]


def test_an_old_word_of_the_ignition_does_not_park_a_vehicle_for_ever() -> None:
    story = Story(SHIPPED)
    story.sample("power", {"power.ignition": False}, 0)
    for at in range(0, 1000, 10):
        story.sample("camera-1", {"device.reachable": False}, at)
    assert story.active() == ["camera_down/camera-1"]


# --- roots and symptoms -----------------------------------------------------------------------------------------------


def test_a_symptom_hangs_under_its_root() -> None:
    story = Story(SHIPPED)
    for at in range(0, 300, 10):
        story.sample("camera-1", {"device.reachable": False}, at)
        story.sample("router", {"device.reachable": False}, at)
    assert story.roots() == ["router_dead/router"]
    assert story.explained() == {"camera_down/camera-1": "router_dead/router"}
    (symptom,) = [problem for problem in story.problems() if problem.cause]
    assert symptom.event_ms == T0, "it began when it did, not when its cause was found"
    for at in range(300, 400, 10):
        story.sample("router", {"device.reachable": True}, at)
        story.sample("camera-1", {"device.reachable": False}, at)
    assert story.roots() == []  # the router is back; the camera is given its time
    for at in range(400, 460, 10):
        story.sample("camera-1", {"device.reachable": False}, at)
    assert story.roots() == ["camera_down/camera-1"]
    assert [(change.problem.cause, change.text) for change in story.news("caused")] == [
        (None, "it has outlived router_dead/router")
    ]


def test_causes_are_looked_for_once_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every record of a long message compares all problems of the vehicle with each other."""
    story = Story(SHIPPED)
    for at in range(0, 340, 10):
        story.sample("router", {"device.reachable": at >= 300}, at)
        story.sample("camera-1", {"device.reachable": False}, at)
    assert story.roots() == []
    assert story.explained() == {"camera_down/camera-1": "router_dead/router"}
    before, known, calls = story.vehicle, len(story.events), []
    for at in range(340, 380, 10):
        story.sample("camera-1", {"device.reachable": False}, at)
    told = [event for event, _ in story.events[known:] if isinstance(event, Told)]

    def counting(*args: Any) -> Any:
        calls.append(args)
        return causes(*args)

    monkeypatch.setattr("collector.core.vehicle.draft.causes", counting)
    context = Context(story.plan, story.listening, story.verdict)
    step_all(before, told, context, story.rules, T0 + 380_000)
    assert (len(told), len(calls)) == (4, 1)


def test_a_root_of_which_nobody_tells_any_more_hides_nothing() -> None:
    """The router's input tells nothing more in the middle of it; the camera's goes on."""
    story = Story(SHIPPED, restart=True)
    for at in range(0, 40, 10):
        story.sample("router", {"device.reachable": False}, at)
    for at in range(40, 400, 10):
        story.sample("camera-1", {"device.reachable": False}, at)
    assert story.roots() == ["camera_down/camera-1"]


def test_a_symptom_that_ends_with_its_cause_never_was_anything_else() -> None:
    story = Story(SHIPPED, restart=True)
    for at in range(0, 600, 10):
        story.sample("router", {"device.reachable": at >= 300}, at)
        story.sample("camera-1", {"device.reachable": at >= 380}, at)
    assert story.news("caused") == []
    assert [(p.key.fault, p.state, p.cause and p.cause.key.fault) for p in story.problems()] == [
        ("router_dead", "over", None),
        ("camera_down", "over", "router_dead"),
    ]


def test_a_cause_that_is_found_later_explains_what_was_there() -> None:
    story = Story(SHIPPED, restart=True)
    for at in range(0, 600, 10):
        story.sample("camera-1", {"device.reachable": False}, at)
        if at >= 300:
            story.sample("router", {"device.reachable": False}, at)
    assert story.explained() == {"camera_down/camera-1": "router_dead/router"}
    assert [change.text for change in story.news("caused")] == ["explained by router_dead/router"]


def test_nothing_opens_behind_a_device_that_is_not_reached() -> None:
    story = Story(SHIPPED)
    for at in range(0, 110, 10):
        story.sample("switch", {"device.reachable": False}, at)
        story.sample("camera-1", {"device.reachable": False}, at)
    for at in range(110, 900, 10):
        story.sample("camera-1", {"device.reachable": False}, at)
        story.sample("switch", {"device.reachable": False}, at)
    assert story.roots() == ["management_unreachable/switch"]


# --- one problem a key ------------------------------------------------------------------------------------------------

TWO = """
rules:
  hot: {fault: modem_hot, condition: {metric: modem.temperature_c, above: 80}, for: 10s}
  very_hot: {fault: modem_hot, condition: {metric: modem.temperature_c, above: 90}, for: 10s, clear_for: 30s}
"""


def test_two_rules_one_ticket_that_both_must_let_go() -> None:
    story = Story(rules_of(TWO))
    for at in range(0, 60, 10):
        story.heat(95, at)
    assert len(story.problems()) == 1
    story.heat(70, 60)
    story.heat(70, 70)  # ``hot`` is clear after 10 s, ``very_hot`` not before 30
    assert story.active() == ["modem_hot/modem"]
    story.heat(70, 80)
    story.heat(70, 90)
    assert [problem.state for problem in story.problems()] == ["over"]


def test_two_agents_that_see_the_same_fault_share_the_ticket() -> None:
    story = Story()
    for at in range(0, 130, 10):
        story.heat(85, at, agent="box")
        story.heat(85, at + 1, agent="tablet")
    for at in range(130, 260, 10):
        story.heat(70, at, agent="box")
    assert [problem.state for problem in story.problems()] == ["active"]
    for at in range(260, 330, 10):
        story.heat(70, at, agent="tablet")
    assert [problem.state for problem in story.problems()] == ["over"]


# --- times that cannot be judged --------------------------------------------------------------------------------------


def test_too_old_and_future_values_are_counted_and_not_judged() -> None:
    story = Story()
    for at in range(0, 100, 10):
        story.heat(85, at, now=80 * 3600)
        story.heat(85, at + 90 * 3600, now=80 * 3600, lane="live")
    assert story.vehicle.skipped == {"too_late": 10, "future": 10}
    assert (story.problems(), story.notes(), story.vehicle.sources) == ([], [], {})


def test_a_value_that_comes_late_but_in_its_turn_is_judged_at_its_own_time() -> None:
    """The kit is judged on the kit's clock, however long its words waited in the broker."""
    story = Story()
    for at in range(0, 100, 10):
        story.heat(85, at, now=at + 1200)
    (problem,) = story.problems()
    assert (problem.event_ms, problem.detected_ms) == (T0, T0 + 1_260_000)


def test_a_live_value_that_comes_after_a_newer_one_changes_nothing() -> None:
    story = Story()
    for at in range(0, 60, 10):
        story.heat(85, at)
    story.heat(60, 45, now=55)
    story.heat(85, 60)
    assert story.life() == [("modem_hot", "active", 0.0, None)]


# --- rules change -----------------------------------------------------------------------------------------------------


def test_a_new_version_adopts_the_ticket_and_starts_its_conditions_anew() -> None:
    story = Story()
    for at in range(0, 70, 10):
        story.heat(85, at)
    story.rules = rules_of(HOT.replace("above: 80, clear: 75}", "above: 90, clear: 88}, version: 2"))
    story.heat(85, 70)
    assert story.active() == ["modem_hot/modem"]
    for at in range(80, 140, 10):
        story.heat(85, at)
    assert story.life() == [("modem_hot", "over", 0.0, 70.0)]
    problem = story.problems()[0]
    assert problem.rule_version == 2
    assert [evidence.rule_version for evidence in problem.evidence] == [1, 2]


def test_a_new_version_starts_a_pending_condition_anew() -> None:
    story = Story()
    story.heat(85, 0)
    story.rules = rules_of(HOT.replace("for: 1m", "for: 1m, version: 2"))
    story.heat(85, 60)
    assert story.active() == []
    story.heat(85, 120)
    assert story.life() == [("modem_hot", "active", 60.0, None)]


def test_a_withdrawn_rule_leaves_its_problem_to_a_person() -> None:
    story = Story()
    for at in range(0, 70, 10):
        story.heat(85, at)
    story.rules = rules_of("rules: {}")
    for at in range(70, 200, 10):
        story.tick(at)
        story.heat(60, at)
    assert story.active() == []
    assert story.life() == [("modem_hot", "orphaned", 0.0, None)]
    assert [change.text for change in story.news("orphaned")] == ["rule modem_hot was withdrawn: a person must decide"]


def test_a_problem_that_another_rule_holds_too_goes_on_under_that() -> None:
    story = Story(rules_of(TWO), restart=True)
    for at in range(0, 60, 10):
        story.heat(95, at)
    assert [problem.rule for problem in story.vehicle.problems.values()] == ["hot"]
    story.rules = rules_of(TWO.replace("  hot:", "  cold:").replace("above: 80", "above: 99"))
    story.tick(61)
    assert [problem.rule for problem in story.vehicle.problems.values()] == ["very_hot"]
    assert [change.text for change in story.news("adopted")] == ["rule very_hot is now version 1"]
    for at in range(70, 120, 10):
        story.heat(60, at)
    assert story.life() == [("modem_hot", "over", 0.0, 70.0)]


# --- properties -------------------------------------------------------------------------------------------------------

VALUES = st.sampled_from([60.0, 74.0, 78.0, 85.0, 95.0, None])
STEPS = st.lists(st.tuples(st.sampled_from([1, 10, 10, 10, 30, 61, 300, 4000]), VALUES), max_size=60)


def _run(story: Story, steps: list[tuple[int, float | None]]) -> Story:
    at = 0
    for pause, value in steps:
        at += pause
        story.heat(value, at)
        story.tick(at)
        assert all(problem.key == key for key, problem in story.vehicle.problems.items())
    return story


@given(STEPS)
@settings(max_examples=80, deadline=None)
def test_a_restart_at_any_point_changes_nothing(steps: list[tuple[int, float | None]]) -> None:
    plain, restarted = _run(Story(rules_of(TWO)), steps), _run(Story(rules_of(TWO), restart=True), steps)
    assert plain.effects == restarted.effects
    assert plain.vehicle == restarted.vehicle


@given(STEPS)
@settings(max_examples=80, deadline=None)
def test_problems_of_a_key_never_overlap(steps: list[tuple[int, float | None]]) -> None:
    story = _run(Story(rules_of(TWO)), steps)
    problems = story.problems()
    assert all(problem.state == "over" for problem in problems[:-1])
    for earlier, later in itertools.pairwise(problems):
        assert earlier.over_event_ms is not None
        assert earlier.event_ms <= earlier.over_event_ms <= later.event_ms
    assert [problem.times for problem in problems] == list(range(1, len(problems) + 1))


@given(STEPS, st.lists(st.integers(0, 5), max_size=60))
@settings(max_examples=80, deadline=None)
def test_batches_do_not_matter(steps: list[tuple[int, float | None]], delays: list[int]) -> None:
    """The same samples, committed together a few seconds later, give the same tickets at the same event times."""
    steps = [(pause, value) for pause, value in steps if pause > 5]
    prompt, batched = Story(), Story()
    at, now = 0, 0
    for number, (pause, value) in enumerate(steps):
        at += pause
        prompt.heat(value, at)
        now = max(now, at + (delays[number] if number < len(delays) else 0))
        batched.heat(value, at, now=now)
    assert prompt.life() == batched.life()


@given(STEPS)
@settings(max_examples=80, deadline=None)
def test_opens_only_with_evidence(steps: list[tuple[int, float | None]]) -> None:
    """Brute force over the plain samples: opening and closing values were bad and clear, and had been for a minute."""
    story = _run(Story(), steps)
    seen: dict[int, float | None] = {}
    at = 0
    for pause, value in steps:
        at += pause
        seen[T0 + at * 1000] = value
    for problem in story.problems():
        between = [v for t, v in seen.items() if problem.event_ms <= t <= problem.detected_ms and v is not None]
        assert between
        assert all(value > 80 for value in between)
        assert problem.detected_ms - problem.event_ms >= 60_000
        if problem.over_event_ms is not None and problem.over_ms is not None:
            after = [v for t, v in seen.items() if problem.over_event_ms <= t <= problem.over_ms and v is not None]
            assert all(value <= 75 for value in after)
            assert problem.over_ms - problem.over_event_ms >= 60_000


@st.composite
def anything(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Births, goodbyes, wills, samples of several devices on both lanes, events and ticks in any order."""
    at = 0
    events: list[tuple[Any, ...]] = []
    for _ in range(draw(st.integers(1, 60))):
        at += draw(st.sampled_from([0, 1, 10, 10, 60, 200, 4000]))
        agent = draw(st.sampled_from(["box", "tablet"]))
        run, session = draw(st.sampled_from(["aa", "bb"])), draw(st.integers(1, 3))
        what = draw(st.sampled_from(["sample", "sample", "sample", "sample", "tick", "tick", "born", "gone", "told"]))
        if what == "sample":
            device = draw(st.sampled_from(["router", "camera-1", "switch", "power"]))
            told = {"device.reachable": draw(st.sampled_from([True, False, False, None]))}
            if device == "power":
                told = {"power.ignition": draw(st.sampled_from([True, False, None]))}
            late = draw(st.sampled_from([0, 0, 0, 30, 700]))
            events.append(("sample", device, told, at - late, at, "backlog" if late else "live", agent))
        elif what == "born":
            events.append(("born", agent, at, run, session))
        elif what == "gone":
            events.append((draw(st.sampled_from(["died", "parked", "stop"])), agent, at, run, session))
        elif what == "told":
            body = draw(st.sampled_from([{"problem": "no profile"}, {"problem": ""}, {"reason": "evicted"}]))
            events.append(("told", "lost" if "reason" in body else "problem", body, at))
        else:
            events.append(("tick", at))
    return events


def _perform(story: Story, events: list[tuple[Any, ...]]) -> Story:
    for kind, *rest in events:
        if kind == "sample":
            device, told, at, now, lane, agent = rest
            story.sample(device, told, at, now=now, lane=lane, agent=agent)
        elif kind == "tick":
            story.tick(rest[0])
        elif kind == "born":
            story.born(rest[0], rest[1], run=rest[2], session=rest[3])
        elif kind == "told":
            story.tell(rest[0], "router", rest[1], rest[2])
        elif kind == "died":
            story.died(rest[0], rest[1], run=rest[2], session=rest[3])
        else:
            story.left(rest[0], kind, rest[1], run=rest[2], session=rest[3])
    return story


@given(anything())
@settings(max_examples=80, deadline=None)
def test_whatever_happens(events: list[tuple[Any, ...]]) -> None:
    """Restarts change nothing; a key is there once at a time; every problem begins and is over at most once."""
    plain, restarted = _perform(Story(SHIPPED), events), _perform(Story(SHIPPED, restart=True), events)
    assert plain.effects == restarted.effects
    problems = plain.problems()  # holds that no key is there twice at a time
    for problem in problems:
        assert problem.event_ms <= problem.detected_ms
        assert len(problem.evidence) <= 3
        assert problem.state != "over" or (problem.over_event_ms or 0) >= problem.event_ms
    assert {problem.key: problem for problem in problems if problem.over_ms is None} == plain.vehicle.problems


def test_state_of_a_newer_format_is_refused() -> None:
    newer = (
        Vehicle.new("north", "amb-1", vehicle_plan())
        .to_json()
        .replace(f'"format":{FORMAT}'.encode(), f'"format":{FORMAT + 1}'.encode())
    )
    with pytest.raises(StateError, match="newer version"):
        Vehicle.from_json(newer)
    with pytest.raises(StateError):
        Vehicle.from_json(b"{")


def test_the_same_fault_told_by_a_router_and_the_modem_in_it_is_one_ticket() -> None:
    plan = vehicle_plan(PLAN.replace("kind: modem, modem:", "kind: modem, depends_on: [router], modem:"))
    story = Story(SHIPPED, plan)
    apart = Story(SHIPPED)
    for at in range(0, 200, 10):
        sim = "absent" if 20 <= at < 120 else "ready"
        for one in (story, apart):
            one.sample("modem", {"modem.sim": sim}, at, input="modem")
            one.sample("router", {"modem.sim": sim}, at)
    assert [problem.key.device for problem in story.problems() if problem.cause is None] == ["modem"]
    assert story.life() == [("sim_absent", "over", 20.0, 120.0)] * 2
    # Where the fleet file does not say that one works through the other, they are two SIMs.
    assert [problem.key.device for problem in apart.problems()] == ["modem", "router"]


@given(anything())
@settings(max_examples=80, deadline=None)
def test_the_records_of_a_message_together_are_as_one_after_the_other(events: list[tuple[Any, ...]]) -> None:
    story = _perform(Story(SHIPPED), events)
    context = Context(story.plan, story.listening, story.verdict)
    vehicle = Vehicle.new("north", "amb-1", story.plan)
    for are_told, group in itertools.groupby(story.events, lambda one: isinstance(one[0], Told)):
        happened = list(group)
        now_ms = happened[-1][1]
        apart, effects = vehicle, []
        for event, _ in happened:
            apart, more = step(apart, event, context, SHIPPED, now_ms)
            effects += more
        if are_told:
            told = [event for event, _ in happened if isinstance(event, Told)]
            together, told_of = step_all(vehicle, told, context, SHIPPED, now_ms)
            assert _without_causes(together, told_of) == _without_causes(apart, effects)
        vehicle = apart


def _without_causes(vehicle: Vehicle, effects: Sequence[Effect]) -> tuple[Vehicle, list[Effect]]:
    """Leave out what is looked for once a message."""

    def uncaused(problem: Problem) -> Problem:
        return msgspec.structs.replace(problem, cause=None)

    kept = [
        msgspec.structs.replace(one, problem=uncaused(one.problem)) if isinstance(one, ProblemChange) else one
        for one in effects
        if not (isinstance(one, ProblemChange) and one.news == "caused")
    ]
    problems = {key: uncaused(problem) for key, problem in vehicle.problems.items()}
    return msgspec.structs.replace(vehicle, problems=problems), kept


def test_what_one_record_of_a_message_tells_counts_for_the_next() -> None:
    rule = "condition: {metric: modem.temperature_c, above: 80, clear: 75}, for: 0s, when: [on_duty]"
    story = Story(rules_of(f"rules: {{modem_hot: {{fault: modem_hot, {rule}}}}}"))
    story.heat(90, 0)
    story.sample("power", {"power.ignition": False}, 0)
    story.sample("router", {"modem.temperature_c": 90}, 0)
    assert story.active() == ["modem_hot/modem"], "it was parked before the second one was looked at"
    told = [event for event, _ in story.events if isinstance(event, Told)]
    context = Context(story.plan, story.listening, story.verdict)
    together = step_all(Vehicle.new("north", "amb-1", story.plan), told, context, story.rules, T0)
    assert together == (story.vehicle, story.effects)


# --- compiled schemas -------------------------------------------------------------------------------------------------


@given(st.sampled_from(list(METRICS.values())), st.data())
def test_a_compiled_schema_checks_as_the_catalogue_does(metric: Metric, data: st.DataObject) -> None:
    value: Any = data.draw(
        st.sampled_from([None, True, False, 0, 1, -1, 1.0, 0.5, -0.0, metric.low, metric.high, 2**63, 1e300])
        | st.sampled_from([math.nan, math.inf, -math.inf, "", "x" * MAX_TEXT, "x" * (MAX_TEXT + 1), *metric.states])
        | st.integers()
        | st.floats()
    )
    compiled = compile_schema(
        Schema("snmp", "x", (Column(metric.name),)), SHIPPED, "", site="s", vehicle="v", agent="a"
    )
    try:
        expected = None if value is None else metric.check(value)
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            compiled.check([value])
    else:
        (found,) = compiled.check([value])
        assert (found, type(found)) == (expected, type(expected))
    for wrong in ([], [value, value]):
        with pytest.raises(ValueError, match=f"expected 1 values, found {len(wrong)}"):
            compiled.check(wrong)


@given(st.sampled_from([rule for rule in SHIPPED.by_id.values() if isinstance(rule, SampledRule)]), st.data())
def test_nothing_bad_is_what_no_watch_finds_bad(rule: SampledRule, data: st.DataObject) -> None:
    terms = [*leaves(rule.condition), *(leaves(rule.only_if) if rule.only_if else ())]
    metrics = list({term.series.name: term.series for term in terms}.values())
    limits = [limit for term in terms for limit in (term.above, term.below, term.clear) if limit is not None]
    choices: dict[str, list[Any]] = {"bool": [True, False], "text": ["", "x"]}
    near = [limit + more for limit in limits for more in (-1, 0, 1)]
    choices["float"], choices["int"] = near, [round(limit) for limit in near]
    values = [data.draw(st.sampled_from([None, *(metric.states or choices[metric.kind])])) for metric in metrics]
    compiled = compile_schema(
        Schema("snmp", "x", tuple(Column(metric.name) for metric in metrics)),
        SHIPPED,
        next(iter(sorted(rule.kinds)), ""),
        site="s",
        vehicle="v",
        agent="a",
    )
    try:
        values = list(compiled.check(values))
    except ValueError:
        return  # a limit beside the metric's range
    values += [data.draw(st.sampled_from([CLEAR, BAND, UNKNOWN, BAD])) for _ in compiled.operands]
    verdicts = [watch.verdict(values) for watch in compiled.watches]
    if compiled.nothing_bad(values):
        assert BAD not in verdicts
    elif not any(watch.rule.only_if or watch.rule.first is not watch.rule.condition for watch in compiled.watches):
        assert BAD in verdicts
