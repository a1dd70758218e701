"""A whole centre for pages on which people act: broker, collector, a vehicle that speaks, people who have signed in."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import threading
import time
import zoneinfo
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from playwright.sync_api import Browser, Page

from collector.accounts import accounts, secrets
from collector.accounts.accounts import Author, Scope
from collector.accounts.roles import Role
from collector.config import load_config
from collector.main import Running, run
from collector.read import tickets as read
from collector.store import schema
from collector.store.store import Store
from collector.web import identity
from collector.web.pages import COOKIE
from telemetry.intervals import Intervals
from telemetry.message import Moment, Up
from tests.browser.chromium import Language, Scheme
from tests.integration.test_collector import write
from tests.integration.test_site import SCHEMA, Agent, until
from tests.services.contract import in_force
from tests.services.mosquitto import mosquitto

SITE: Final = "north"
VEHICLES: Final = 6
ROSTER: Final = {
    "wang": {"name": "王建国", "role": "engineer", "phone": "138 0571 0001"},
    "qian": {"name": "钱卫东", "role": "engineer", "phone": "138 0571 0004"},
    "zhao": {"name": "赵敏", "role": "dispatcher", "phone": "138 0571 0002"},
    "sun": {"name": "孙志强", "role": "manager", "phone": "138 0571 0003"},
    "xin": {"name": "信工", "role": "information"},
    "he": {"name": "何师傅", "role": "crew"},
}
QUIET: Final = {"response": [{"after": "900d", "to": ["manager"]}], "solution": [{"after": "900d", "to": ["manager"]}]}
"""No clock goes up while a test looks."""


def _fleet() -> dict[str, Any]:
    kit = {"router": {"devices": {"modem-1": {"kind": "modem", "modem": {"port": "/dev/null"}}}}}
    vehicles = {
        f"amb-{number}": {
            "name": f"急救{number:02}车", "plate": f"浙A·120{number:02}", "phone": f"139057100{number:02}",
            "agents": kit,
        }
        for number in range(1, VEHICLES + 1)
    }  # fmt: skip
    return {"sites": {SITE: {"name": "北区急救中心", "hotline": "0571 8505 0120", "vehicles": vehicles}}}


@dataclass
class Centre:
    """What a test may do with it."""

    running: Running
    broker: int
    loop: asyncio.AbstractEventLoop
    agent: Agent | None = None
    _people: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Of the pages."""
        return self.running.address

    @property
    def store(self) -> Store:
        """The collector's database."""
        return self.running.store

    def does(self, work: Awaitable[Any]) -> Any:
        """Wait for what happens in the collector's loop."""
        return asyncio.run_coroutine_threadsafe(_await(work), self.loop).result(60)

    def break_sim(self) -> str:
        """Let the modem of amb-3 say that its SIM is gone; return the ticket that a rule opens about it."""

        async def say() -> None:
            self.agent = await Agent(self.broker).__aenter__()
            agent = self.agent
            await until(lambda: bool(agent.presences) and isinstance(agent.presences[-1], Up))
            await agent.birth()
            await agent.schema(time.time_ns() // 1_000_000, SCHEMA)
            for number, at_s in enumerate(range(-110, 1, 10)):
                body = [Moment(1_000_000 + at_s * 1000, 0, [[SCHEMA.id(), [-80.0, "absent"]]])]
                await agent.say("live", body, Intervals([(number, number)]))

        self.does(say())
        found = self.until(lambda: read.list_tickets(self.store.engine, state="open", vehicle="amb-3"))
        assert found[0].fault == "sim_absent"
        return str(found[0].id)

    def until(self, what: Callable[[], Any], seconds: float = 60) -> Any:
        """Return what is so, once it is."""
        end = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < end, "not in time"
            time.sleep(0.1)
        return found

    def session(self, name: str, role: Role | str = "") -> str:
        """Sign somebody in, a person of the roster or with a role; return what their cookie holds."""
        if name not in self._people:
            secret, now_ms = f"{secrets.SESSION}{name}", time.time_ns() // 1_000_000
            by = Author("tests", "command", now_ms)
            with self.store.transaction() as connection:
                accounts.add_account(connection, name, "tested-4711", role, Scope(), by)  # type: ignore[arg-type]
                row = {"digest": secrets.digest(secret), "account": name, "created_ms": now_ms, "seen_ms": now_ms}
                connection.execute(schema.session.insert(), row)
            self._people[name] = secret
        return self._people[name]

    def sign_out(self, name: str) -> None:
        """End every session of somebody, as time would."""
        with self.store.transaction() as connection:
            accounts.end_sessions(connection, name)

    def page(
        self,
        browser: Browser,
        who: str,
        path: str = "",
        *,
        role: str = "",
        language: Language = "zh",
        scheme: Scheme = "light",
        size: tuple[int, int] = (1440, 900),
        scripts: bool = True,
    ) -> Page:
        """Open a page as somebody."""
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": size[0], "height": size[1]}, java_script_enabled=scripts
        )
        cookies = {COOKIE: language, identity.COOKIE: self.session(who, role)}
        context.add_cookies([{"name": name, "value": value, "url": self.address} for name, value in cookies.items()])
        page = context.new_page()
        page.goto(f"{self.address}/{path}")
        return page

    @staticmethod
    def number(count: int) -> str:
        """Return the number of this year's ticket of that count."""
        return f"{datetime.datetime.now(zoneinfo.ZoneInfo('Asia/Shanghai')).year}-{count:04d}"

    def whats(self, ticket: str) -> list[str]:
        """Return what happened to a ticket, in order."""
        found = read.ticket(self.store.engine, ticket, SITE)
        assert found is not None
        return [event.what for event in found[1]]

    def state(self, ticket: str) -> tuple[str, int]:
        """Return a ticket's state and round."""
        found = read.ticket(self.store.engine, ticket, SITE)
        assert found is not None
        return found[0].state, found[0].round


async def _await(work: Awaitable[Any]) -> Any:
    return await work


@contextlib.contextmanager
def centre(folder: Path) -> Iterator[Centre]:
    """Run a centre as long as the block lasts."""
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    found: list[Running] = []

    def serves(running: Running) -> None:
        found.append(running)
        ready.set()

    with mosquitto(folder / "broker") as broker:
        (folder / "contract.yaml").write_text(
            yaml.safe_dump({"roster": ROSTER, "escalation": QUIET}, allow_unicode=True)
        )
        path = write(folder, broker.port, contract="contract.yaml")
        (folder / "fleet.yaml").write_text(json.dumps(_fleet()))
        config = load_config(path)
        thread = threading.Thread(target=lambda: loop.run_until_complete(run(config, stop=stop, on_ready=serves)))
        thread.start()
        try:
            assert ready.wait(60)
            one = Centre(found[0], broker.port, loop)
            one.does(in_force(one.store, SITE))
            yield one
            if one.agent is not None:
                one.does(one.agent.__aexit__())
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(60)
            loop.close()
