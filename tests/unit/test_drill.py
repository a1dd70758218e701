"""Drills: the engine itself. That a life is what the standard kit would say, and that a wrong expectation fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.standard_kit import PARTS
from collector.core.identities import ProblemKey
from collector.core.problems import Problem, ProblemRef, ProblemState
from collector.core.rules.files import load_rules
from collector.core.tickets.draft import Tracked
from collector.site.in_force import InForce
from collector.store.rows import Changes
from kitwatch.drill.came import Came
from kitwatch.drill.compare import result_of
from kitwatch.drill.history import History, as_it_was, judged_by
from kitwatch.drill.history import compare as compare_histories
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import Combination, Drill, drill_of, load_scenario
from simulator.life import kit
from telemetry.files import FileError
from telemetry.fleet import Site
from tests.unit.judged_again import batches_of

QUIET = """
about: nothing happens
because: the engine
lasts: {lasts}
world: {{switch: none, vehicles: {{a01: {{drives: [{drives}]}}}}}}
happens: {happens}
expect: {expect}
"""
DEAD_CAMERA = "[{at: 10m, for: 10m, vehicle: a01, device: camera-2, fault: camera_down}]"
TICKET = (
    "fault: camera_down, at: a01/camera-2, class: general, event: 10m, over: 20m, notifications: 2, opened_within: 3m"
)


def drilled(
    tmp_path: Path, *, lasts: str = "30m", drives: str = "city", happens: str = "[]", expect: str = "{}", **of: Any
) -> Any:
    path = tmp_path / "scenario.yaml"
    path.write_text(QUIET.format(lasts=lasts, drives=drives, happens=happens, expect=expect), "utf-8")
    drill = drill_of("scenario", load_scenario(str(path)), Combination(**of))
    return result_of(drill, Play(drill).run)


def test_the_life_has_the_standard_kit() -> None:
    """The same inputs of the same devices at the same intervals, with its metrics at least: 64,800 records a day."""
    ours = {(one.name, one.device): one for one in kit.inputs(kit.BOX, 10)}
    moved = {("stream", "camera-2"): ("stream", "encoder")}
    assert ours.keys() == {moved.get((part.input, part.device), (part.input, part.device)) for part in PARTS}
    for part in PARTS:
        one = ours[moved.get((part.input, part.device), (part.input, part.device))]
        assert one.every_ms == 10_000 * part.every
        assert {metric for metric, _ in one.keys} >= {metric for metric, _ in part.keys}
        assert len(one.keys) >= len(part.keys)
    assert sum(86_400_000 // one.every_ms for one in ours.values()) == 64_800


def test_what_came_tells_apart_what_judging_has_forgotten_meanwhile() -> None:
    """Found by a quiet life: judging counts anew after 72 h, and two first passes through holes were one occurrence."""
    came = Came()

    def tell(state: ProblemState, began_s: int, over_s: int | None, times: int = 1) -> None:
        problem = Problem(
            site="north", vehicle="a01", key=ProblemKey("vehicle_silent", "a01"), rule="vehicle_silent", rule_version=1,
            state=state, event_ms=1000 * began_s, detected_ms=1000 * began_s, over_ms=over_s and 1000 * over_s,
            times=times,
        )  # fmt: skip
        came.take(Changes(problems=[Tracked(problem)]), 0)

    tell("active", 0, None)
    tell("over", 0, 100)
    tell("active", 300_000, None)
    tell("over", 300_000, 300_100)
    tell("active", 400_000, None, 2)
    assert [(one.event_ms, one.state) for one in came.problems.values()] == [
        (0, "over"), (300_000_000, "over"), (400_000_000, "active"),
    ]  # fmt: skip
    latest = came.latest(ProblemRef("a01", ProblemKey("vehicle_silent", "a01")))
    assert latest is not None
    assert latest.event_ms == 400_000_000


def test_a_life_without_troubles_brings_nothing(tmp_path: Path) -> None:
    result = drilled(tmp_path)
    assert result["holds"]
    usual = 2 * (30 * 45 + 1 + 10)  # samples, the start, and who ten devices are
    assert abs(result["records"] - usual) <= 2 * 14  # the first and the last moment may lie outside
    assert not result["tickets"]
    assert not result["problems"]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_brings_the_same(tmp_path: Path, seed: int) -> None:
    one, again = (drilled(tmp_path, happens=DEAD_CAMERA, seed=seed) for _ in range(2))
    assert one == again
    assert one["tickets"]


def test_what_is_expected_holds(tmp_path: Path) -> None:
    result = drilled(tmp_path, happens=DEAD_CAMERA, expect="{tickets: [{" + TICKET + "}]}")
    assert result["holds"], (result["missing"], result["unexpected"], result["differs"])


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (("general", "disaster"), "class"),
        (("event: 10m", "event: 14m"), "event"),
        (("over: 20m", "over: 26m"), "over"),
        (("over: 20m", "over: never"), "over"),
        (("notifications: 2", "notifications: 1"), "notifications"),
        (("opened_within: 3m", "opened_within: 10s"), "opened_within"),
        (("opened_within: 3m", "opened_after: 9m"), "opened_after"),
        (("notifications: 2", "notifications: 2, opened_as: vehicle_silent"), "opened_as"),
        (("notifications: 2", "notifications: 2, times: 2"), "times"),
        (("notifications: 2", "notifications: 2, recurring: yes"), "recurring"),
        (("notifications: 2", "notifications: 2, history_rows: 1"), "history_rows"),
        (("notifications: 2", "notifications: 2, marks: [stale]"), "marks"),
        (("notifications: 2", "notifications: 2, symptoms: [camera_down a01/camera-1]"), "symptoms"),
        (("notifications: 2", "notifications: 2, state: open"), "state"),
    ],
)
def test_a_wrong_expectation_fails(tmp_path: Path, wrong: tuple[str, str], what: str) -> None:
    expect = "{tickets: [{" + TICKET.replace(*wrong) + "}]}"
    result = drilled(tmp_path, happens=DEAD_CAMERA, expect=expect)
    assert not result["holds"]
    assert what in {one["what"] for one in result["differs"]}


def test_what_is_not_listed_is_a_failure(tmp_path: Path) -> None:
    result = drilled(tmp_path, happens=DEAD_CAMERA)
    assert [one["fault"] for one in result["unexpected"]] == ["camera_down"]


def test_what_does_not_come_is_a_failure(tmp_path: Path) -> None:
    expect = "{tickets: [{" + TICKET + "}], notes: [{fault: sim_absent, at: a01/modem}]}"
    result = drilled(tmp_path, expect=expect)
    assert result["missing"] == [{"ticket": "camera_down a01/camera-2"}, {"note": "sim_absent a01/modem"}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"happens": "[{at: 1m, vehicle: a01, fault: camera_dwon}]"}, "did you mean 'camera_down'?"),
        (
            {"happens": "[{at: 1m, vehicle: a01, device: ups, fault: camera_down}]"},
            "happens[1].device: expected",
        ),
        ({"happens": "[{at: 1m}]"}, "happens[1]: expected a fault, centre or person"),
        ({"happens": "[{at: 1m, centre: asleep}]"}, "happens[1].centre: expected one of clock_off"),
        ({"drives": "moon 3h"}, "world.vehicles.a01.drives[1]: expected a road"),
        ({"drives": "city fast"}, "world.vehicles.a01.drives[1]: expected WHAT DURATION"),
        ({"drives": "parked 3h at moon"}, "expected a place of the world, found 'moon'"),
        ({"expect": "{tickets: [{" + TICKET + ", of: 7}]}"}, "expect.tickets[1].of: expected the number"),
        ({"expect": "{tickets: [{" + TICKET + ", sooner: 7}]}"}, "sooner"),
    ],
)
def test_a_scenario_that_cannot_be_is_one_clear_error(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(FileError) as refused:
        drilled(tmp_path, **change)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_the_centre_knows_of_places_decides_how_long_a_silence_may_be(tmp_path: Path) -> None:
    """The same nine minutes without contact: unknown, known, and where contact is kept."""
    text = """
