"""What pages ask: every row by pages, changes by numbers, a summary with each commit; the same on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, LargeBinary, insert, select, text, update
from sqlalchemy import event as event_of
from sqlalchemy.exc import OperationalError

from collector.core.identities import ProblemKey, SourceKey, TroubleKey
from collector.core.problems import Problem, ProblemRef
from collector.core.tickets.draft import Recorded
from collector.core.vehicle.state import Agent, InputTrouble, Source, Vehicle
from collector.core.vehicle.summary import AgentSummary, DeviceSummary, ProblemSummary, summary_of
from collector.read import changes, sites, tickets, vehicles
from collector.site.status import Status
from collector.store import schema
from collector.store.batch import compress
from collector.store.commit import SiteConnection
from collector.store.rows import BatchRow, Changes, SiteReport
from collector.store.store import Store
from collector.web.app import Sources, make_app
from collector.web.revisions import parse_revision, revision
from telemetry.fleet import AgentPlan, Device, Fleet, Place, Site, VehiclePlan
from telemetry.inputs import SystemInput
from tests.integration.test_store import closed, opened, owned
from tests.services.api import let_in

PLAN = VehiclePlan(
    agents={"router": AgentPlan(devices={"router": Device(kind="host", system=SystemInput(interval=10.0))})},
    name="急救01车",
    phone="13800000000",
    home=Place(latitude=31.2, longitude=121.5),
)
FLEET = Fleet(sites={"north": Site(vehicles={"amb-1": PLAN, "amb-2": PLAN}, hotline="120", name="北区")})
FACT_MS = 600_000


@pytest.fixture
def site(store: Store) -> Iterator[SiteConnection]:
    yield from owned(store, "north")


def vehicle(name: str = "amb-1", heard_ms: int = 50_000, **more: Any) -> Vehicle:
    state = Vehicle.new("north", name, PLAN)
    facts: dict[str, Any] = {
        "agents": {"router": Agent(run="r", interval_ms=1_000, heard_ms=heard_ms)},
        "sources": {SourceKey("router", "router", "system"): Source(heard_ms - 10, 5, 5, 10_000)},
    }
    return Vehicle(**{name: getattr(state, name) for name in state.__struct_fields__} | facts | more)


def seen(site: SiteConnection, *states: Vehicle, recorded: list[Recorded] | None = None) -> None:
    site.commit(
        Changes(
            vehicles={one.vehicle: one.to_json() for one in states},
            summaries={one.vehicle: summary_of(one, PLAN, FACT_MS) for one in states},
            recorded=recorded or [],
        )
    )


def numbered(number: int) -> Recorded:
    return opened(f"2026-{number:04}", ProblemKey.of("camera_down", f"cam{number}"), "amb-1")


def with_api(store: Store, ask: Callable[[TestClient[Any, Any]], Coroutine[Any, Any, None]]) -> None:
    """Run a scene against the API as it stands in a collector's process that owns nothing."""

    async def scene() -> None:
        sources = Sources(store, FLEET, {"north": Status()})
        async with TestClient(TestServer(make_app(sources)), headers=let_in(store)) as client:
            await ask(client)

    asyncio.run(scene())


async def get(client: TestClient[Any, Any], path: str, status: int = 200) -> Any:
    async with client.get(path) as answer:
        body = await answer.text()
        assert answer.status == status, f"{path}: {answer.status} {body}"
        return json.loads(body)


# --- summaries --------------------------------------------------------------------------------------------------------


def test_a_summary_says_what_the_state_does() -> None:
    key = ProblemKey.of("vehicle_silent", "amb-1")
    cause = ProblemRef("amb-1", ProblemKey.of("router_dead", "router"))
    problem = Problem(
        site="north", vehicle="amb-1", key=key, rule="r", rule_version=1, state="active", event_ms=7, detected_ms=8,
        cause=cause,
    )  # fmt: skip
    state = vehicle(
        problems={key: problem},
        troubles={
            TroubleKey("router", "router", "system"): InputTrouble("no answer", 1, 2),
            TroubleKey("router", "cam1"): InputTrouble("refused", 1, 2),
            TroubleKey("router", "gone"): InputTrouble("", 1, 2),
        },
    )
    found = summary_of(state, PLAN, FACT_MS)
    assert (found.state, found.heard_ms, found.silent_since_ms) == ("silent", 50_000, 7)
    assert found.details.agents == {"router": AgentSummary(50_000, 1_000)}
    assert found.details.devices == [
        DeviceSummary("router", "router", 49_990, 10_000, "no answer"),
        DeviceSummary("router", "cam1", None, 0, "refused"),
    ]
    assert found.details.problems == [
        ProblemSummary(key.text(), "vehicle_silent", "amb-1", "active", 7, 8, 1, "router_dead/router")
    ]
    assert summary_of(Vehicle.new("north", "amb-1", PLAN), PLAN, FACT_MS).state == "never_heard"


