"""A site's MQTT session without a broker: when what comes in wakes the owner."""

from __future__ import annotations

import asyncio

from collector.config import Timings
from collector.site.bell import Bell
from collector.site.quotas import Quotas
from collector.site.session import Session
from collector.site.status import Status
from telemetry.fleet import Broker
from telemetry.intervals import Intervals
from telemetry.mqtt import Message
from telemetry.paho_mqtt import Connection


def test_a_message_that_comes_alone_waits_for_no_company() -> None:
    """The first one after a pause wakes the owner at once; those right behind it wait for each other."""

    async def scene() -> None:
        bell = Bell(asyncio.get_running_loop())
        session = Session(
            "north",
            Broker(host="127.0.0.1"),
            Connection,
            Timings(linger_ms=5000),
            Quotas(),
            lambda: 1_790_000_000_000,
            bell,
            Status(),
            1,
            lambda vehicle, agent, run: (Intervals(), Intervals()),
        )
        for number, waits in enumerate((False, True, True)):
            session._on_message(
                Message(
                    f"kitwatch/north/up/amb-{number}/router/live",
                    bytes(12),
                    1,
                    retain=False,
                    duplicate=False,
                    mid=number + 1,
                )
            )
            assert bell.will_ring is waits, number
            if not waits:
                await asyncio.wait_for(bell.wait(60), 30)
        assert len(session.turns) == 3

    asyncio.run(scene())
