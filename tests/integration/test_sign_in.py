"""Signing in to the collector's pages and API: who may what, and what keeps everybody else out. Both databases."""

from __future__ import annotations

import asyncio
import contextlib
import html
import html.parser
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qs

import aiohttp
import msgspec
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from collector.accounts import accounts
from collector.accounts.accounts import DEFAULT_SESSIONS, Author, Lasting, Scope
from collector.accounts.attempts import Attempts
from collector.accounts.passwords import is_right
from collector.accounts.roles import ACCOUNT_ROLES, Role
from collector.core.contract import DEFAULT
from collector.core.roster import Person
from collector.core.vehicle.summary import Details, DeviceSummary
from collector.site.in_force import _ENCODER
from collector.site.status import Status
from collector.store import audit, schema
from collector.store.store import Store
from collector.store.summary_rows import details_content
from collector.web.access import ACCESS, check_routes, name_of
from collector.web.app import Sources, make_app
from collector.web.identity import COOKIE
from collector.web.texts import GROUPS, WORDS
from kitwatch.main import main as kitwatch
from telemetry.fleet import Fleet, Place, Site, VehiclePlan
from tests.integration.test_accounts import put_roster
from tests.services.api import let_in

Client = TestClient[Any, Any]
Asking = Client | aiohttp.ClientSession
PASSWORD: Final = "tests-only-4711"
PROBLEMS: Final = GROUPS["zh"]["sign_in_problem"]
BY: Final = Author("root", "command", 1)
ROLES: Final[tuple[Role, ...]] = (*ACCOUNT_ROLES, "wall", "metrics")
FLEET: Final = Fleet(
    sites={
        "north": Site(
            vehicles={
                "amb-1": VehiclePlan(agents={}, department="急诊科", home=Place(latitude=31.2, longitude=121.5)),
                "amb-2": VehiclePlan(agents={}, home=Place(latitude=31.3, longitude=121.4)),
            }
        ),
        "south": Site(vehicles={"amb-9": VehiclePlan(agents={}, department="急诊科")}),
    }
)

EVERYBODY: Final[set[str]] = set(ROLES)
LOOKS: Final = EVERYBODY - {"metrics"}
ACTS: Final = {"crew", "dispatcher", "engineer", "information", "manager"}
FIGURES: Final = {"engineer", "information", "manager", "admin", "metrics"}
MAY: Final[dict[str, set[str]]] = {
    "POST /sign-out": EVERYBODY,
    "GET /": LOOKS,
    "GET /tickets/{ticket}": LOOKS,
    "POST /tickets/{ticket}": ACTS,
    "GET /call-backs": ACTS,
    "GET /call": ACTS,
    "POST /call": ACTS,
    "GET /health": LOOKS,
    "GET /vehicles/{vehicle}": LOOKS,
    "POST /vehicles/{vehicle}": ACTS,
    "GET /silences": LOOKS,
    "GET /vehicles/{vehicle}/history": LOOKS,
    "GET /readyz": FIGURES,
    "GET /metrics": FIGURES,
    "GET /api/me": EVERYBODY,
    "GET /api/openapi.json": EVERYBODY,
    "GET /api/sites": LOOKS,
    "GET /api/vehicles": LOOKS,
    "GET /api/vehicles/{vehicle}": LOOKS,
    "GET /api/vehicles/{vehicle}/readings": LOOKS,
    "GET /api/vehicles/{vehicle}/history": LOOKS,
    "POST /api/vehicles/{vehicle}/state": ACTS,
    "GET /api/devices": LOOKS,
    "GET /api/tickets": LOOKS,
    "POST /api/tickets": ACTS,
    "GET /api/tickets/{ticket}": LOOKS,
    "POST /api/tickets/{ticket}/acts": ACTS,
    "GET /api/changes": LOOKS,
    "GET /api/actions": ACTS,
    "GET /api/actions/{id}": ACTS,
    "GET /api/notifications": {"dispatcher", "engineer", "information", "manager", "admin"},
    "POST /api/notifications/{id}/retry": {"engineer", "information", "manager", "admin"},
}
"""Written down here once more, on purpose: who may what is a promise, not what the table happens to say."""
OPEN: Final = {"GET /healthz", "GET /sign-in", "POST /sign-in", "GET /static", "POST /api/missions"}


def with_pages(
    store: Store,
    scene: Callable[[Client], Coroutine[Any, Any, None]],
    sessions: Lasting = DEFAULT_SESSIONS,
    names: tuple[str, ...] = (),
    **more: Any,
) -> None:
    """Run a scene against the pages as they stand in a collector's process that owns nothing."""

    async def run() -> None:
        async with pages(store, sessions, names, **more) as client:
            await scene(client)

    asyncio.run(run())