def test_vehicles_and_their_sites_are_found_by_page_and_by_key(site: SiteConnection, store: Store) -> None:
    seen(site, *(vehicle(f"amb-{number:02}") for number in range(25)))
    for south in owned(store, "south"):
        seen(south, vehicle("amb-00"))
    found: list[tuple[str, str]] = []
    while page := vehicles.list_vehicles(store.engine, after=found[-1] if found else None, limit=10):
        found += [(row.site, row.vehicle) for row in page]
    assert found == [*(("north", f"amb-{number:02}") for number in range(25)), ("south", "amb-00")]
    keys = [("south", "amb-00"), ("north", "amb-07"), ("south", "amb-07")]
    assert set(vehicles.vehicles_of(store.engine, keys)) == set(keys[:2])
    assert vehicles.vehicles_of(store.engine, []) == {}
    assert (vehicles.site_of(store.engine, "amb-07"), vehicles.site_of(store.engine, "amb-99")) == ("north", None)


def test_details_that_are_known_are_read_again_when_they_have_changed(site: SiteConnection, store: Store) -> None:
    seen(site, vehicle("amb-1"), vehicle("amb-2"))
    known: vehicles.Known = {}
    first = vehicles.list_vehicles(store.engine, known=known)
    seen(site, vehicle("amb-2", heard_ms=90_000))
    again = vehicles.list_vehicles(store.engine, known=known)
    assert [row.details for row in again] == [row.details for row in vehicles.list_vehicles(store.engine)]
    assert again[0].details is first[0].details
    assert again[1].details != first[1].details


def test_a_summary_that_cannot_be_read_is_told_and_costs_only_itself(site: SiteConnection, store: Store) -> None:
    seen(site, vehicle("amb-1"), vehicle("amb-2"))
    with store.transaction() as connection:
        of = schema.vehicle_summary.c.vehicle == "amb-1"
        connection.execute(update(schema.vehicle_summary).where(of).values(details=compress(b'{"agents": 5}')))

    async def ask(client: TestClient[Any, Any]) -> None:
        bad, good = (await get(client, "/api/vehicles"))["vehicles"]
        assert "summary cannot be read" in bad["problem"]
        assert (good["problem"], good["devices"][0]["heard_at"]) == ("", "1970-01-01T00:00:49.990Z")
        assert "summary cannot be read" in (await get(client, "/api/vehicles/amb-1"))["problem"]

    with_api(store, ask)


# --- tickets ----------------------------------------------------------------------------------------------------------


def test_no_ticket_is_hidden_however_many_there_are(site: SiteConnection, store: Store) -> None:
    """303 were open and 1 of 24 disasters was shown, because a list ended after 200."""
    many = [numbered(number) for number in range(1, 304)]
    done = numbered(900)
    seen(site, vehicle(), recorded=[*many, done, *closed(done)])

    async def ask(client: TestClient[Any, Any]) -> None:
        for path, wanted in (
            ("/api/tickets?state=open&limit=100", {one.ticket.id for one in many}),
            ("/api/tickets?vehicle=amb-1", {one.ticket.id for one in [*many, done]}),
            ("/api/tickets?order=changed&site=north&limit=7", {one.ticket.id for one in [*many, done]}),
            ("/api/tickets?state=ended", {done.ticket.id}),
        ):
            found, after = [], None
            while True:
                page = await get(client, path + (f"&after={after}" if after else ""))
                found += [one["id"] for one in page["tickets"]]
                if (after := page["next"]) is None:
                    break
            assert len(found) == len(set(found))
            assert set(found) == wanted, path
        (one,) = (await get(client, "/api/vehicles?vehicle=amb-1"))["vehicles"]
        assert len(one["open_tickets"]) == 303
        some = (await get(client, "/api/tickets?ticket=2026-0900&ticket=2026-0007&ticket=x"))["tickets"]
        assert {one["id"] for one in some} == {"2026-0900", "2026-0007"}
        for wrong in ("after=x", "after=1.north", "limit=1001", "limit=", "state=maybe", "order=x", "sort=x"):
            await get(client, f"/api/tickets?{wrong}", 400)

    with_api(store, ask)


