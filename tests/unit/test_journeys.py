"""What a vehicle's words show of places: passes, losses that its backlog covers, silences that ended with a boot."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from collector.core import journeys
from collector.core.journeys import Booted, Finding, Journey, Lost, Passed
from collector.core.places import cell_of

T0 = 1_790_000_000_000
STEP = 0.004
"""Degrees of latitude, 440 m: the next cell but none of the same."""


def cell(place: int) -> str:
    return cell_of(31.2 + STEP * place, 121.4)


class Drive:
    """One vehicle that speaks every ten seconds; times in seconds. Between two words it may go through JSON."""

    def __init__(self, *, pace_s: int = 10) -> None:
        self.journey = Journey()
        self.found: list[Finding] = []
        self.boot = "boot-1"
        self.listening: int | None = T0 - 1_000_000
        self.pace_s = pace_s

    def live(self, at: float, place: int | None, *, came: float | None = None, agent: str = "box") -> None:
        self.journey = msgspec.json.decode(msgspec.json.encode(self.journey), type=Journey)
        now = T0 + round(1000 * (at if came is None else came))
        time = T0 + round(1000 * at)
        fixes = [] if place is None else [(time, 31.2 + STEP * place, 121.4)]
        self.found += journeys.live(
            self.journey, agent, self.boot, now, (time, time), fixes, self.listening, 1000 * self.pace_s
        )

    def stay(self, start: int, end: int, place: int | None) -> None:
        for at in range(start, end, 10):
            self.live(at, place)

    def backlog(self, start: int, end: int, came: int, step: int = 10) -> None:
        journeys.backlog(self.journey, (T0 + 1000 * at for at in range(start, end, step)), T0 + 1000 * came)

    def settle(self, at: int, explained: Callable[[int, int], bool] = lambda since, until: False) -> list[Finding]:
        return journeys.settle(self.journey, T0 + 1000 * at, explained)


def tunnel(drive: Drive, *, lasts: int = 300, covered: bool = True) -> int:
    """Lost in cell 1 at 200 s; return when it is back."""
    drive.stay(0, 100, 0)
    drive.stay(100, 210, 1)
    back = 200 + lasts
    drive.stay(back, back + 60, 3)
    if covered:
        drive.backlog(210, back, back + 60)
    return back


def test_leaving_a_cell_is_a_pass_of_it() -> None:
    drive = Drive()
    for place in range(4):
        drive.stay(100 * place, 100 * place + 100, place)
    assert [finding.cell for finding in drive.found] == [cell(0), cell(1), cell(2)]
    assert drive.found[0] == Passed(cell(0), T0 + 100_000)


@pytest.mark.parametrize(
    ("fault", "began", "ended", "found"),
    [
        ("sim_absent", 0, None, True),
        ("sim_absent", 0, 90, False),
        ("power_lost", 100, None, True),
        ("power_lost", 0, None, False),
        ("camera_down", 100, None, False),
    ],
)
def test_a_loss_of_power_explains_no_later_loss_of_contact(
    fault: str, began: int, ended: int | None, found: bool
) -> None:
    """Found by a quiet life: it stays until a person has seen it, and no hole was learnt of the vehicle meanwhile."""
    ended_ms = None if ended is None else 1000 * ended
    assert journeys.explains(fault, 1000 * began, ended_ms, 100_000, 400_000) is found


def test_a_fix_that_scatters_over_an_edge_is_one_pass_in_ten_minutes() -> None:
    drive = Drive()
    for at in range(0, 590, 10):
        drive.live(at, at // 10 % 2)
    assert len(drive.found) == 2
    for at in range(590, 3600, 10):
        drive.live(at, at // 10 % 2)
    assert len(drive.found) == 2, "as long as it stands there"
    drive.stay(3600, 4190, 2)
    drive.stay(4190, 4300, 0)
    drive.stay(4300, 4310, 1)
    assert [finding.cell for finding in drive.found][2:] == [cell(2), cell(0)]


def test_a_loss_that_the_backlog_covers_teaches_the_cell_where_it_began() -> None:
    drive = Drive()
    back = tunnel(drive)
    assert drive.settle(back + 60 + 599) == [], "what the backlog tells is judged first"
    assert drive.settle(back + 60 + 600) == [Lost(cell(1), T0 + 200_000, T0 + 500_000, 300)]
    assert drive.settle(back + 10_000) == [], "once"
    assert Passed(cell(1), T0 + 500_000) not in drive.found, "a cell in which contact was lost was not passed"


@pytest.mark.parametrize(("lasts", "teaches"), [(90, True), (600, True), (7200, True), (7300, False)])
def test_a_backlog_that_comes_before_the_first_live_record_covers_the_loss_too(lasts: int, teaches: bool) -> None:
    """Found by a quiet life: who is connected again sends what waited at once, and polls ten seconds later."""
    drive = Drive()
    drive.stay(0, 100, 0)
    drive.stay(100, 210, 1)
    back = 200 + lasts
    drive.backlog(210, back - 9, back - 5)
    drive.stay(back, back + 60, 3)
    expected = [Lost(cell(1), T0 + 200_000, T0 + 1000 * back, lasts)] if teaches else []
    assert drive.settle(back + 600) == expected
    assert not drive.journey.early


def test_an_early_backlog_of_before_covers_nothing() -> None:
    drive = Drive()
    drive.stay(0, 210, 1)
    drive.backlog(0, 200, 495)
    drive.stay(500, 560, 3)
    assert drive.settle(500 + 3600) == []


def test_a_silence_that_no_backlog_covers_teaches_nothing() -> None:
    drive = Drive()
    back = tunnel(drive, covered=False)
    assert drive.settle(back + 3600) == []
    assert drive.journey.waiting
    assert drive.settle(back + 72 * 3600) == []
    assert not drive.journey.waiting


@pytest.mark.parametrize(("until", "covered"), [(440, True), (430, False)])
def test_most_of_it_must_be_covered(until: int, covered: bool) -> None:
    """Of ten minutes in five parts four suffice."""
    drive = Drive()
    back = tunnel(drive, lasts=600, covered=False)
    drive.backlog(210, 200 + until // 110 * 120 - 10, back + 60)
    assert bool(drive.settle(back + 3600)) is covered


def test_a_fault_that_explains_it_teaches_nothing() -> None:
    drive = Drive()
    back = tunnel(drive)
    asked = []

    def explained(since: int, until: int) -> bool:
        asked.append((since - T0, until - T0))
        return True

    assert drive.settle(back + 3600, explained) == []
    assert asked == [(200_000, 500_000)]
    assert not drive.journey.waiting


@pytest.mark.parametrize(("lasts", "teaches"), [(70, False), (80, True), (7_200, True), (7_210, False)])
def test_from_a_minute_beside_its_pace_to_two_hours(lasts: int, teaches: bool) -> None:
    drive = Drive()
    back = tunnel(drive, lasts=lasts)
    assert bool(drive.settle(back + 3600)) is teaches


def test_without_a_fix_of_the_last_minute_nobody_knows_where() -> None:
    for age, teaches in ((60, True), (70, False)):
        drive = Drive()
        drive.stay(0, 100, 0)
        drive.stay(100, 100 + age, None)
        drive.stay(500, 560, 3)
        drive.backlog(100 + age, 500, 560)
        assert bool(drive.settle(3600)) is teaches, age


@pytest.mark.parametrize(("since", "teaches"), [(100, True), (201, False), (None, False)])
def test_our_own_deafness_is_no_loss(since: int | None, teaches: bool) -> None:
    drive = Drive()
    drive.stay(0, 100, 0)
    if since == 100:
        drive.listening = T0 + 100_000
    drive.stay(100, 210, 1)
    drive.listening = None if since is None else T0 + 1000 * since
    drive.stay(500, 560, 3)
    drive.backlog(210, 500, 560)
    assert bool(drive.settle(3600)) is teaches


@pytest.mark.parametrize("by", [-660, 660])
def test_where_our_clock_is_set_in_a_hole_the_kit_s_own_tells_how_long_it_was(by: int) -> None:
    """Found by quiet lives: of a pass of 25 minutes 14 were learnt, or nothing, and the next one was told."""
    drive = Drive()
    drive.stay(0, 100, 0)
    drive.stay(100, 210, 1)
    drive.listening = T0 + 1000 * (800 + by)
    for at in range(1500, 1560, 10):
        drive.live(at, 3, came=at + by)
    drive.backlog(210, 1500, 1560 + by)
    (lost,) = drive.settle(3600 + by)
    assert lost == Lost(cell(1), T0 + 200_000, T0 + 1_500_000, 1300)


def test_what_waited_for_us_at_the_broker_is_no_loss() -> None:
    drive = Drive()
    drive.stay(0, 100, 0)
    drive.stay(100, 210, 1)
    drive.listening = T0 + 500_000
    for at in range(210, 510, 10):
        drive.live(at, 2, came=505)
    drive.backlog(210, 500, 560)
    assert drive.settle(3600) == []


def test_a_goodbye_is_no_loss() -> None:
    drive = Drive()
    drive.stay(0, 210, 1)
    journeys.goodbye(drive.journey)
    drive.stay(500, 560, 3)
    drive.backlog(210, 500, 560)
    assert drive.settle(3600) == []
    drive.stay(560, 600, 3)
    drive.stay(900, 960, 4)
    drive.backlog(600, 900, 960)
    assert len(drive.settle(7200)) == 1, "it was said of the first silence only"


def test_a_second_agent_that_speaks_on_hears_no_silence() -> None:
    drive = Drive()
    drive.stay(0, 210, 1)
    for at in range(210, 500, 10):
        drive.live(at, None, agent="tablet")
    drive.stay(500, 560, 3)
    drive.backlog(210, 500, 560)
    assert drive.settle(3600) == []


@pytest.mark.parametrize(("lasts", "counts"), [(170, False), (180, True), (8 * 3600, True)])
def test_a_silence_that_ended_with_a_boot_is_a_parking_and_no_loss(lasts: int, counts: bool) -> None:
    """A restart takes two minutes and a half."""
    drive = Drive()
    drive.stay(0, 100, 0)
    drive.stay(100, 300, None)  # into a garage, where it has no fix
    drive.boot = "boot-2"
    drive.stay(290 + lasts, 360 + lasts, None)
    drive.backlog(300, 290 + lasts, 360 + lasts)
    assert drive.found == ([Booted(cell(0), T0 + 1000 * (290 + lasts))] if counts else [])
    assert drive.settle(20 * 3600) == []


def test_two_agents_of_one_boot_are_one_parking() -> None:
    drive = Drive()
    for agent in ("box", "tablet"):
        drive.live(0, 0, agent=agent)
    drive.boot = "boot-2"
    for agent in ("box", "tablet"):
        drive.live(3600, 0, agent=agent)
    assert drive.found == [Booted(cell(0), T0 + 3_600_000)]


def test_what_is_remembered_is_bounded() -> None:
    drive = Drive()
    for n in range(100):
        drive.stay(1000 * n, 1000 * n + 100, n)
        drive.stay(1000 * n + 100, 1000 * n + 200, n + 50)
    assert len(msgspec.json.encode(drive.journey)) < 2_000
    drive.backlog(110_000, 300_000, 300_000)
    assert len(msgspec.json.encode(drive.journey)) < 15_000, "two hours of ten seconds each"