@contextlib.asynccontextmanager
async def pages(
    store: Store, sessions: Lasting = DEFAULT_SESSIONS, names: tuple[str, ...] = (), **more: Any
) -> AsyncIterator[Client]:
    """Serve them; ``more``: of ``Sources``."""
    sources = Sources(store, FLEET, {"north": Status()}, sessions=sessions, **more)
    jar = aiohttp.CookieJar(unsafe=True)
    async with TestClient(TestServer(make_app(sources, names)), cookie_jar=jar) as client:
        yield client


def add(store: Store, name: str, role: Role | str = "viewer", *sites: str, departments: tuple[str, ...] = ()) -> None:
    with store.transaction() as connection:
        accounts.add_account(connection, name, PASSWORD, cast(Any, role), Scope(sites, departments), BY)


async def form(client: Asking, **headers: str) -> str:
    """Fetch the form and return its token."""
    async with client.get("/sign-in", headers=headers) as answer:
        assert answer.status == 200
        return token_in(await answer.text())


def token_in(text: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', text)
    assert found is not None
    return found[1]


async def sign_in(client: Asking, name: str, password: str = PASSWORD, **headers: str) -> aiohttp.ClientResponse:
    fields = {"csrf_token": await form(client), "name": name, "password": password, "token": ""}
    return await client.post("/sign-in", data=fields, headers=headers, allow_redirects=False)


async def status(client: Asking, path: str, method: str = "GET", **more: Any) -> int:
    async with client.request(method, path, allow_redirects=False, **more) as answer:
        return answer.status


# --- who may what -----------------------------------------------------------------------------------------------------


def test_the_matrix_names_every_route(store: Store) -> None:
    app = make_app(Sources(store, FLEET, {}))
    found = {name for route in app.router.routes() if (name := name_of(route))}
    assert found == MAY.keys() | OPEN == ACCESS.keys()


def test_a_route_without_a_stated_role_starts_no_collector(store: Store) -> None:
    async def secret(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/api/secret", secret)
    with pytest.raises(LookupError, match="who may use GET /api/secret"):
        check_routes(app)


def test_every_route_with_every_role_and_none(store: Store) -> None:
    tokens: dict[str, dict[str, str]] = {role: let_in(store, role, secret=f"kwt_{role}") for role in ROLES}

    async def scene(client: Client) -> None:
        for route, allowed in MAY.items():
            method, _, path = route.partition(" ")
            where = path.format(vehicle="amb-1", ticket="2026-0001", id="1")
            more: dict[str, Any] = {"json": {}} if method == "POST" else {}
            assert await status(client, where, method, **more) == 401, route
            for bad in ("kwt_other", "", "kws_x"):
                headers = {"Authorization": f"Bearer {bad}"}
                assert await status(client, where, method, **more, headers=headers) == 401, route
                assert await status(client, where, method, **more, cookies={COOKIE: bad}) == 401, route
            for role in ROLES:
                async with client.request(method, where, headers=tokens[role], allow_redirects=False, **more) as answer:
                    words = "" if "stream" in answer.content_type else await answer.text()
                    refused = answer.status == 403 and "may not do this" in words
                    assert (role in allowed) == (not refused and answer.status != 401), (route, role, answer.status)
                    assert answer.status < 500 or answer.status == 503, (route, role)
        for role in ROLES:  # a token in a cookie is a display's alone
            found = await status(client, "/api/sites", cookies={COOKIE: f"kwt_{role}"})
            assert found == (200 if role == "wall" else 401), role
        for path in ("/sign-in", "/static/sign-in.js"):
            assert await status(client, path) == 200
        assert await status(client, "/healthz") in (200, 503), "whatever it has to say"
        assert await status(client, "/api/none") == 404

    with_pages(store, scene)


def test_who_looks_at_a_page_is_sent_to_sign_in(store: Store) -> None:
    async def scene(client: Client) -> None:
        async with client.get("/", headers={"Accept": "text/html"}, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "sign-in")
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"], "what is refused has it too"
        where = "/tickets/2026-0001?site=north"
        async with client.get(where, headers={"Accept": "text/html"}, allow_redirects=False) as answer:
            way, _, query = answer.headers["Location"].partition("?")
            assert (way, parse_qs(query)) == ("../sign-in", {"to": ["tickets/2026-0001?site=north"]})
        async with client.get("/api/sites", headers={"Accept": "text/html"}) as answer:
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="kitwatch"')

    with_pages(store, scene)


def test_one_comes_back_to_the_page_that_was_asked_for(store: Store) -> None:
    add(store, "wang")

    async def scene(client: Client) -> None:
        for to, where in (("tickets/1?site=a", "./tickets/1?site=a"), ("//evil.example", "./"), ("../other", "./")):
            fields = {"name": "wang", "password": PASSWORD, "token": "", "to": to, "csrf_token": await form(client)}
            answer = await client.post("/sign-in", data=fields, allow_redirects=False)
            assert (answer.status, answer.headers["Location"]) == (303, where), to
            await client.post("/sign-out", headers={"X-CSRF-Token": (await _me(client))["csrf_token"]})

    with_pages(store, scene)


async def _me(client: Client) -> dict[str, Any]:
    async with client.get("/api/me") as answer:
        found: dict[str, Any] = await answer.json()
        return found


def test_a_form_whose_session_has_ended_comes_back_as_it_was_typed(store: Store) -> None:
    add(store, "wang", "engineer")
    typed = {"act": "commented", "text": "两行\n和 & <b>", "csrf_token": "x"}

    async def scene(client: Client) -> None:
        where = "/tickets/2026-0001?site=north"
        foreign = {"Origin": "https://evil.example"}
        assert await status(client, where, "POST", data=typed, headers=foreign) == 403
        async with client.post(where, data=typed) as answer:
            text = await answer.text()
            assert (answer.status, "&lt;b&gt;" in text) == (401, False), "nothing but what is sent on"
        kept = html.unescape(found[1]) if (found := re.search('name="kept" value="([^"]*)"', text)) else ""
        async with client.post("/sign-in", data={"to": where[1:], "kept": kept}) as answer:
            text = await answer.text()
        token = found[1] if (found := re.search('name="csrf_token" value="([^"]*)"', text)) else ""
        fields = {"name": "wang", "password": PASSWORD, "csrf_token": token, "to": where[1:], "kept": kept}
        async with client.post("/sign-in", data=fields) as answer:
            text = html.unescape(await answer.text())
            assert (answer.status, f'action="./{where[1:]}"' in text) == (200, True)
            assert typed["text"] in text.replace("\r\n", "\n")
        # signed in, with the form of a session before: the way back to the form, and nothing done
        async with client.post(where, data=typed) as answer:
            text = html.unescape(await answer.text())
            assert (answer.status, 'name="look"' in text, typed["text"] in text) == (403, True, True)

    with_pages(store, scene)


def test_loopback_is_nobody(store: Store) -> None:
    async def scene(client: Client) -> None:
        forged = {
            "X-Forwarded-User": "root",
            "Remote-User": "root",
            "X-Real-IP": "127.0.0.1",
            "Authorization": "Basic cm9vdDo=",
        }
        assert await status(client, "/api/sites", headers=forged) == 401
        assert await status(client, "/metrics", headers=forged) == 401

    with_pages(store, scene)


def test_healthz_says_to_nobody_how_the_parts_get_on(store: Store) -> None:
    headers = let_in(store)

    async def scene(client: Client) -> None:
        async with client.get("/healthz") as answer:
            assert (await answer.json()).keys() == {"status", "problems", "ready"}
        async with client.get("/healthz", headers=headers) as answer:
            assert (await answer.json()).keys() >= {"sites", "receivers", "not_ready"}

    with_pages(store, scene)


def test_roles_end_at_their_sites_and_departments(store: Store) -> None:
    add(store, "everywhere")
    add(store, "northern", "engineer", "north")
    add(store, "clinic", "clinic", departments=("急诊科",))
    add(store, "nowhere", "viewer", "west")
    with store.transaction() as connection:
        for site, vehicle, number in (("north", "amb-1", 1), ("north", "", 2), ("south", "amb-9", 3)):
            connection.execute(schema.ticket.insert().values(**a_ticket(site, vehicle, f"2026-{number:04}")))

    async def seen(client: Client, name: str) -> tuple[list[str], list[str], list[str]]:
        client.session.cookie_jar.clear()
        assert (await sign_in(client, name)).status == 303
        found = []
        for path, list_, key in (
            ("/api/sites", "sites", "site"),
            ("/api/vehicles", "vehicles", "vehicle"),
            ("/api/tickets", "tickets", "id"),
        ):
            async with client.get(path) as answer:
                assert answer.status == 200
                found.append(sorted(one[key] for one in (await answer.json())[list_]))
        return found[0], found[1], found[2]

    async def scene(client: Client) -> None:
        everything = (["north", "south"], ["amb-1", "amb-2", "amb-9"], ["2026-0001", "2026-0002", "2026-0003"])
        assert await seen(client, "everywhere") == everything
        assert await seen(client, "northern") == (["north"], ["amb-1", "amb-2"], ["2026-0001", "2026-0002"])
        assert await status(client, "/api/vehicles/amb-2") == 200
        assert await status(client, "/api/vehicles/amb-9") == 404
        assert await status(client, "/metrics") == 403, "it tells of every site"
        async with client.get("/api/vehicles?vehicle=amb-1&vehicle=amb-9") as answer:
            assert [one["vehicle"] for one in (await answer.json())["vehicles"]] == ["amb-1"]
        assert await seen(client, "clinic") == (["north", "south"], ["amb-1", "amb-9"], ["2026-0001", "2026-0003"])
        assert await status(client, "/api/vehicles/amb-2") == 404
        client.session.cookie_jar.clear()
        assert await seen(client, "nowhere") == ([], [], [])

    with_pages(store, scene)


def a_ticket(site: str, vehicle: str, id: str) -> dict[str, Any]:
    """Return a row of a ticket, whatever it says."""
    row: dict[str, Any] = {}
    for column in schema.ticket.columns:
        if not column.nullable:
            kind = column.type.python_type
            row[column.name] = False if kind is bool else 1 if kind is int else ""
    words = {"site": site, "vehicle": vehicle, "id": id, "state": "new", "severity": "minor", "sla_class": "general"}
    return row | words | {"fault": "sim_absent", "year": 2026, "number": int(id[-4:])}


def test_positions_and_identifiers_are_for_roles_that_need_them(store: Store) -> None:
    with store.transaction() as connection:
        identity = json.dumps({"model": "RM500Q", "imei": "867", "imsi": "460", "iccid": "8986"})
        row = {"site": "north", "vehicle": "amb-1", "device": "modem", "seen_ms": 1, "identity": identity}
        connection.execute(schema.inventory.insert(), row)
        about = {"site": "north", "vehicle": "amb-1", "state": "on_duty", "revision": 1}
        devices = [DeviceSummary("a", "modem", 1, 1)]
        details = details_content(Details(devices=devices))
        connection.execute(schema.vehicle_summary.insert(), {**about, "details": details})
    tokens: dict[str, dict[str, str]] = {role: let_in(store, role, secret=f"kwt_{role}") for role in ROLES}

    async def scene(client: Client) -> None:
        for role in LOOKS:
            async with client.get("/api/vehicles/amb-1", headers=tokens[role]) as answer:
                found = await answer.json()
            assert (found["home"] is not None) == (role in {"crew", "dispatcher", "engineer"}), role
            text = json.dumps(found)
            assert ("867" in text, "460" in text, "8986" in text) == (3 * (role in {"engineer", "information"},)), role
            assert "RM500Q" in text
            async with client.get("/api/vehicles", headers=tokens[role]) as answer:
                listed = (await answer.json())["vehicles"]
            assert all(one["home"] is None or role in {"crew", "dispatcher", "engineer"} for one in listed)

    with_pages(store, scene)


# --- signing in -------------------------------------------------------------------------------------------------------


def test_in_and_out_again(store: Store) -> None:
    add(store, "wang")

    async def scene(client: Client) -> None:
        wrong = await sign_in(client, "wang", "not the password")
        assert wrong.status == 401
        assert PROBLEMS["wrong_password"] in (text := await wrong.text())
        assert 'value="wang"' in text
        assert COOKIE not in {cookie.key for cookie in client.session.cookie_jar}
        answer = await sign_in(client, "wang")
        assert (answer.status, answer.headers["Location"]) == (303, "./")
        told = next(one for one in answer.headers.getall("Set-Cookie") if one.startswith(COOKIE))
        assert "HttpOnly" in told
        assert "SameSite=Lax" in told
        assert "Path" not in told, "the browser's own default is right below any path"
        assert "Secure" not in told
        assert await status(client, "/", headers={"Accept": "text/html"}) == 200
        async with client.get("/api/me") as me:
            found = await me.json()
        assert (found["name"], found["roles"], "act" in found["may"]) == ("wang", {"*": "viewer"}, False)
        async with client.get("/sign-in") as page:
            text = await page.text()
        assert "wang" in text
        assert await status(client, "/sign-out", "POST") == 403
        cookie = client.session.cookie_jar.filter_cookies(client.make_url("/"))[COOKIE].value
        assert await status(client, "/sign-out", "POST", data={"csrf_token": token_in(text)}) == 303
        assert await status(client, "/api/sites", cookies={COOKIE: cookie}) == 401, "ended, not only forgotten"
        assert await status(client, "/api/sites") == 401

    with_pages(store, scene)
    assert [(one.what, one.who, one.via) for one in audit.newest(store.engine, 2)] == [
        ("signed_out", "wang", "session"),
        ("signed_in", "wang", "session"),
    ]


def test_over_tls_the_cookie_is_secure(store: Store) -> None:
    add(store, "wang")

    async def scene(client: Client) -> None:
        answer = await sign_in(client, "wang", **{"X-Forwarded-Proto": "https"})
        told = next(one for one in answer.headers.getall("Set-Cookie") if one.startswith(COOKIE))
        assert "Secure" in told

    with_pages(store, scene)


def test_a_form_that_is_not_ours_signs_nobody_in(store: Store) -> None:
    add(store, "wang")

    async def scene(client: Client) -> None:
        token = await form(client)
        fields = {"name": "wang", "password": PASSWORD, "token": ""}
        for given in ("", "x", token[:-1]):
            assert await status(client, "/sign-in", "POST", data={**fields, "csrf_token": given}) == 403
        foreign = {"Origin": "https://evil.example"}
        assert await status(client, "/sign-in", "POST", data={**fields, "csrf_token": token}, headers=foreign) == 403
        client.session.cookie_jar.clear()
        assert await status(client, "/sign-in", "POST", data={**fields, "csrf_token": token}) == 403
        form_type = {"Content-Type": "application/x-www-form-urlencoded"}
        assert await status(client, "/sign-in", "POST", data="x" * 70_000, headers=form_type) == 413
        assert (
            await status(client, "/sign-in", "POST", data="&".join("abcdefghijklmnopqrstuvwxyz"), headers=form_type)
            == 400
        )
        assert await status(client, "/sign-in", "POST", data=b"name=\xff&x", headers=form_type) in (400, 403)
        strange = {"Content-Type": "application/x-www-form-urlencoded; charset=x-none"}
        assert await status(client, "/sign-in", "POST", data="name=x", headers=strange) == 403
        for other in ("multipart/form-data; boundary=x", "text/plain", "application/json"):
            assert await status(client, "/sign-in", "POST", data="{}", headers={"Content-Type": other}) == 415

    with_pages(store, scene)


def test_a_cookie_alone_changes_nothing(store: Store) -> None:
    put_roster(store, "north", wang=Person(name="王", role="dispatcher"))
    add(store, "wang", "")

    async def scene(client: Client) -> None:
        assert (await sign_in(client, "wang")).status == 303
        async with client.get("/api/me") as me:
            found = await me.json()
        assert found["sites"] == {"north": {"id": "wang", "name": "王", "role": "dispatcher"}}
        where, body = "/api/vehicles/amb-1/state", {"state": "workshop"}
        for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "x"}, {"X-CSRF-Token": found["csrf_token"][:-1]}):
            assert await status(client, where, "POST", json=body, headers=headers) == 403
        right = {"X-CSRF-Token": found["csrf_token"]}
        assert (
            await status(client, where, "POST", json=body, headers={**right, "Origin": "https://evil.example"}) == 403
        )
        assert await status(client, where, "POST", data="{}", headers=right) == 415
        assert await status(client, where, "POST", json=body, headers=right) == 202
        assert await status(client, "/api/vehicles/amb-9/state", "POST", json=body, headers=right) == 404, (
            "of the south"
        )

    with_pages(store, scene)
    (entry,) = audit.newest(store.engine, 1)
    assert (entry.who, entry.via, entry.what, entry.subject) == ("wang", "session", "vehicle.state", "amb-1")
    assert json.loads(entry.detail) == {"action": 1, "said": "workshop", "person": "wang"}


