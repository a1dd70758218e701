"""Asking the centre for the time over one connection; ``agent.clock`` says what answers are worth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.clock import ClockKeeper, TimeQuestions
from agent.config import Waits
from telemetry.message import Time
from telemetry.records import Clock


class CentreTime:
    """Asks whenever the centre is there (``usable``) and its time is of use to the keeper.

    ``ask`` sends a question that names a monotonic time; ``on_clock`` gets a clock that an answer made.
    """

    def __init__(
        self,
        keeper: ClockKeeper,
        waits: Waits,
        *,
        now_ms: Callable[[], int],
        usable: Callable[[], bool],
        ask: Callable[[int], None],
        on_clock: Callable[[Clock], None],
    ) -> None:
        self._keeper = keeper
        self._waits = waits
        self._now_ms = now_ms
        self._usable = usable
        self._send = ask
        self._on_clock = on_clock
        self._questions: TimeQuestions | None = None
        self._answer_came = asyncio.Event()
        self._look = asyncio.Event()

    def look(self) -> None:
        """Look again whether to ask: the centre has appeared."""
        self._look.set()

    def answer(self, said: Time) -> None:
        """Take an answer that has just come."""
        if self._questions is not None and self._questions.answer(said, self._now_ms()):
            self._answer_came.set()

    async def run(self) -> None:
        """Ask, now and whenever it is time again, until cancelled. Raises MqttError when the connection has ended."""
        while True:
            pause = self._waits.ask_repeat
            if self._wanted():
                await self._ask_until_answered()
                if self._wanted():
                    pause = self._waits.clock_patience  # it does not know either, or is not to be believed
            try:
                async with asyncio.timeout(pause):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()

    def _wanted(self) -> bool:
        return self._usable() and self._keeper.wants_centre(self._now_ms())

    async def _ask_until_answered(self) -> None:
        """Ask in rounds of four until an answer is good enough, or patience has made do with what came or nothing."""
        began_ms = self._now_ms()
        patience_ms = round(self._waits.clock_patience * 1000)
        questions = TimeQuestions(began_ms, patience_ms)
        self._questions = questions
        try:
            while self._wanted():
                for _ in range(TimeQuestions.COUNT):
                    await self._ask(questions)
                best = questions.best(self._now_ms()) or questions.settle()
                if best is not None:
                    clock = self._keeper.offer("centre", best.mono_ms, best.wall_ms, best.uncertainty_ms)
                    if clock is not None:
                        self._on_clock(clock)
                if best is not None or self._now_ms() - began_ms > patience_ms:
                    return
                await asyncio.sleep(self._waits.ask_repeat)
        finally:
            self._questions = None

    async def _ask(self, questions: TimeQuestions) -> None:
        asked_ms = self._now_ms()
        self._answer_came.clear()
        questions.ask(asked_ms)
        self._send(asked_ms)
        try:
            async with asyncio.timeout(self._waits.ask):
                await self._answer_came.wait()
        except TimeoutError:
            return
        while self._now_ms() == asked_ms:  # noqa: ASYNC110 - the next question needs another name
            await asyncio.sleep(0.001)
