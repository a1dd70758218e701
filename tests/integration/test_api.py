"""The HTTP API as programs meet it: problem details, the document that describes it, cursors, readings, history."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web
from sqlalchemy.exc import OperationalError

from collector.config import Missions
from collector.core.roster import Person
from collector.site.quotas import Quotas
from collector.site.status import Status
from collector.store import schema
from collector.store.store import Store
from collector.web.access import ACCESS
from collector.web.app import Sources, add_api, make_app
from collector.web.openapi import check_described, document
from collector.web.problems import BLANK, MEDIA_TYPE, UNEXPECTED
from collector.web.requests import MOST_BYTES
from collector.webhook_signature import sign
from telemetry.fleet import AgentPlan, Device, Fleet, Site, VehiclePlan
from telemetry.inputs import ModemInput
from tests.integration.test_accounts import put_roster
from tests.integration.test_sign_in import Client, a_ticket, with_pages
from tests.long_run import ROOT
from tests.services.api import TOKEN, let_in
from tests.services.process import need

JSON = {"Content-Type": "application/json"}


@functools.cache
def described() -> dict[str, Any]:
    """Return the document."""
    app = web.Application()
    add_api(app)
    return document(app)


def conforms(path: str, method: str, status: int, media_type: str, body: Any) -> None:
    """Fail for an answer that the document does not have; ``path``: as it has it."""
    answers = described()["paths"][path][method.lower()]["responses"]
    assert str(status) in answers, f"{method} {path} does not say that it may answer {status}: {body}"
    assert media_type in answers[str(status)]["content"], (method, path, status, media_type)
    wanted = answers[str(status)]["content"][media_type]["schema"]
    jsonschema.Draft202012Validator({**wanted, "components": described()["components"]}).validate(body)


async def answer_of(client: Client, path: str, method: str = "GET", *, where: str = "", **more: Any) -> tuple[int, Any]:
    """Ask at a path of the document, hold the answer to it; ``where``: the same with its parts filled in."""
    async with client.request(method, where or path, **more) as answer:
        body = await answer.json()
        conforms(path, method, answer.status, answer.content_type, body)
        return answer.status, body


# --- the document -----------------------------------------------------------------------------------------------------


def test_the_document_names_every_route_with_its_parameters_and_answers() -> None:
    found = described()
    names = {f"{method.upper()} {path}" for path, methods in found["paths"].items() for method in methods}
    assert names == {name for name in ACCESS if " /api/" in name}
    for path, methods in found["paths"].items():
        for method, one in methods.items():
            assert one["summary"].endswith("."), path
            parts = {part["name"] for part in one.get("parameters", ()) if part["in"] == "path"}
            assert parts == {part.strip("{}") for part in path.split("/") if part.startswith("{")}
            assert all(part["description"].endswith(".") for part in one.get("parameters", ())), path
            assert {"400", "500", "503"} <= one["responses"].keys()
            assert ("requestBody" in one) == (method == "post" and not path.endswith("/retry"))
            for status, answer in one["responses"].items():
                assert (int(status) >= 400) == (MEDIA_TYPE in answer["content"]), (path, status)
    text = json.dumps(found)
    named = set(found["components"]["schemas"])
    assert {name for name in named if f'schemas/{name}"' not in text} == {"Change"}, "an event's data, not an answer"
    ids = [one["operationId"] for methods in found["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))


def test_a_route_that_nobody_describes_starts_no_collector() -> None:
    async def secret(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/api/secret", secret)
    with pytest.raises(LookupError, match="what GET /api/secret takes and answers"):
        check_described(app)


def test_whatever_is_answered_stands_in_the_document(store: Store, tmp_path: Path) -> None:
    """And each reason to refuse that stands there for one operation alone is given in truth."""
    key = tmp_path / "key"
    key.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    key.chmod(0o600)
    put_roster(store, "north", zhao=Person(name="赵", role="engineer"))
    headers = let_in(store, person="zhao") | JSON
    with store.transaction() as connection:
        for number in range(3):
            connection.execute(schema.ticket.insert().values(**a_ticket("north", "amb-1", f"2026-{number:04}")))
        opening: dict[str, Any] = {"source": "call", "fault": "sim_absent", "sla_class": "general", "severity": "minor"}
        opening |= {"event_ms": 1, "detected_ms": 1, "vehicle": "amb-1", "caller": {"name": "Li"}, "text": "no picture"}
        event = {"site": "north", "ticket": "2026-0001", "number": 1, "what": "opened", "at_ms": 1, "recorded_ms": 1}
        connection.execute(schema.ticket_event.insert().values(**event, who="zhao", body=json.dumps(opening)))
        told = {"site": "north", "ticket": "2026-0001", "body": "{}", "created_ms": 1}
        connection.execute(schema.notification.insert().values(**told, key="k"))
        sent = {"site": "north", "notification": "k", "receiver": "zhao", "channel": "sms", "next_ms": 1}
        connection.execute(schema.delivery.insert().values(**sent, state="failed"))
    answered: set[tuple[str, int]] = set()

    async def scene(client: Client) -> None:
        async def ask(path: str, method: str = "GET", **more: Any) -> Any:
            status, body = await answer_of(client, path, method, headers=more.pop("headers", headers), **more)
            answered.add((f"{method} {path}", status))
            return status, body

        async def mission(id: str, **more: str) -> int:
            body = {"mission": "7", "vehicle": "amb-2", "what": "begins", "at": "2026-11-01T09:00:00+08:00", **more}
            text = json.dumps(body).encode()
            signed = sign(key.read_text(), id, int(time.time()), text)
            return int((await ask("/api/missions", "POST", data=text, headers=JSON | signed))[0])

        for path, methods in described()["paths"].items():
            if "get" in methods and "{" not in path and path != "/api/changes":
                assert (await ask(path))[0] == 200
                assert (await ask(path, where=f"{path}?nothing=1"))[0] == 400
        status, page = await ask("/api/tickets", where="/api/tickets?limit=2")
        assert (len(page["tickets"]), (await ask("/api/tickets", params={"after": page["next"]}))[1]["next"]) == (
            2,
            None,
        )
        one, acts = "/api/vehicles/{vehicle}", "/api/tickets/{ticket}/acts"
        state = f"{one}/state"
        for name in ("amb-1", "amb-7"):
            for path in described()["paths"]:
                if path.startswith(one):
                    method = "POST" if path == state else "GET"
                    more = {"data": '{"state": "workshop"}'} if method == "POST" else {}
                    await ask(path, method, where=path.replace("{vehicle}", name), **more)
        for _ in range(2):
            await ask(state, "POST", where="/api/vehicles/amb-1/state", data='{"state": "on_duty"}')
        await ask("/api/actions/{id}", where="/api/actions/1")
        await ask("/api/actions/{id}", where="/api/actions/9")
        ticket = (await ask("/api/tickets/{ticket}", where="/api/tickets/2026-0001"))[1]
        assert (ticket["id"], ticket["history"][0]["what"]) == ("2026-0001", "opened")
        await ask("/api/tickets/{ticket}", where="/api/tickets/2026-0007")
        await ask(acts, "POST", where="/api/tickets/2026-0007/acts", json={"act": "acknowledged"})
        for _ in range(2):
            await ask(acts, "POST", where="/api/tickets/2026-0001/acts", json={"act": "acknowledged"})
            for body in ({"text": "x"}, {"vehicle": "amb-7"}, {"site": "north"}):
                await ask("/api/tickets", "POST", json=body)
        retry = "/api/notifications/{id}/retry"
        for id, status in ((1, 202), (1, 409), (7, 404)):
            assert (await ask(retry, "POST", where=f"/api/notifications/{id}/retry", data="{}"))[0] == status
        assert await mission("a") == 202
        assert await mission("a", mission="8") == 409
        assert await mission("b", vehicle="amb-7") == 404
        assert await mission("c") == 202
        assert await mission("d") == 429
        assert (await ask("/api/missions", "POST", data="{}", headers=JSON))[0] == 401

    # two acts may wait for amb-1, for amb-2, and for the site's tickets
    with_pages(
        store, scene, quotas=Quotas(actions=2), missions=Missions(signing_key_file=str(key), per_minute=100)
    )  # fmt: skip
    common = {400, 401, 403, 408, 413, 415, 421, 500, 503}
    said = {
        (f"{method.upper()} {path}", int(status))
        for path, methods in described()["paths"].items()
        for method, one in methods.items()
        for status in one["responses"]
        if path != "/api/changes"
    }
    assert {one for one in said if one[1] not in common} - answered == set()


# --- errors -----------------------------------------------------------------------------------------------------------


async def refused(client: Client, method: str, path: str, **more: Any) -> dict[str, Any]:
    """Ask for something that is refused; return the problem details."""
    async with client.request(method, path, **more) as answer:
        assert answer.content_type == MEDIA_TYPE, (path, answer.status, await answer.text())
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        told: dict[str, Any] = await answer.json()
        assert told.keys() >= {"type", "title", "status", "detail", "instance"}
        assert (told["status"], told["instance"]) == (answer.status, path.partition("?")[0])
        assert (told["type"] == UNEXPECTED) == ("expected" in told)
        return told | {"headers": answer.headers}


def test_every_error_is_problem_details(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    engineer = {"headers": let_in(store)}
    post = {"headers": engineer["headers"] | JSON}
    viewer = {"headers": let_in(store, "viewer", secret="kwt_viewer") | JSON}
    state = "/api/vehicles/amb-1/state"

    async def scene(client: Client) -> None:
        told = await refused(client, "GET", "/api/tickets?limit=none", **engineer)
        assert (told["status"], told["type"], told["title"]) == (400, UNEXPECTED, "Bad Request")
        assert (told["key"], told["found"]) == ("limit", "none")
        assert told["detail"] == f"limit: expected {told['expected']}, found 'none'"
        for query, key, expected in (
            ("state=gone", "state", "one of acknowledged, cancelled, "),
            ("limit=1001", "limit", "a whole number from 1 to 1000"),
            ("limit=2&limit=3", "limit", "one value"),
            ("from=2026-05-08T16:00:00", "from", "a time with its zone"),
            ("since=x", "since", "a revision"),
            ("after=x", "after", "the `next` of a page"),
            ("&".join(["ticket=x"] * 501), "ticket", "at most 500 values"),
            ("colour=red", "query", "one of state, site, "),
        ):
            told = await refused(client, "GET", f"/api/tickets?{query}", **engineer)
            assert (told["status"], told["key"], told["expected"][: len(expected)]) == (400, key, expected)
        told = await refused(client, "POST", state, data='{"state": "away"}', **post)
        assert (told["status"], told["key"], told["found"]) == (400, "body.state", "'away'")
        told = await refused(client, "POST", state, data="{", **post)
        assert (told["status"], told["key"], told["expected"]) == (400, "body", "JSON")
        told = await refused(client, "GET", "/api/sites")
        assert (told["status"], told["type"]) == (401, BLANK)
        assert told["headers"]["WWW-Authenticate"] == 'Bearer realm="kitwatch"'
        told = await refused(client, "POST", state, data='{"state": "workshop"}', **viewer)
        assert (told["status"], told["type"], "may not do this" in told["detail"]) == (403, BLANK, True)
        told = await refused(client, "GET", "/api/vehicles/amb-7", **engineer)
        assert (told["status"], told["detail"]) == (404, "no vehicle 'amb-7'")
        told = await refused(client, "GET", "/api/none", **engineer)
        assert (told["status"], told["detail"]) == (404, "nothing is at /api/none")
        told = await refused(client, "PUT", "/api/sites", **engineer)
        assert (told["status"], told["headers"]["Allow"]) == (405, "GET,HEAD")
        assert told["detail"] == "/api/sites: expected GET, HEAD, found PUT"
        for long in ("x" * 5_000, chunks(b"x" * 1_000, 5)):
            told = await refused(client, "POST", state, data=long, **post)
            assert told["status"] == 413
            assert told["detail"] == f"body: expected at most {MOST_BYTES} bytes, found 5000"
        told = await refused(client, "POST", state, data="a=b", headers=engineer["headers"])
        assert (told["status"], told["key"], told["expected"]) == (415, "Content-Type", "application/json")
        told = await refused(client, "GET", "/api/sites", headers={"Host": "kit.example"})
        assert (told["status"], told["key"], told["found"]) == (421, "Host", "kit.example")

        def away(*_: object, **__: object) -> None:
            raise OperationalError("select", {}, Exception("away"))

        monkeypatch.setattr("collector.read.sites.list_sites", away)
        told = await refused(client, "GET", "/api/sites", **engineer)
        assert (told["status"], told["detail"]) == (503, "the database cannot be asked now")
        assert int(told["headers"]["Retry-After"]) > 0

        def broken(*_: object, **__: object) -> None:
            raise AssertionError("of ours")

        monkeypatch.setattr("collector.read.sites.list_sites", broken)
        told = await refused(client, "GET", "/api/sites", **engineer)
        assert (told["status"], "of ours" in str(told)) == (500, False)

    with_pages(store, scene)


async def chunks(part: bytes, times: int) -> Any:
    """Yield a body whose length nobody is told before."""
    for _ in range(times):
        yield part


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_examples_of_the_page_work(store: Store, tmp_path: Path) -> None:
    curl = need("curl", "curl")
    put_roster(store, "north", zhao=Person(name="赵", role="engineer"))
    let_in(store, person="zhao")
    examples = re.findall(r"^\$ (curl .*)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    plan = VehiclePlan(agents={"box": AgentPlan(devices={"modem": Device(kind="modem", modem=ModemInput(port="x"))})})
    fleet = Fleet(sites={"north": Site(vehicles={"amb-3": plan})})

    async def run(example: str, address: str) -> str:
        words = example.replace("curl", shlex.quote(curl), 1).replace("/run/kitwatch/", f"{tmp_path}/")
        given = {"TOKEN": TOKEN, "KITWATCH": address, "PATH": ""}
        process = await asyncio.create_subprocess_shell(words, stdout=subprocess.PIPE, env=given)
        told, _ = await process.communicate()
        assert process.returncode == (28 if "--max-time" in example else 0), example
        return told.decode()

    async def scene() -> None:
        runner = web.AppRunner(make_app(Sources(store, fleet, {"north": Status()})))
        await runner.setup()
        try:
            await web.UnixSite(runner, tmp_path / "collector.sock").start()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            for example in examples:
                told = await run(example, f"http://127.0.0.1:{runner.addresses[1][1]}")
                if "/changes" in example:
                    assert "event: change\ndata: {" in told, told
                else:
                    assert "detail" not in (found := json.loads(told)), (example, told)
                    assert found
        finally:
            await runner.cleanup()

    assert len(examples) > 8
    asyncio.run(scene())
