"""What wakes a site's loop: one future and one timer.

An ``asyncio.Event`` under ``wait_for`` costs a task and five turns of the loop each time, and at the rate of a large
site every message wakes the loop by itself.
"""

from __future__ import annotations

import asyncio


class Bell:
    """Whoever waits goes on when it is rung."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rung = False
        self._waiting: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake who waits, or who waits next."""
        self._rung = True
        if self._waiting is not None:
            _settle(self._waiting)

    async def wait(self, seconds: float) -> None:
        """Wait until it has rung, at most so many seconds."""
        if not self._rung and seconds > 0:
            self._waiting = waiting = self._loop.create_future()
            timer = self._loop.call_later(seconds, _settle, waiting)
            try:
                await waiting
            finally:
                timer.cancel()
                self._waiting = None
        self._rung = False


def _settle(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
