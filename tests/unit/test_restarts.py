"""Kit that is back after an end that was none has lost its power, or was switched off, restarted, or killed."""

from __future__ import annotations

import pytest

from collector.core.vehicle.events import Acknowledged, Acted, Born, Happened, RecordName
from tests.unit.judging import T0, Story
from tests.unit.test_expectation import HOSPITAL, drive, kit, quiet


def start(story: Story, at: float, *, boot: str = "b2", ended: str | None = "killed", booted: bool = True) -> None:
    """The box is born in a new run, and tells how the run before ended."""
    run = "00000000000000bb"
    story.do(Born("box", run, 1, "m", 0, "", boot), at)
    body = {"version": "1", "ended": ended, "booted": booted, "run_before": "00000000000000aa"}
    story.do(Happened(RecordName("box", run, 0), "live", T0 + round(at * 1000), "started", "", body), at + 1)


def off(
    power: str, silence: int, *, speed: float = 0.0, goodbye: str = "", on_m: float = 0.0, **start_: object
) -> Story:
    """Five minutes of driving, the last word at ``speed``, off for so long, and back ``on_m`` further north."""
    story = kit(power)
    story.do(Born("box", "00000000000000aa", 1, "m", 0, "", "b1"), 0)
    drive(story, range(0, 300, 10), agents=("box",))
    drive(story, [300], speed=speed, agents=("box",))
    if goodbye:
        story.left("box", goodbye, 301, run="00000000000000aa")
    quiet(story, range(310, 300 + silence, 10))
    start(story, 300 + silence, **start_)  # type: ignore[arg-type]
    there = (HOSPITAL[0] + on_m / 111_195, HOSPITAL[1])
    drive(story, range(310 + silence, 600 + silence, 10), agents=("box",), at_place=there)
    return story


def told(story: Story) -> list[tuple[str, int]]:
    return [
        (problem.key.device, round((problem.event_ms - T0) / 1000))
        for problem in story.problems()
        if problem.key.fault == "power_lost"
    ]


def test_always_fed_kit_that_was_off_has_lost_its_power_at_its_last_word() -> None:
    story = off("always", 400)
    assert told(story) == [("power", 300)]
    assert "always fed, for 400 s" in story.problems()[-1].evidence[0].text


@pytest.mark.parametrize(("silence", "lost"), [(140, False), (149, False), (150, True), (160, True)])
def test_a_restart_by_plan_is_back_within_150_s(silence: int, lost: bool) -> None:
    assert bool(told(off("always", silence))) is lost


@pytest.mark.parametrize("power", ["ignition", "delayed"])
@pytest.mark.parametrize(("speed", "lost"), [(0.0, False), (4.0, False), (9.0, False), (10.0, True), (40.0, True)])
def test_kit_that_lives_by_the_ignition_is_switched_off_unless_it_moves(power: str, speed: float, lost: bool) -> None:
    assert bool(told(off(power, 300, speed=speed, on_m=3400))) is lost


@pytest.mark.parametrize(("on_m", "lost"), [(0, False), (300, False), (1340, False), (1360, True)])
def test_who_rolled_at_the_last_poll_and_was_parked_there_has_lost_nothing(on_m: float, lost: bool) -> None:
    """It stopped and was switched off before the next poll: it is found again where it was heard last."""
    assert bool(told(off("ignition", 300, speed=40.0, on_m=on_m))) is lost


@pytest.mark.parametrize(
    ("first_fix_s", "speed", "on_m", "lost"),
    [(10, 40, 2000, True), (40, 40, 2000, True), (60, 40, 2000, False), (10, 140, 2900, False), (10, 140, 3100, True)],
)
def test_who_was_parked_and_drives_off_before_it_is_found_has_lost_nothing(
    first_fix_s: int, speed: float, on_m: float, lost: bool
) -> None:
    """While its box boots, and as fast as it is found (a quiet life, at a garage's mouth)."""
    story = kit("ignition")
    story.do(Born("box", "00000000000000aa", 1, "m", 0, "", "b1"), 0)
    drive(story, range(0, 300, 10), agents=("box",))
    quiet(story, range(310, 900, 10))
    start(story, 900)
    there = (HOSPITAL[0] + on_m / 111_195, HOSPITAL[1])
    drive(story, range(900 + first_fix_s, 1200, 10), agents=("box",), at_place=there, speed=speed)
    assert bool(told(story)) is lost


@pytest.mark.parametrize(("without_fix_s", "lost"), [(0, True), (10, False), (60, False)])
def test_who_had_no_fix_any_more_at_its_last_word_was_not_seen_to_move(without_fix_s: int, lost: bool) -> None:
    """Found by a quiet life: it stood for a minute under a roof, and that it drove was a word of before."""
    story = kit("ignition")
    story.do(Born("box", "00000000000000aa", 1, "m", 0, "", "b1"), 0)
    drive(story, range(0, 300, 10), agents=("box",))
    drive(story, range(300, 300 + without_fix_s, 10), speed=None, agents=("box",))
    quiet(story, range(300 + without_fix_s, 900, 10))
    start(story, 900)
    drive(story, range(910, 1200, 10), agents=("box",), at_place=(HOSPITAL[0] + 0.03, HOSPITAL[1]))
    assert bool(told(story)) is lost


