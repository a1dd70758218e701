"""The HTTP API as programs meet it: problem details, the document that describes it, cursors, readings, history."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from collector.store.store import Store
from collector.web.problems import BLANK, MEDIA_TYPE, UNEXPECTED
from collector.web.requests import MOST_BYTES
from tests.integration.test_sign_in import Client, with_pages
from tests.services.api import let_in

JSON = {"Content-Type": "application/json"}


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
