"""Which clock is noted when, and what that does to the times of samples (field note T7)."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from agent.clock import ClockKeeper, TimeQuestions, sane
from agent.machine import Machine
from telemetry.message import Time
from telemetry.records import Clock, clock_for

HOUR = 3_600_000
YEAR = 365 * 86_400_000
BOOT = 1_795_600_000_000
"""True UTC of the boot: 2026-11-25T09:46:40Z."""


def true_ms(mono_ms: int) -> int:
    return BOOT + mono_ms


def placed(clocks: Sequence[Clock | None], mono_ms: int) -> int:
    clock = clock_for([clock for clock in clocks if clock], mono_ms)
    assert clock is not None
    return clock.place(mono_ms)


def test_a_box_that_starts_in_1970_has_no_clock_until_someone_knows() -> None:
    keeper = ClockKeeper()
    assert keeper.offer("rtc", 5_000, 5_000, 300_000) is None  # 1970-01-01T00:00:05Z
    assert keeper.wall_ms(5_000) is None
    assert keeper.wants_centre(5_000)
    first = keeper.offer("ntp", 60_000, true_ms(60_000), 3)  # the jump of 56 years
    assert first == Clock(0, 60_000, true_ms(60_000), "ntp", 3)
    assert placed([first], 5_000) == true_ms(5_000)  # what came before is placed right, too
    assert not keeper.wants_centre(60_000)


def test_a_step_back_by_an_hour_moves_nothing() -> None:
    keeper = ClockKeeper()
    first = keeper.offer("ntp", 1000, true_ms(1000), 5)
    # somebody sets the clock: the kernel then calls it unsynchronised, which makes it an RTC at best
    assert keeper.offer("rtc", 2000, true_ms(2000) - HOUR, 300_000) is None
    assert keeper.offer("rtc", 3 * HOUR, true_ms(3 * HOUR) - HOUR, 300_000) is None
    assert keeper.current == first
    assert keeper.wall_ms(3 * HOUR) == true_ms(3 * HOUR)


def test_steps_of_ten_years_of_an_rtc_that_nobody_vouches_for() -> None:
    for step in (-10 * YEAR, 10 * YEAR, 30 * YEAR, -56 * YEAR):
        keeper = ClockKeeper()
        keeper.offer("rtc", 1000, true_ms(1000), 300_000)
        assert keeper.offer("rtc", 2000, true_ms(2000) + step, 300_000) is None
        assert keeper.wall_ms(2000) == true_ms(2000)


def test_an_rtc_ten_years_ahead_is_superseded_for_all_that_is_still_at_home() -> None:
    keeper = ClockKeeper()
    wrong = keeper.offer("rtc", 1000, true_ms(1000) + 10 * YEAR, 300_000)
    right = keeper.offer("centre", HOUR, true_ms(HOUR), 20)
    assert right is not None
    for mono_ms in (0, 500, 1000, HOUR - 1, HOUR, 2 * HOUR):
        assert placed([wrong, right], mono_ms) == true_ms(mono_ms)


def test_trust_goes_up_and_a_lesser_source_is_not_heard() -> None:
    keeper = ClockKeeper()
    noted = [
        keeper.offer("rtc", 1000, true_ms(1000), 300_000),
        keeper.offer("centre", 2000, true_ms(2000) + 30, 50),
        keeper.offer("ntp", 3000, true_ms(3000), 2),
        keeper.offer("centre", 4000, true_ms(4000) + 5000, 50),  # a centre with a wrong clock
        keeper.offer("gnss", 5000, true_ms(5000) - 150, 500),
    ]
    assert [clock.source if clock else None for clock in noted] == ["rtc", "centre", "ntp", None, "gnss"]
    # GNSS says nothing against NTP's time within what it may err itself: no point moves
    assert keeper.wall_ms(6000) == true_ms(6000)
    assert keeper.current is not None
    assert keeper.current.uncertainty_ms == 2


def test_a_receiver_whole_seconds_off_moves_no_clock_that_ntp_holds() -> None:
    keeper = ClockKeeper()
    held = keeper.offer("ntp", 1000, true_ms(1000), 5)
    for off in (18_000, -18_000, 1000, 37_000):
        assert keeper.offer("gnss", 2000, true_ms(2000) + off, 500) is None
    assert keeper.current == held
    # Right once, it vouches for NTP's time; then it is restarted cold and prints GPS time.
    assert keeper.offer("gnss", 3000, true_ms(3000) + 100, 500) is not None
    keeper.offer("ntp", HOUR, true_ms(HOUR), 5)
    assert keeper.offer("gnss", HOUR + 1000, true_ms(HOUR + 1000) + 18_000, 500) is None
    assert keeper.wall_ms(HOUR + 2000) == true_ms(HOUR + 2000)
    # NTP has been silent for an hour: it holds no clock any more.
    assert keeper.offer("gnss", 3 * HOUR, true_ms(3 * HOUR) + 18_000, 500) is not None


def test_a_receiver_alone_says_what_it_may_be_off_until_it_is_known_better() -> None:
    keeper = ClockKeeper()
    cold = keeper.offer("gnss", 60_000, true_ms(60_000) + 18_000, 18_000)
    assert cold is not None
    assert cold.uncertainty_ms == 18_000
    assert keeper.offer("gnss", 120_000, true_ms(120_000), 18_000) is None  # the leap seconds have come: within it
    warm = keeper.offer("gnss", 960_000, true_ms(960_000), 500)
    assert warm == Clock(1, 960_000, true_ms(960_000), "gnss", 500)
    assert keeper.offer("gnss", 961_000, true_ms(961_000), 500) is None


def test_ntp_is_heard_over_a_receiver_that_is_still_cold() -> None:
    keeper = ClockKeeper()
    keeper.offer("gnss", 60_000, true_ms(60_000) + 18_000, 18_000)
    noted = keeper.offer("ntp", 70_000, true_ms(70_000), 5)
    assert noted == Clock(1, 70_000, true_ms(70_000), "ntp", 5)
    assert keeper.offer("centre", 71_000, true_ms(71_000) + 2000, 50) is None


def test_a_clock_that_is_off_by_more_than_200_ms_is_replaced() -> None:
    keeper = ClockKeeper()
    keeper.offer("ntp", 1000, true_ms(1000), 5)
    assert keeper.offer("ntp", 2000, true_ms(2000) + 204, 5) is None
    replaced = keeper.offer("ntp", 3000, true_ms(3000) + 206, 5)
    assert replaced == Clock(1, 3000, true_ms(3000) + 206, "ntp", 5)


def test_a_lesser_source_is_heard_when_the_better_one_has_been_silent_for_an_hour() -> None:
    keeper = ClockKeeper()
    keeper.offer("gnss", 0, true_ms(0), 100)
    drifted = 2 * HOUR + 400  # the crystal is slow: 400 ms more have passed
    assert keeper.offer("ntp", HOUR - 1000, true_ms(HOUR) + 400, 5) is None
    assert keeper.wants_centre(2 * HOUR)
    noted = keeper.offer("ntp", 2 * HOUR, true_ms(drifted), 5)
    assert noted is not None
    assert (noted.source, noted.number) == ("ntp", 1)


def test_a_lesser_source_that_agrees_confirms_a_silent_one_for_an_hour() -> None:
    keeper = ClockKeeper()
    keeper.offer("ntp", 0, true_ms(0), 5)
    assert keeper.wants_centre(2 * HOUR)
    assert keeper.offer("centre", 2 * HOUR, true_ms(2 * HOUR) + 30, 40) is None
    assert not keeper.wants_centre(2 * HOUR + 1)  # it is not asked over and over
    assert keeper.wants_centre(4 * HOUR)


def test_confirmation_keeps_a_clock_fresh() -> None:
    keeper = ClockKeeper()
    keeper.offer("centre", 0, true_ms(0), 100)
    for hour in range(1, 10):
        assert keeper.offer("centre", hour * HOUR // 2, true_ms(hour * HOUR // 2) + 20, 100) is None
    assert not keeper.wants_centre(5 * HOUR)
    assert keeper.wants_centre(6 * HOUR)


def test_a_gps_week_rollover_is_no_time() -> None:
    keeper = ClockKeeper()
    weeks = 1024 * 7 * 86_400_000
    assert keeper.offer("gnss", 0, true_ms(0) - weeks, 100) is None
    assert keeper.offer("gnss", 0, true_ms(0) + 2 * weeks, 100) is None
    assert not sane(0)


def test_a_run_goes_on_with_the_clock_of_the_run_before() -> None:
    keeper = ClockKeeper([Clock(0, 5000, true_ms(5000), "ntp", 4)])
    assert keeper.offer("ntp", 9000, true_ms(9000) + 3, 4) is None
    assert keeper.wall_ms(9000) == true_ms(9000)


# --- asking the centre ------------------------------------------------------------------------------------------------


def ask(questions: TimeQuestions, at_ms: int, way_there: int, held: int, way_back: int) -> int:
    """Let a question travel; return when its answer came."""
    questions.ask(at_ms)
    received = at_ms + way_there
    arrived = received + held + way_back
    assert questions.answer(Time(at_ms, true_ms(received), true_ms(received + held)), arrived)
    return arrived


def test_the_best_of_four_counts_and_what_the_centre_held_it_does_not() -> None:
    questions = TimeQuestions(0)
    ask(questions, 0, 400, 3000, 20)
    ask(questions, 4000, 30, 2000, 20)
    ask(questions, 7000, 300, 0, 300)
    assert questions.best(8000) is None  # a fourth may be better still
    now = ask(questions, 8000, 25, 10, 65)
    best = questions.best(now)
    assert best is not None
    assert best.round_trip_ms == 50
    assert best.uncertainty_ms == 25
    assert abs(best.wall_ms - true_ms(best.mono_ms)) <= best.uncertainty_ms


def test_slow_answers_count_only_when_patience_is_over() -> None:
    questions = TimeQuestions(0, patience_ms=30_000)
    for number in range(4):
        ask(questions, number * 3000, 2000, 0, 0)
    assert questions.best(29_000) is None
    assert questions.settle() is None
    best = questions.best(30_000)
    assert best is not None
    assert best.uncertainty_ms == 1000
    assert abs(best.wall_ms - true_ms(best.mono_ms)) == 1000  # all of the trip was one way: the error is half of it


def test_answers_to_questions_of_others_are_not_ours() -> None:
    questions = TimeQuestions(0)
    questions.ask(100)
    assert not questions.answer(Time(99, BOOT, BOOT), 200)
    assert questions.answer(Time(100, BOOT, BOOT), 200)
    assert not questions.answer(Time(100, BOOT, BOOT), 300)  # the same twice


@given(st.lists(st.tuples(*[st.integers(0, 5000)] * 3), min_size=1, max_size=6))
def test_the_truth_is_always_within_the_uncertainty(trips: list[tuple[int, int, int]]) -> None:
    questions = TimeQuestions(0, patience_ms=0)
    now = 0
    for trip in trips:
        now = ask(questions, now + 1, *trip)
    best = questions.best(now)
    assert best is not None
    assert abs(best.wall_ms - true_ms(best.mono_ms)) <= best.uncertainty_ms


def test_this_machine_tells_its_clocks() -> None:
    machine = Machine()
    before = machine.monotonic()
    wall = machine.wall()
    assert before * 1000 - 1 <= wall.mono_ms <= machine.monotonic() * 1000 + 1
    assert wall.wall_ms > 0
    assert len(machine.boot()) == 32
    assert machine.identity() == Machine().identity()