def test_who_leaves_the_roster_is_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put_roster(store, "north", wang=Person(name="王", role="engineer"))
    add(store, "wang", "")
    monkeypatch.setattr("collector.accounts.rosters.AGE_S", 0.0)

    async def scene(client: Client) -> None:
        assert (await sign_in(client, "wang")).status == 303
        assert await status(client, "/api/sites") == 200
        content = _ENCODER.encode(msgspec.structs.replace(DEFAULT, roster={"li": Person(name="李", role="crew")}))
        with store.transaction() as connection:
            connection.execute(schema.edition.update().values(content=content))
        assert await status(client, "/api/sites") == 403
        client.session.cookie_jar.clear()
        refused = await sign_in(client, "wang")
        assert refused.status == 403
        assert PROBLEMS["of_no_roster"] in await refused.text()

    with_pages(store, scene)


def test_sessions_end(store: Store) -> None:
    """By themselves, by a new password, by being disabled: the next request is nobody's."""
    for name in ("a", "b", "c"):
        add(store, name * 3)

    async def scene(client: Client) -> None:
        assert (await sign_in(client, "aaa")).status == 303
        assert await status(client, "/api/sites") == 200
        with store.transaction() as connection:
            accounts.set_password(connection, "aaa", PASSWORD, BY)
        assert await status(client, "/api/sites") == 401
        assert (await sign_in(client, "bbb")).status == 303
        with store.transaction() as connection:
            accounts.set_disabled(connection, "bbb", True, BY)
        assert await status(client, "/api/sites") == 401
        assert (await sign_in(client, "bbb")).status == 401
        assert (await sign_in(client, "ccc")).status == 303
        with store.transaction() as connection:
            connection.execute(schema.session.update().values(seen_ms=schema.session.c.seen_ms - 12 * 3_600_000))
        assert await status(client, "/api/sites") == 401

    with_pages(store, scene)


