"""A site's MQTT session without a broker: what of what comes in wakes the owner."""

from __future__ import annotations

import asyncio

import pytest

from collector.config import Timings
from collector.site.bell import Bell
from collector.site.quotas import Quotas
from collector.site.session import Session
from collector.site.status import Status
from telemetry.fleet import Broker
from telemetry.intervals import Intervals
from telemetry.mqtt import Message
from telemetry.paho_mqtt import Connection


@pytest.mark.parametrize(("cpu_s", "wakes"), [(0.5, True), (0.0, False)], ids=["taken", "beyond a quota"])
def test_what_is_to_be_dealt_with_wakes_the_owner(cpu_s: float, wakes: bool) -> None:
    async def scene() -> float:
        loop = asyncio.get_running_loop()
        bell = Bell(loop)
        session = Session(
            "north",
            Broker(host="127.0.0.1"),
            Connection,
            Timings(),
            Quotas(cpu_s=cpu_s),
            lambda: 1_790_000_000_000,
            bell,
            Status(),
            1,
            lambda vehicle, agent, run: (Intervals(), Intervals()),
        )
        topic = "kitwatch/north/up/amb-1/router/live"
        session._on_message(Message(topic, bytes(12), 1, retain=False, duplicate=False, mid=1))
        assert len(session.turns) == wakes
        assert session.waiting == 1 - (not wakes), "what is refused is acknowledged at once"
        began_s = loop.time()
        await bell.wait(30 if wakes else 0.05)
        return loop.time() - began_s

    waited_s = asyncio.run(scene())
    assert waited_s < 20 if wakes else waited_s >= 0.05