def test_every_question_is_answered_through_an_index(tmp_path: Path) -> None:
    """A partial index is used only where the query has its very words; no list may read a table from end to end."""
    store = Store.open(f"sqlite:///{tmp_path}/k.sqlite")
    store.migrate()
    asked: list[tuple[str, Any]] = []
    event_of.listen(store.engine, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
    engine, after = store.engine, tickets.After(5, "north", "x")
    tickets.open_tickets_of(engine, [("north", "amb-1"), ("north", "amb-2")])
    tickets.list_tickets(engine, state="open", after=after)
    tickets.list_tickets(engine, ids=["2026-0001", "2026-0002"])
    tickets.list_tickets(engine, vehicle="amb-1", after=after)
    tickets.list_tickets(engine, order="changed", after=after)
    tickets.events_of(engine, "2026-0001")
    tickets.count_open_tickets(engine)
    vehicles.list_vehicles(engine, after=("north", "amb-1"))
    vehicles.vehicles_of(engine, [("north", "amb-1")])
    vehicles.site_of(engine, "amb-1")
    changes.changed(engine, {"north": 1}, {"north": 2})
    plans = []
    with contextlib.closing(engine.raw_connection()) as connection:
        for statement, parameters in asked:
            if statement.startswith("SELECT"):
                found = connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
                plans.append([row[3] for row in found])
    store.close()
    assert len(plans) == 12
    for plan in plans:
        steps = [step for step in plan if " site" not in step and "CONSTANT" not in step]
        assert not [step for step in steps if step.startswith("SCAN") and "ticket_live" not in step], plan
    assert "ticket_live (site=? AND vehicle=?)" in str(plans[0])
    assert "ticket_live_newest" in str(plans[1])
    assert "site=? AND id=?" in str(plans[2])
    assert "site=? AND ticket=?" in str(plans[5])


# --- changes ----------------------------------------------------------------------------------------------------------


def test_what_has_changed_is_told_by_numbers(site: SiteConnection, store: Store) -> None:
    seen(site, *(vehicle(f"amb-{number}") for number in range(50)))
    before = changes.revisions(store.engine)
    assert before == {"north": 1}
    assert changes.changed(store.engine, before, before) == changes.Changed()
    seen(site, vehicle("amb-7"), recorded=[numbered(1)])
    seen(site, vehicle("amb-8"))
    now = changes.revisions(store.engine)
    found = changes.changed(store.engine, before, now)
    assert found.tickets == {("north", "2026-0001")}
    assert found.vehicles == {("north", name) for name in ("amb-1", "amb-7", "amb-8")}, (
        "its ticket changes a vehicle too"
    )
    assert changes.changed(store.engine, {"north": 2}, now).vehicles == {("north", "amb-8")}
    seen(site, *(vehicle(f"amb-{number}") for number in range(changes.MOST + 1)))
    assert changes.changed(store.engine, now, changes.revisions(store.engine)).reset


@pytest.mark.parametrize("text", ["", "north:17", "north:17,south:3"])
def test_a_revision_is_read_as_it_was_written(text: str) -> None:
    numbers = parse_revision(text)
    assert numbers is not None
    assert revision(numbers) == text


@pytest.mark.parametrize("text", ["north", "north:", "north:-1", "north:x", ":1", "north:1,", "a b:1", "north:²"])
def test_what_is_no_revision_is_refused(text: str) -> None:
    assert parse_revision(text) is None


@contextlib.asynccontextmanager
async def stream(client: TestClient[Any, Any], path: str, **headers: str) -> AsyncIterator[aiohttp.StreamReader]:
    async with client.get(path, headers=headers) as answer:
        assert answer.status == 200
        yield answer.content


async def event(content: aiohttp.StreamReader) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            line = await content.readline()
            if line.startswith(b"data: "):
                found: dict[str, Any] = json.loads(line[6:])
                return found


def test_the_stream_names_what_is_new_and_goes_on_where_it_was(site: SiteConnection, store: Store) -> None:
    seen(site, vehicle("amb-1"), vehicle("amb-2"))

    async def ask(client: TestClient[Any, Any]) -> None:
        async with stream(client, "/api/changes") as content:
            first = await event(content)
            assert (first["reset"], first["revision"], first["sites"]) == (True, "north:1", ["north"])
            await asyncio.to_thread(seen, site, vehicle("amb-2"))
            second = await event(content)
            told = {"revision": "north:2", "reset": False, "vehicles": ["amb-2"], "tickets": [], "sites": []}
            assert second == told
            await asyncio.to_thread(site.check, SiteReport(connected=True, listening_since_ms=5))
            assert (await event(content))["sites"] == ["north"]
        await asyncio.to_thread(lambda: seen(site, vehicle("amb-1"), recorded=[numbered(5)]))
        for path, headers in (("/api/changes", {"Last-Event-ID": "north:2"}), ("/api/changes?since=north:2", {})):
            async with stream(client, path, **headers) as content:
                resumed = await event(content)
                assert (resumed["reset"], resumed["vehicles"]) == (False, ["amb-1"])
                assert resumed["tickets"] == [{"site": "north", "id": "2026-0005"}]
        await get(client, "/api/changes?since=x", 400)

    with_api(store, ask)


def test_a_stream_that_cannot_go_on_says_reset(site: SiteConnection, store: Store) -> None:
    """A restored database has gone back: what was seen of it before may be gone, and its numbers come again."""
    seen(site, vehicle("amb-1"))

    async def ask(client: TestClient[Any, Any]) -> None:
        for since in ("north:9", "north:9,south:3"):
            async with stream(client, f"/api/changes?since={since}") as content:
                found = await event(content)
                assert (found["reset"], found["revision"], found["vehicles"]) == (True, "north:1", [])
        async with stream(client, "/api/changes", **{"Last-Event-ID": "cut off on the w"}) as content:
            assert (await event(content))["reset"]
        async with stream(client, "/api/changes?site=south&since=") as content:
            await asyncio.to_thread(seen, site, vehicle("amb-1"))
            found = await event(content)
            assert (found["reset"], found["revision"], found["vehicles"]) == (False, "", []), "of another site"

    with_api(store, ask)


def test_a_stream_shows_that_it_lives_and_ends_where_the_database_is_away(
    site: SiteConnection, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(site, vehicle("amb-1"))
    monkeypatch.setattr("collector.web.changes.KEEPALIVE_S", 0.2)

    def away(*_: object) -> None:
        raise OperationalError("select", {}, Exception("away"))

    async def ask(client: TestClient[Any, Any]) -> None:
        async with client.get("/api/changes?since=north:1") as answer, asyncio.timeout(120):
            assert answer.headers["X-Accel-Buffering"] == "no"
            assert answer.headers["Cache-Control"] == "no-store, no-transform"
            await event(answer.content)
            while await answer.content.readline() != b": still here\n":
                pass
            monkeypatch.setattr("collector.read.changes.changed", away)
            await answer.content.read()  # to its end, which comes

    with_api(store, ask)


# --- sites ------------------------------------------------------------------------------------------------------------


def age(store: Store, **columns: int) -> None:
    """Let times of the site's row be so many milliseconds older."""
    with store.transaction() as connection:
        for name, ms in columns.items():
            connection.execute(text(f"UPDATE site SET {name} = {name} - {ms}"))


def test_a_site_says_how_it_gets_on(site: SiteConnection, store: Store) -> None:
    def condition() -> str:
        (row,) = sites.list_sites(store.engine)
        assert abs(row.now_ms - row.heartbeat_ms) < 60_000
        return row.condition[0]

    assert condition() == "not_listening"
    site.check(SiteReport(connected=True, listening_since_ms=5))
    (row,) = sites.list_sites(store.engine)
    assert row.condition == ("listening", 5)
    heard_ms = row.heard_ms
    assert heard_ms is not None
    site.check(SiteReport(connected=False, error="broker: refused"))
    (row,) = sites.list_sites(store.engine)
    assert (row.condition, row.heard_ms) == (("not_listening", heard_ms), heard_ms), "not listening since it last did"
    site.check(SiteReport(listening_since_ms=5, oldest_waiting_ms=row.now_ms - 61_000))
    assert condition() == "stuck"
    site.check(SiteReport(listening_since_ms=5))
    assert condition() == "listening"
    age(store, heartbeat_ms=16_000)
    assert condition() == "unowned"
    site.check()
    site.commit(Changes(batch=BatchRow(1, 10, 11, 1, []), counters={"late": 1}))
    (row,) = sites.list_sites(store.engine)
    assert (row.condition[0], row.revision, row.last_batch) == ("listening", 1, 1)
    assert row.committed_ms is not None
    assert sites.sinks_behind(store.engine, row) == {}
    with store.transaction() as connection:
        connection.execute(insert(schema.cursor).values(site="north", sink="influxdb", number=0))
    assert sites.sinks_behind(store.engine, row) == {"influxdb": sites.Behind(1, 10)}


def test_the_api_shows_sites_telephones_and_homes(site: SiteConnection, store: Store) -> None:
    """Keys that the fleet file accepts are used. A site that nobody owned is shown too."""
    seen(site, vehicle())
    site.check(SiteReport(connected=True, listening_since_ms=5, editions={"rules": 3}, differing=("fleet",)))

    async def ask(client: TestClient[Any, Any]) -> None:
        found = await get(client, "/api/sites")
        (one,) = found["sites"]
        assert (one["name"], one["hotline"], one["owned"], one["epoch"]) == ("北区", "120", True, 1)
        assert (one["state"], one["connected"]) == ("listening", True)
        assert (one["editions"], one["differing"]) == ({"rules": 3}, ["fleet"])
        assert one["committed_at"] is not None
        (first, second) = (await get(client, "/api/vehicles"))["vehicles"]
        assert (first["phone"], first["home"]) == ("13800000000", {"latitude": 31.2, "longitude": 121.5})
        assert (first["devices"][0]["heard_at"], second["state"]) == ("1970-01-01T00:00:49.990Z", "never_heard")
        # three of its intervals of 10 s, the sending interval of 1 s, and 30 s by which its times may be behind
        assert first["devices"][0]["current_until"] == "1970-01-01T00:01:50.990Z"

    with_api(store, ask)


@pytest.mark.parametrize(
    ("column", "words"),
    [("heartbeat_ms", "not owned for 6"), ("heard_ms", "not heard for 6")],
)
def test_ready_is_another_thing_than_alive(site: SiteConnection, store: Store, column: str, words: str) -> None:
    async def ask(client: TestClient[Any, Any]) -> None:
        assert "not heard yet" in (await get(client, "/readyz", 503))["problems"][0]
        await asyncio.to_thread(site.check, SiteReport(connected=True, listening_since_ms=5))
        assert await get(client, "/readyz") == {"ready": True, "problems": []}
        await asyncio.to_thread(age, store, **{column: 61_000})
        (problem,) = (await get(client, "/readyz", 503))["problems"]
        assert words in problem
        assert (await get(client, "/healthz"))["status"] == "ok"

    with_api(store, ask)


def test_a_commit_that_does_not_come_is_not_ready_and_a_site_without_owner_neither(store: Store) -> None:
    async def nobody(client: TestClient[Any, Any]) -> None:
        assert (await get(client, "/readyz", 503))["problems"] == ["site north: never owned"]
        assert (await get(client, "/api/sites"))["sites"][0]["state"] == "never_owned"

    async def waits(client: TestClient[Any, Any]) -> None:
        assert "nothing committed for 6" in (await get(client, "/readyz", 503))["problems"][0]

    with_api(store, nobody)
    for site in owned(store, "north"):
        (row,) = sites.list_sites(store.engine)
        site.check(SiteReport(listening_since_ms=5, oldest_waiting_ms=row.now_ms - 61_000))
        with_api(store, waits)


# --- whatever is in the tables ----------------------------------------------------------------------------------------

TABLES = (
    *("site", "vehicle_summary", "ticket", "ticket_event", "closed_note", "inventory", "action", "notification"),
    *("delivery", "cursor", "counter"),
)
NUMBERS = st.sampled_from([0, 1, -1, 1_790_000_000_000, 2**62, -(2**63), 2**63 - 1])
WORDS = st.sampled_from(
    ["", "north", "amb-1", "router", "new", "opened", "closed", "critical", "{}", "[]", '{"agents":{}}', "null", "\x01"]
) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def rows_of(name: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for column in schema.metadata.tables[name].columns:
        if column.autoincrement is True:
            continue
        values: st.SearchStrategy[Any] = WORDS
        if isinstance(column.type, BigInteger):
            values = NUMBERS
        elif isinstance(column.type, Boolean):
            values = st.booleans()
        elif isinstance(column.type, LargeBinary):
            values = st.binary(max_size=10)
        elif column.type.python_type is int:
            values = st.integers(0, 9)
        fields[column.name] = values | st.none() if column.nullable else values
    return st.lists(st.fixed_dictionaries(fields), max_size=3)


PATHS = (
    *("/api/sites", "/api/vehicles", "/api/vehicles?vehicle=amb-1&vehicle=amb-2", "/api/vehicles/amb-1"),
    *("/api/tickets", "/api/tickets?state=open", "/api/tickets?order=changed&state=ended", "/api/notifications"),
)


QUICK = (Phase.explicit, Phase.generate, Phase.shrink)


@settings(max_examples=40, phases=QUICK, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables=st.fixed_dictionaries({name: rows_of(name) for name in TABLES}))
def test_whatever_is_in_the_tables_the_api_answers(tmp_path: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Issue: one schema with an odd input made ``GET /api/vehicles`` answer 500 for every site, for ever."""
    empty, odd = tmp_path / "empty.sqlite", tmp_path / "odd.sqlite"
    if not empty.exists():
        made = Store.open(f"sqlite:///{empty}")
        made.migrate()
        made.close()
    shutil.copy(empty, odd)
    store = Store.open(f"sqlite:///{odd}")
    with store.transaction() as connection:
        for name, rows in tables.items():
            for row in rows:
                connection.execute(insert(schema.metadata.tables[name]).prefix_with("OR IGNORE"), row)

    async def ask(client: TestClient[Any, Any]) -> None:
        for path in PATHS:
            await get(client, path)
        with store.engine.connect() as connection:
            ids = [row.id for row in connection.execute(select(schema.ticket.c.id))]
            ids += [row.ticket for row in connection.execute(select(schema.ticket_event.c.ticket).distinct())]
            actions = [row.id for row in connection.execute(select(schema.action.c.id))]
        for id in ids:
            async with client.get("/api/tickets/" + quote(id, safe="")) as answer:
                assert answer.status in (200, 400, 404), id
        for id in actions:
            await get(client, f"/api/actions/{id}")
        for path in ("/readyz", "/healthz", "/metrics"):
            async with client.get(path) as answer:
                assert answer.status in (200, 503), path

    try:
        with_api(store, ask)
    finally:
        store.close()


DEEP = "[" * 20_000 + "]" * 20_000
NOT_PACKED = ("", "\ufffd")
DAMAGED = (*NOT_PACKED, "{", "null", "9" * 5_000, DEEP, '{"x":' + DEEP + "}", '{"devices":' + DEEP + "}")


@pytest.mark.parametrize("content", DAMAGED)
def test_a_row_that_cannot_be_read_costs_only_itself(store: Store, site: SiteConnection, content: str) -> None:
    both = [opened(f"2026-000{n}", ProblemKey.of("camera_down", f"cam{n}"), f"amb-{n}") for n in (1, 2)]
    seen(site, vehicle("amb-1"), vehicle("amb-2"), recorded=both)
    entries = [{"site": "north", "vehicle": name, "device": "cam", "seen_ms": 1} for name in ("amb-1", "amb-2")]
    with store.transaction() as connection:
        for entry, identity in zip(entries, (content, '{"model":"M"}'), strict=True):
            connection.execute(insert(schema.inventory), {**entry, "identity": identity})
        mine = schema.vehicle_summary.c.vehicle == "amb-1"
        details = content.encode() if content in NOT_PACKED else compress(content.encode())
        connection.execute(update(schema.vehicle_summary).where(mine).values(details=details))
        event = {"site": "north", "ticket": "2026-0001", "number": 2, "what": "noted", "at_ms": 1, "recorded_ms": 1}
        connection.execute(insert(schema.ticket_event), {**event, "who": "li", "body": content})
        connection.execute(update(schema.site).values(report=content))
        action = {"site": "north", "vehicle": "amb-1", "kind": "state", "who": "li", "created_ms": 1, "error": ""}
        connection.execute(insert(schema.action), {**action, "body": content})

    async def ask(client: TestClient[Any, Any]) -> None:
        one, other = (await get(client, "/api/vehicles"))["vehicles"]
        assert (one["vehicle"], other["vehicle"], other.get("problem", "")) == ("amb-1", "amb-2", "")
        assert one["problem"]
        assert [device["device"] for device in other["devices"]] == ["router"]
        for name in ("amb-1", "amb-2"):
            await get(client, f"/api/vehicles/{name}")
        assert [row["state"] for row in (await get(client, "/api/sites"))["sites"]] != []
        assert len((await get(client, "/api/tickets"))["tickets"]) == 2
        assert "problem" in await get(client, "/api/tickets/2026-0001")
        assert "problem" not in await get(client, "/api/tickets/2026-0002")
        await get(client, "/api/actions/1")
        for path in ("/readyz", "/healthz", "/metrics"):
            async with client.get(path) as answer:
                assert answer.status in (200, 503), path

    with_api(store, ask)


ODD = ("%00", "%FF%FE", "%ED%A0%80", "%E2%80%AE", "a%00b", "%2F..%2F", "%0A", "x" * 7_000, "9" * 400, "-1", "1e308")
"""As they stand in a request's line: NUL, no UTF-8, a lone surrogate, a mark that turns the direction of text."""
ODD_PATHS = (
    *("/api/vehicles/{}", "/api/tickets/{}", "/api/actions/{}", "/api/{}", "/{}", "/api/tickets/x?site={}"),
    *(f"/api/vehicles?{name}={{}}" for name in ("vehicle", "site", "after", "limit", "{}")),
    *("/api/vehicles?after=north/{}", "/api/tickets?after=1.{}.x", "/api/tickets?after={}.north.x"),
    *(f"/api/tickets?{name}={{}}" for name in ("state", "vehicle", "site", "order", "ticket", "after", "limit")),
    *(f"/api/notifications?{name}={{}}" for name in ("state", "ticket", "site", "limit")),
    "/api/changes?since={}",
)
JSON = "Content-Type: application/json\r\n"
ODD_REQUESTS = {
    "no UTF-8": (JSON, b'{"state":"\xff\xfe"}'),
    "a lone surrogate": (JSON, b'{"state":"\\ud800"}'),
    "NUL": (JSON, b'{"state":"a\\u0000b"}'),
    "a number beyond all": (JSON, b'{"state":' + b"9" * 4_000 + b"}"),
    "a float beyond all": (JSON, b'{"state":1e999}'),
    "20,000 deep": (JSON, b"[" * 20_000 + b"]" * 20_000),
    "an unknown field, as deep as it may be": (JSON, b'{"x":' + b"[" * 2_000 + b"]" * 2_000 + b"}"),
    "gzip that is none": (JSON + "Content-Encoding: gzip\r\n", b"\x1f\x8b" + b"x" * 100),
    "deflate that is none": (JSON + "Content-Encoding: deflate\r\n", b"\xff" * 100),
    "a bomb": (JSON + "Content-Encoding: gzip\r\n", gzip.compress(b" " * 50_000_000)),
    "an encoding that nobody knows": (JSON + "Content-Encoding: x\r\n", b"{}"),
    "a charset that nobody knows": ("Content-Type: application/json; charset=x\r\n", b"{}"),
    "UTF-16": (JSON, '{"state":"workshop"}'.encode("utf-16")),
    "an origin that is none": (JSON + "Origin: http://[\r\n", b"{}"),
    "an origin of a port that is none": (JSON + "Origin: http://x:99999999\r\n", b"{}"),
    "a type that is none": ("Content-Type: \xff\r\n", b"{}"),
}


def test_whatever_is_asked_is_answered_and_never_with_500(store: Store, site: SiteConnection) -> None:
    """As bytes on the line, past any client that would put them right; 503 says that the database is away, which it is
    not."""
    seen(site, vehicle("amb-1"))

    async def said(client: TestClient[Any, Any], request: bytes) -> int:
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(request)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        line = await reader.readline()
        writer.close()
        return int(line.split()[1])

    async def ask(client: TestClient[Any, Any]) -> None:
        host = f"Host: {client.host}:{client.port}\r\n"
        for path in ODD_PATHS:
            for odd in ODD:
                line = path.replace("{}", odd)
                status = await said(client, f"GET {line} HTTP/1.1\r\n{host}\r\n".encode())
                assert status < 500, line[:100]
        for what, (headers, body) in ODD_REQUESTS.items():
            for path in ("/api/vehicles/amb-1/state", "/api/notifications/1/retry", "/api/missions"):
                head = f"POST {path} HTTP/1.1\r\n{host}{headers}Content-Length: {len(body)}\r\n\r\n"
                status = await said(client, head.encode("latin-1") + body)
                assert 400 <= status < 500, f"{what}: {status}"
        await get(client, "/api/vehicles/amb-1")

    with_api(store, ask)
