"""What wakes a site's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from collector.site.bell import Bell


def run(test: Callable[[Bell], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(Bell(asyncio.get_running_loop()))

    asyncio.run(main())


async def waited(bell: Bell, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await bell.wait(seconds)
    return loop.time() - begun


def test_it_waits_no_longer_than_asked_and_not_at_all_once_it_has_rung() -> None:
    async def test(bell: Bell) -> None:
        assert 0.01 <= await waited(bell, 0.01) < 30
        bell.ring()
        assert await waited(bell, 60) < 30
        assert 0.01 <= await waited(bell, 0.01) < 30, "one ring wakes once"
        assert await waited(bell, -1) < 30

    run(test)


def test_a_ring_wakes_whoever_waits() -> None:
    async def test(bell: Bell) -> None:
        asyncio.get_running_loop().call_later(0.01, bell.ring)
        assert await waited(bell, 60) < 30

    run(test)


def test_a_message_costs_two_turns_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that reads it, one in which the waiting task goes on."""

    async def test(bell: Bell) -> None:
        loop = asyncio.get_running_loop()
        turns = 0
        select = loop._selector.select  # type: ignore[attr-defined]

        def counted(timeout: float | None = None) -> object:
            nonlocal turns
            turns += 1
            return select(timeout)

        monkeypatch.setattr(loop._selector, "select", counted)  # type: ignore[attr-defined]
        loop.call_later(0.005, bell.ring)
        await bell.wait(60)
        assert turns <= 2

    run(test)
