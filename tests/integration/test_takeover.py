"""Two collectors on PostgreSQL and Mosquitto: one is killed or stopped under load, the other goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from collector.core.rules.files import load_rules
from collector.site.in_force import InForce
from collector.site.owner import SiteOwner
from collector.store.store import Store
from telemetry.fleet import Broker
from telemetry.intervals import Intervals
from telemetry.message import Up
from tests.integration.test_site import COLLECTOR, FLEET, RUN, SCHEMA, SITE, TIMINGS, Agent, now_ms, taken, until
from tests.services.mosquitto import mosquitto


@pytest.mark.parametrize(("how", "limit_s"), [(signal.SIGKILL, 10), (signal.SIGSTOP, 20)])
def test_the_other_takes_over_in_time_and_nothing_is_lost_or_doubled(
    postgres_url: str, tmp_path: Path, how: signal.Signals, limit_s: float
) -> None:
    store = Store.open(postgres_url)
    store.migrate()
    told = (tmp_path / "first.log").open("wb")

    async def scene(port: int) -> int:
        command = [sys.executable, "-c", COLLECTOR, postgres_url, str(port)]
        first = subprocess.Popen(command, stdout=told, stderr=told, cwd=os.getcwd())  # noqa: ASYNC220 - kill -9 needs it
        stop = asyncio.Event()
        second = SiteOwner(InForce(SITE, FLEET, load_rules()), Broker(host="127.0.0.1", port=port), store, TIMINGS)
        task: asyncio.Task[Any] | None = None
        try:
            async with Agent(port) as agent:
                await until(lambda: any(isinstance(p, Up) and p.epoch == 1 for p in agent.presences), 60)
                task = asyncio.create_task(second.run(stop))
                await agent.birth()
                await agent.schema(now_ms(), SCHEMA)
                sent = 0
                for _ in range(100):
                    await agent.live(sent, [-80.0, "ready"])
                    sent += 1
                first.send_signal(how)
                began = time.monotonic()
                while second.status.epoch != 2 or not second.status.connected:
                    await agent.live(sent, [-80.0, "ready"])
                    sent += 1
                    await asyncio.sleep(0.05)
                    assert time.monotonic() - began < limit_s, second.status
                await agent.birth(session=2)
                await until(lambda: agent.receipt().birth == (RUN, 2))
                for number in Intervals([(0, sent - 1)]).minus(Intervals(agent.done() or [])):
                    await agent.live(number, [-80.0, "ready"])
                first.send_signal(signal.SIGCONT)
                for _ in range(100):  # the one that was stopped is back, and must not disturb
                    await agent.live(sent, [-80.0, "ready"])
                    sent += 1
                    await asyncio.sleep(0.03)
                await until(lambda: agent.done() == [(0, sent - 1)], why=lambda: (sent, agent.receipt(), second.status))
                assert (second.status.epoch, second.status.counts["connects"]) == (2, 1), "no ping-pong"
                last = agent.presences[-1]
                assert isinstance(last, Up)
                assert last.epoch == 2
                return sent
        finally:
            first.kill()
            first.wait(10)
            stop.set()
            if task is not None:
                await asyncio.wait_for(task, 60)

    with mosquitto(tmp_path / "mosquitto") as broker, told:
        sent = asyncio.run(scene(broker.port))
    assert sorted(taken(store)) == [("router", RUN, n) for n in range(sent)]
    store.close()