def test_a_session_in_use_goes_on(store: Store) -> None:
    add(store, "wang")
    lasting = Lasting(idle_ms=12_000, longest_ms=3_600_000)

    async def scene(client: Client) -> None:
        assert (await sign_in(client, "wang")).status == 303
        with store.engine.connect() as connection:
            (begun_ms,) = connection.execute(schema.session.select()).one()[3:]
        seen_ms = begun_ms
        while seen_ms == begun_ms:  # once a quarter of the idle time has gone it is noted
            assert await status(client, "/api/sites") == 200
            with store.engine.connect() as connection:
                (seen_ms,) = connection.execute(schema.session.select()).one()[3:]
            await asyncio.sleep(0.1)
        assert seen_ms - begun_ms >= 3_000

    with_pages(store, scene, lasting)


def test_an_open_stream_ends_with_its_session(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.web.changes.KEEPALIVE_S", 0.2)
    add(store, "wang")

    async def scene(client: Client) -> None:
        assert (await sign_in(client, "wang")).status == 303
        async with client.get("/api/changes") as stream:
            assert stream.status == 200
            assert (await stream.content.readline()).startswith(b"id:")
            with store.transaction() as connection:
                accounts.set_disabled(connection, "wang", True, BY)
            async with asyncio.timeout(30):
                await stream.content.read()

    with_pages(store, scene)


def test_guessing_is_slowed_down(store: Store) -> None:
    add(store, "wang")
    add(store, "li_4")

    async def scene(client: Client) -> None:
        here, there = ({"X-Forwarded-For": f"198.51.100.7, 203.0.113.{one}"} for one in (7, 8))
        for _ in range(5):
            assert (await sign_in(client, "wang", "wrong", **here)).status == 401
        refused = await sign_in(client, "wang", **here)
        assert (refused.status, int(refused.headers["Retry-After"]) > 600) == (429, True)
        assert PROBLEMS["too_many_attempts"].format(minutes=15) in await refused.text()
        assert (await sign_in(client, "li_4", **here)).status == 303, "another one at the same machine"
        client.session.cookie_jar.clear()
        assert (await sign_in(client, "wang", **there)).status == 303, "the owner elsewhere"
        client.session.cookie_jar.clear()
        for number in range(14):
            assert (await sign_in(client, f"guess-{number}", "wrong", **here)).status == 401
        assert (await sign_in(client, "li_4", **here)).status == 429, "many names from one address"

    with_pages(store, scene)


def test_attempts_are_counted_by_name_and_by_address_for_a_while() -> None:
    attempts = Attempts()
    for number in range(50):
        assert attempts.wait_s("wang", f"192.0.2.{number}", number) <= 0
        attempts.note("wang", f"192.0.2.{number}", number)
    assert attempts.wait_s("wang", "192.0.2.99", 60.0) == 840.0, "many guessers, one name"
    assert attempts.wait_s("li", "192.0.2.99", 60.0) <= 0
    assert attempts.wait_s("wang", "192.0.2.99", 901.0) <= 0
    for number in range(20):
        attempts.note(f"n{number}", f"2001:db8::{number:x}", 2_000.0)
    assert attempts.wait_s("other", "2001:db8::ffff", 2_000.0) == 900.0, "one network of IPv6 is one guesser"
    for number in range(120):
        attempts.note(f"m{number}", f"198.51.{number}.1", 4_000.0)
    assert attempts.wait_s("other", "203.0.113.1", 4_000.0) == 60.0


def test_nobody_and_a_wrong_password_take_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is refused cannot tell an account that there is from one that there is not."""
    asked: list[bool] = []

    def noted(password: str, kept: str | None) -> bool:
        asked.append(kept is None)
        return is_right(password, kept)

    monkeypatch.setattr("collector.web.sign_in.is_right", noted)
    add(store, "wang")

    async def scene(client: Client) -> None:
        texts = []
        for name in ("wang", "nobody"):
            answer = await sign_in(client, name, "wrong")
            texts.append((answer.status, (await answer.text()).replace(name, "")))
        assert texts[0][0] == texts[1][0] == 401
        strip = re.compile(r'value="[^"]*"')
        assert strip.sub("", texts[0][1]) == strip.sub("", texts[1][1])

    with_pages(store, scene)
    assert asked == [False, True], "a hash is computed in both cases"


# --- Host, Content-Security-Policy, languages -------------------------------------------------------------------------


def test_a_foreign_host_finds_no_form(store: Store) -> None:
    async def scene(client: Client) -> None:
        for path in ("/sign-in", "/", "/healthz", "/static/sign-in.js"):
            assert await status(client, path, headers={"Host": "evil.example"}) == 421
        assert await status(client, "/sign-in", headers={"Host": "board.example.org"}) == 200

    with_pages(store, scene, names=("board.example.org",))


class _Inline(html.parser.HTMLParser):
    """Notes whatever a page would run or paint by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [name for name in given if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.found.append(tag)
        self.links += [str(given[name]) for name in ("href", "src", "action") if name in given]


def test_pages_hold_nothing_inline_and_link_relatively(store: Store) -> None:
    add(store, "wang")

    async def scene(client: Client) -> None:
        async def check(path: str) -> None:
            async with client.get(path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'self'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                page = _Inline()
                page.feed(await answer.text())
                assert page.found == []
                assert page.links
                assert not [link for link in page.links if link.startswith("/") or ":" in link], page.links

        await check("/sign-in")
        await check("/sign-in?language=en")
        assert (await sign_in(client, "wang")).status == 303
        await check("/sign-in")
        await check("/")

    with_pages(store, scene)


def test_chinese_first_english_at_a_switch(store: Store) -> None:
    async def scene(client: Client) -> None:
        async def heading(path: str) -> str:
            async with client.get(path) as answer:
                found = re.search("<h1>([^<]+)</h1>", await answer.text())
                assert found is not None
                return found[1]

        assert await heading("/sign-in") == WORDS["zh"]["title"]
        assert await heading("/sign-in?language=en") == WORDS["en"]["title"]
        assert await heading("/sign-in") == WORDS["en"]["title"], "it is remembered"
        assert await heading("/sign-in?language=xx") == WORDS["en"]["title"]
        assert await heading("/sign-in?language=zh") == WORDS["zh"]["title"]

    with_pages(store, scene)


def test_what_is_typed_in_comes_back_as_text(store: Store) -> None:
    async def scene(client: Client) -> None:
        answer = await sign_in(client, '"><script>x', "wrong")
        assert "<script>x" not in await answer.text()

    with_pages(store, scene)


# --- what changes something is in the audit log -----------------------------------------------------------------------


def test_every_write_of_the_api_is_in_the_audit_log(tmp_path: Path, database_url: str) -> None:
    """Each route that is no GET, as it succeeds, against a real collector: generated from the routes."""
    from collector.config import load_config
    from collector.main import Running, run
    from tests.integration.test_collector import write
    from tests.services.mosquitto import mosquitto

    writes = {name for name in ACCESS if not name.startswith("GET")}
    (tmp_path / "contract.yaml").write_text("roster:\n  wang: {name: 王, role: engineer}\n")

    async def scene(path: Path) -> None:
        stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=ready.set_result))
        try:
            running: Running = await asyncio.wait_for(ready, 60)
            store = running.store
            add(store, "wang", "")
            jar = aiohttp.CookieJar(unsafe=True)
            async with aiohttp.ClientSession(running.address, cookie_jar=jar) as session:
                await acts(session, store)
        finally:
            stop.set()
            await asyncio.wait_for(task, 60)

    async def acts(client: Asking, store: Store) -> None:
        end = time.monotonic() + 60
        while (answer := await sign_in(client, "wang")).status != 303:  # until a contract is in force
            assert answer.status == 403, await answer.text()
            assert time.monotonic() < end
            await asyncio.sleep(0.5)
        async with client.get("/api/me") as me:
            headers = {"X-CSRF-Token": (await me.json())["csrf_token"]}

        async def does(route: str, where: str, body: Any = None) -> Any:
            writes.discard(route)
            async with client.post(where, json=body or {}, headers=headers) as answer:
                found = await answer.json()
                assert answer.status == 202, found
            (entry,) = audit.newest(store.engine, 1)
            assert (entry.who, entry.via, entry.site) == ("wang", "session", "north"), entry
            return found

        writes.discard("POST /sign-in")
        assert audit.newest(store.engine, 1)[0].what == "signed_in"
        await does("POST /api/vehicles/{vehicle}/state", "/api/vehicles/amb-3/state", {"state": "workshop"})
        action = await does("POST /api/tickets", "/api/tickets", {"text": "x", "site": "north"})
        ticket = ""
        while not ticket:
            async with client.get(action["url"]) as answer:
                ticket = (await answer.json())["ticket"]
            assert time.monotonic() < end
            await asyncio.sleep(0.1)
        where = f"/api/tickets/{ticket}/acts"
        await does("POST /api/tickets/{ticket}/acts", where, {"act": "commented", "says": {"text": "x"}})
        assert audit.newest(store.engine, 1)[0].subject == ticket

        async def sends(route: str, where: str, **fields: str) -> None:
            writes.discard(route)
            fields["csrf_token"] = headers["X-CSRF-Token"]
            async with client.post(where, data=fields, allow_redirects=False) as answer:
                assert answer.status == 303, await answer.text()
            (entry,) = audit.newest(store.engine, 1)
            assert (entry.who, entry.via, entry.site) == ("wang", "session", "north"), entry

        await sends("POST /tickets/{ticket}", f"/tickets/{ticket}", act="commented", text="x")
        await sends("POST /vehicles/{vehicle}", "/vehicles/amb-3", act="duty", state="workshop", why="x")
        await sends("POST /call", "/call", vehicle="amb-4", text="x", caller_name="y")
        failed = {"site": "north", "key": "k", "ticket": ticket, "body": "{}", "created_ms": 1}
        with store.transaction() as connection:
            id = connection.execute(schema.notification.insert(), failed).inserted_primary_key[0]  # type: ignore[index]
            about = {"site": "north", "notification": "k", "receiver": "x", "channel": "webhook", "state": "failed"}
            connection.execute(schema.delivery.insert(), {**about, "next_ms": 1})
        await does("POST /api/notifications/{id}/retry", f"/api/notifications/{id}/retry")
        writes.discard("POST /sign-out")
        assert await status(client, "/sign-out", "POST", headers=headers) == 303
        assert audit.newest(store.engine, 1)[0].what == "signed_out"
        writes.discard("POST /api/missions")  # tests/integration/test_missions.py
        assert writes == set(), "a new write needs its entry, and its line here"
        assert audit.verify(store.engine).problems == []

    with mosquitto(tmp_path / "mosquitto") as broker:
        path = write(tmp_path, broker.port, contract="contract.yaml", database=database_url)
        asyncio.run(scene(path))


@pytest.mark.parametrize("words", [["retry", "--all"], ["drop", "q1"]])
def test_commands_that_change_something_say_so_too(store: Store, words: list[str]) -> None:
    with store.transaction() as connection:
        row = dict.fromkeys(("site", "vehicle", "agent", "run", "pairs", "kind", "reason"), "")
        connection.execute(schema.quarantine.insert(), {**row, "payload": b"", "at_ms": 1})
    where = ["--database", store.conninfo if store.path is None else str(store)]
    assert kitwatch(["deadletters", *words, *where]) == 0
    (entry,) = audit.newest(store.engine, 1)
    assert (entry.via, entry.what) == ("command", f"deadletters.{words[0]}")


def test_reload_is_in_the_audit_log(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump({"sites": {"north": {"vehicles": {}}}}))
    config = {"broker": {"host": "127.0.0.1"}, "database": f"sqlite:///{tmp_path}/k.sqlite", "fleet": "fleet.yaml"}
    (tmp_path / "collector.yaml").write_text(yaml.safe_dump(config))
    store = Store.open(config["database"])  # type: ignore[arg-type]
    store.migrate()
    assert kitwatch(["reload", "--config", str(tmp_path / "collector.yaml"), "--wait", "0"]) == 1
    assert {(one.what, one.subject) for one in audit.newest(store.engine, 9)} == {
        ("edition.put_in_force", kind) for kind in ("fleet", "rules", "contract")
    }
    store.close()
