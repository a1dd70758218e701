"""An event loop whose time jumps to the next timer: hours of waiting take milliseconds. No I/O, no threads in it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout:
            self.loop.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """``now`` is its time in seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run(coroutine: Coroutine[Any, Any, T], now: float = 0.0) -> T:
    """Run a coroutine in virtual time that begins at ``now`` seconds."""
    loop = VirtualLoop(now)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(coroutine)


def monotonic() -> float:
    """Return the running loop's time in seconds."""
    return asyncio.get_running_loop().time()
