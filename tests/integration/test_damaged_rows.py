"""Rows of the database that cannot be read any more, each in a site that somebody owns and an agent that goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import msgspec
import pytest
from sqlalchemy import update

from collector.core.contract import DEFAULT
from collector.core.roster import Person
from collector.core.rules.files import load_rules
from collector.read import sites
from collector.read.tickets import list_tickets
from collector.site.acts import TICKET_ACTION
from collector.site.in_force import InForce
from collector.site.owner import SiteOwner
from collector.store import queries, schema
from collector.store.store import Store
from telemetry.fleet import Broker
from telemetry.intervals import Intervals
from telemetry.message import Moment
from tests.integration.test_site import (  # noqa: F401 - broker: a fixture
    FLEET,
    RUN,
    SCHEMA,
    SITE,
    TIMINGS,
    Agent,
    broker,
    now_ms,
    taken,
    until,
)
from tests.services.process import Server

ROSTER = {"lin": Person(name="Lin", role="dispatcher"), "wang": Person(name="Wang", role="engineer")}
CONTRACT = msgspec.structs.replace(DEFAULT, roster=ROSTER)
HALF = '[[0,"\ufffd'
EVENT = schema.ticket_event.c.what
DAMAGE = {
    "run": update(schema.run).values(seen=HALF),
    "schema": update(schema.schema).values(content=HALF),
    "run_schema": update(schema.run_schema).values(names=HALF),
    "problem": update(schema.problem).values(content=HALF),
    "journal": schema.journal.insert().values(site=SITE, revision=10**6, content=b"\x28\xb5\x2f\xfd\0"),
    "a ticket's first event": update(schema.ticket_event).where(EVENT == "opened").values(body=HALF),
    "a further one": update(schema.ticket_event).where(EVENT == "assigned").values(body=HALF),
    "one of no known name": update(schema.ticket_event).where(EVENT == "commented").values(what="x"),
}
ASIDE = ["journal", "problem", "run", "run_schema", "schema"]


@contextlib.asynccontextmanager
async def owner(database: Store, port: int) -> AsyncIterator[SiteOwner]:
    """Yield an owner in whose contract two people stand."""
    in_force = InForce(SITE, FLEET, load_rules(), contract=CONTRACT)
    stop = asyncio.Event()
    one = SiteOwner(in_force, Broker(host="127.0.0.1", port=port), database, TIMINGS)
    task = asyncio.create_task(one.run(stop))
    try:
        await until(lambda: one.status.connected, why=lambda: one.status)
        yield one
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)


async def act(database: Store, what: str, **body: str) -> str:
    """Do something to the site's only ticket, as a person; return why it was refused."""
    (ticket,) = list_tickets(database.engine)
    act = json.dumps({"ticket": ticket.id, "what": what, "body": body})
    with database.transaction() as connection:
        id = queries.add_action(
            connection, site=SITE, vehicle="", kind=TICKET_ACTION, body=act, who="lin", created_ms=now_ms()
        )
    await until(lambda: (found := queries.action(database.engine, id)) is not None and found.taken_ms is not None)
    found = queries.action(database.engine, id)
    assert found is not None
    return found.error


async def absent(agent: Agent, first: int, mono_ms: int, number: int) -> None:
    """Send so many samples without a SIM card."""
    body = [Moment(mono_ms + n * 10_000, 0, [[SCHEMA.id(), [-80.0, "absent"]]]) for n in range(number)]
    await agent.say("live", body, Intervals([(first, first + number - 1)]))


def test_rows_that_cannot_be_read_cost_only_themselves(
    store: Store,
    broker: Server,  # noqa: F811 - the fixture
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def before() -> None:
        async with owner(store, broker.port), Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await absent(agent, 0, 500_000, 50)
            await until(lambda: agent.done() == [(0, 49)] and len(list_tickets(store.engine)) == 1)
            assert await act(store, "assigned", to="wang") == ""
            assert await act(store, "commented", text="on the way") == ""

    def damage() -> None:
        with store.transaction() as connection:
            if store.path is not None:  # triggers keep us from doing what a disk does
                connection.exec_driver_sql("DROP TRIGGER ticket_event_no_update")
            else:
                connection.exec_driver_sql("ALTER TABLE ticket_event DISABLE TRIGGER ticket_event_is_final")
            assert {what: abs(connection.execute(one).rowcount) for what, one in DAMAGE.items()} == dict.fromkeys(
                DAMAGE, 1
            )

    async def goes_on(one: SiteOwner, agent: Agent) -> None:
        """What comes in is taken, and what people do: the ticket is the one it was."""
        await agent.birth(2)
        async with asyncio.timeout(60):
            while 50 not in Intervals(agent.done() or ()):
                if agent.needed() is not None:
                    await agent.schema(now_ms(), SCHEMA)
                await absent(agent, 50, 1_000_000, 1)
                await asyncio.sleep(0.1)
        assert await act(store, "acknowledged") == ""
        (ticket,) = list_tickets(store.engine)
        assert (ticket.fault, ticket.vehicle, ticket.device) == ("sim_absent", "amb-3", "modem-1")
        assert (ticket.state, ticket.live, ticket.sla_class) == ("acknowledged", True, "disaster")
        await until(lambda: sites.list_sites(store.engine)[0].report.damaged == one.status.damaged)

    async def scene() -> None:
        await before()
        damage()
        async with owner(store, broker.port) as one, Agent(broker.port) as agent:
            epoch = one.status.epoch
            assert sorted(row.split()[0] for row in one.status.damaged) == sorted([*ASIDE, *["ticket_event"] * 3])
            await goes_on(one, agent)
            assert one.status.epoch == epoch, "nobody stood in line again for it"
        assert sorted(row.kind for row in queries.list_quarantine(store.engine)) == ASIDE
        counted = {name: number for (_, name), number in sites.counters(store.engine).items()}
        assert {name: counted.get(name) for name in counted if name.startswith("damaged.")} == {
            f"damaged.{table}": 1 for table in ASIDE
        }
        async with owner(store, broker.port) as one:
            assert {row.split()[0] for row in one.status.damaged} == {"ticket_event"}, "else all can be read again"

    asyncio.run(scene())
    assert caplog.text.count("a stored row cannot be read") == len(DAMAGE) + 3
    assert taken(store).count(("router", RUN, 50)) == 1
