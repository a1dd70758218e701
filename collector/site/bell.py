"""What wakes a site's loop: one future and one timer.

An ``asyncio.Event`` under ``wait_for`` costs a task and five turns of the loop each time, and at the rate of a large
site every message wakes the loop by itself.
"""

from __future__ import annotations

import asyncio


class Bell:
    """Rung now or in a moment; whoever waits goes on with the first ring."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rung = False
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Future[None] | None = None

    @property
    def will_ring(self) -> bool:
        """Whether it is set to ring in a moment."""
        return self._timer is not None

    def ring(self) -> None:
        """Ring now."""
        self.silence()
        self._rung = True
        if self._waiting is not None:
            _settle(self._waiting)

    def ring_in(self, seconds: float) -> None:
        """Ring in so many seconds, unless it rings before."""
        if seconds <= 0:
            self.ring()
        elif self._timer is None and not self._rung:
            self._timer = self._loop.call_later(seconds, self.ring)

    def silence(self) -> None:
        """Forget that it has rung, or would."""
        self._rung = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

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
