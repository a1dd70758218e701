"""How often the centre is asked for the time, in virtual hours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.clock import ClockKeeper
from agent.config import Waits
from agent.uplink.centre_time import CentreTime
from telemetry.message import Time
from telemetry.records import Clock
from tests.unit.virtual_time import monotonic, run

BOOT = 1_795_600_000_000
HOUR = 3600.0


class Centre:
    """Answers after ``way`` seconds each way, with a clock that is off by ``off_ms``; or not at all."""

    def __init__(self, *, way: float = 0.02, off_ms: int = 0, silent: bool = False, seconds: float = HOUR) -> None:
        self.way, self.off_ms, self.silent, self.seconds = way, off_ms, silent, seconds
        self.asked: list[float] = []
        self.clocks: list[Clock] = []
        self.keeper = ClockKeeper()
        self.there = True

    def play(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        async def scenario() -> None:
            asking = CentreTime(
                self.keeper,
                Waits(),
                now_ms=lambda: round(monotonic() * 1000),
                usable=lambda: self.there,
                ask=lambda mono_ms: self.ask(asking, mono_ms),
                on_clock=self.clocks.append,
            )
            task = asyncio.create_task(asking.run())
            await asyncio.sleep(self.seconds)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        run(scenario())

    def ask(self, asking: CentreTime, mono_ms: int) -> None:
        self.asked.append(monotonic())
        if self.silent:
            return
        there_ms = BOOT + round((monotonic() + self.way) * 1000) + self.off_ms
        asyncio.get_running_loop().call_later(2 * self.way, asking.answer, Time(mono_ms, there_ms, there_ms))


def test_four_questions_make_a_clock_and_then_it_is_quiet() -> None:
    centre = Centre(seconds=HOUR - 1)
    centre.play()
    assert len(centre.asked) == 4
    (clock,) = centre.clocks
    assert abs(clock.place(0) - BOOT) <= clock.uncertainty_ms <= 21


def test_the_centre_is_asked_again_every_hour() -> None:
    centre = Centre(seconds=10.5 * HOUR)
    centre.play()
    assert len(centre.asked) == 11 * 4
    assert len(centre.clocks) == 1  # it agrees with itself


def test_a_centre_that_does_not_answer_is_not_stormed() -> None:
    centre = Centre(silent=True)
    centre.play()
    assert centre.clocks == []
    assert len(centre.asked) <= 3600 / 8 * 4 / 2  # a round of four takes 8 s; then it rests for about as long


def test_a_centre_that_lives_in_1970_is_neither_believed_nor_stormed() -> None:
    centre = Centre(off_ms=-BOOT)
    centre.play()
    assert centre.clocks == []
    assert len(centre.asked) <= 3600 / 30 * 4 + 4


def test_slow_answers_count_when_patience_is_over() -> None:
    centre = Centre(way=0.9, seconds=100.0)
    centre.play()
    (clock,) = centre.clocks
    assert clock.uncertainty_ms == 900
    assert abs(clock.place(0) - BOOT) <= 900
    assert 25 <= max(centre.asked) < 45