def test_a_start_that_is_told_late_takes_no_later_ones_place() -> None:
    """Found by a quiet life: the collector was away over two starts, and the first one was taken for the last."""
    story = kit("ignition")
    story.do(Born("box", "00000000000000aa", 1, "m", 0, "", "b1"), 0)
    drive(story, range(0, 300, 10), agents=("box",))
    story.miss("box", 3000)
    story.do(Born("box", "00000000000000cc", 1, "m", 0, "", "b3"), 3000)
    for run, at, boots in (("00000000000000bb", 1500, 2), ("00000000000000cc", 2990, 3)):
        body = {"version": "1", "ended": "killed", "booted": True, "boots": boots}
        event = Happened(RecordName("box", run, 0), "backlog", T0 + at * 1000, "started", "", body)
        story.do(event, 3001)
    awaited = story.vehicle.expectation.restarts["box"]
    assert (awaited.run, awaited.started_ms) == ("00000000000000cc", T0 + 2_990_000)


def test_a_silence_ends_when_it_is_known_whether_power_was_lost() -> None:
    """Or its ticket closes, is opened again and is renamed: three notifications of one loss."""
    story = off("ignition", 300, speed=40.0, on_m=3400)
    told_of = [(change.problem.key.fault, change.news) for change in story.changes()]
    assert told_of.index(("power_lost", "began")) < told_of.index(("vehicle_silent", "over"))
    assert ("power_lost", "explains") in told_of
    (silent,) = [one for one in story.problems() if one.key.fault == "vehicle_silent"]
    assert silent.over_event_ms == T0 + 600_000


def test_who_has_no_fix_after_the_start_has_lost_nothing_that_anybody_knows() -> None:
    story = kit("ignition")
    story.do(Born("box", "00000000000000aa", 1, "m", 0, "", "b1"), 0)
    drive(story, range(0, 310, 10), agents=("box",))
    quiet(story, range(310, 600, 10))
    start(story, 600)
    drive(story, range(610, 1400, 10), agents=("box",), speed=None)
    drive(story, range(1400, 1500, 10), agents=("box",), at_place=(HOSPITAL[0] + 1, HOSPITAL[1]))
    assert told(story) == []


def test_always_fed_kit_that_dies_on_the_road_is_told_however_short() -> None:
    assert told(off("always", 60, speed=40.0)) == [("power", 300)]


@pytest.mark.parametrize(
    "how",
    [
        {"goodbye": "stop"},
        {"goodbye": "parked"},
        {"ended": "stop"},
        {"ended": "failed"},
        {"boot": "b1", "booted": False},
    ],
    ids=str,
)
def test_an_end_that_was_one_and_an_agent_that_was_killed_are_no_loss(how: dict[str, object]) -> None:
    assert told(off("always", 400, **how)) == []  # type: ignore[arg-type]


def test_a_box_that_forgets_how_it_ended_is_known_by_its_boot() -> None:
    assert told(off("always", 400, ended=None)) == [("power", 300)]


def test_it_is_over_with_an_acknowledgement_and_not_before() -> None:
    story = off("always", 400)
    drive(story, range(1000, 1300, 10), agents=("box",))
    (key,) = [key for key in story.vehicle.problems if key.fault == "power_lost"]
    story.do(Acknowledged(key, "li"), 1300)
    assert not [one for one in story.active() if one.startswith("power_lost")]


def test_it_explains_nothing() -> None:
    story = off("always", 400)
    drive(story, range(900, 1400, 10), camera=False, agents=("box",))
    assert "camera_down/camera-1" in story.roots()


def test_in_the_workshop_nothing_is_lost() -> None:
    story = kit("always")
    story.do(Born("box", "00000000000000aa", 1, "m", 0, "", "b1"), 0)
    drive(story, range(0, 300, 10), agents=("box",))
    story.do(Acted("workshop", "li"), 300)
    quiet(story, range(310, 700, 10))
    start(story, 700)
    drive(story, range(710, 1000, 10), agents=("box",))
    assert told(story) == []


def test_a_second_loss_is_noted_on_the_first() -> None:
    story = off("always", 400)
    quiet(story, range(1000, 1500, 10))
    run = "00000000000000cc"
    story.do(Born("box", run, 1, "m", 0, "", "b3"), 1500)
    body = {"ended": "killed", "booted": True}
    story.do(Happened(RecordName("box", run, 0), "live", T0 + 1_500_000, "started", "", body), 1501)
    drive(story, range(1510, 1800, 10), agents=("box",))
    assert len(told(story)) == 1
    assert len([one for one in story.news("noted") if one.problem.key.fault == "power_lost"]) == 1