about: a dead spot of nine minutes
because: the engine
lasts: 40m
jitter: 0s
world:
  switch: none
  roads: {{city: {{}}, spot: {{contact: no}}}}
  record: {record}
  vehicles: {{a01: {{drives: [city 20m, spot 9m, city]}}}}
"""
    opened = {}
    for name, record in {
        "unknown": "none",
        "lost there": "{contact: {spot: {passes: 9, days: 9, lost: 9, p50: 8m, p95: 9m}}}",
        "kept there": "{contact: {spot: {passes: 9, days: 9, lost: 0}}}",
    }.items():
        path = tmp_path / "scenario.yaml"
        path.write_text(text.format(record=record), "utf-8")
        drill = drill_of("scenario", load_scenario(str(path)), Combination())
        came = Play(drill).run()
        silences = [one for one in came.tickets.values() if one.faults[0][1] == "vehicle_silent"]
        opened[name] = [round((one.opened_ms - drill.begins_ms) / 60_000) for one in silences]
    assert opened["unknown"] == opened["lost there"] == []
    assert len(opened["kept there"]) == 1
    assert 23 <= opened["kept there"][0] <= 26


# --- a history judged again -------------------------------------------------------------------------------------------


class Kept(Play):
    """A drill of which all that was committed is kept."""

    def __init__(self, drill: Drill) -> None:
        self.commits: list[Changes] = []
        super().__init__(drill)

    def _take(self, at_ms: int, changes: Changes) -> None:
        super()._take(at_ms, changes)
        self.commits.append(changes)


def history_of(play: Kept) -> History:
    commits = play.commits
    snapshots = [one.snapshot for one in commits if one.snapshot is not None]
    schemas = {key: schema for one in commits for key, schema in one.schemas.items()}
    contents = {(row.kind, row.number): row.content for one in commits for row in one.editions}
    return History("north", snapshots[0], batches_of("north", commits), contents, schemas)


def test_the_same_rules_would_have_given_the_same(tmp_path: Path) -> None:
    play, history = _lived(tmp_path)
    base = InForce("north", Site(vehicles={}), load_rules())
    was = as_it_was(history, base)
    assert [one.ticket for one in was.tickets.values()] == [one.ticket for one in play.came.tickets.values()]
    again, lost = judged_by(history, base, load_rules(), was)
    compared = compare_histories("north", was, again, lost)
    assert compared.same, compared
    assert len(compared.was) == 1


def test_another_rule_would_have_given_exactly_this_difference(tmp_path: Path) -> None:
    """Written down beforehand: with 20 min in place of 2 the camera that was down for 10 gives no ticket."""
    _, history = _lived(tmp_path)
    base = InForce("north", Site(vehicles={}), load_rules())
    was = as_it_was(history, base)
    slow = tmp_path / "slow.yaml"
    rules = ("camera_down", "camera_absent")  # not reached, and nothing heard of it
    overrides = ", ".join(f"{{rule: {rule}, set: {{for: 20m, version: 99}}}}" for rule in rules)
    slow.write_text(f"overrides: [{overrides}]", "utf-8")
    compared = compare_histories("north", was, *judged_by(history, base, load_rules([slow]), was))
    assert [(one["fault"], one["at"]) for one in compared.only_was] == [("camera_down", "a01/camera-2")]
    assert not compared.only_would_be
    assert not compared.otherwise
    assert compared.problems == {"camera_down": -1}


def _lived(tmp_path: Path) -> tuple[Kept, History]:
    path = tmp_path / "scenario.yaml"
    path.write_text(QUIET.format(lasts="30m", drives="city", happens=DEAD_CAMERA, expect="{}"), "utf-8")
    play = Kept(drill_of("scenario", load_scenario(str(path)), Combination(poll_s=60)))
    play.run()
    return play, history_of(play)
