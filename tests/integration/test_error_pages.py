"""What a person reads in place of a page that cannot be shown."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from collector.store.store import Store
from collector.web.pages import COOKIE
from tests.integration.test_sign_in import Client, with_pages
from tests.services.api import let_in


def test_an_error_is_told_in_the_readers_language(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database was busy a dispatcher read "500 Internal Server Error: Server got itself in trouble"."""
    headers = let_in(store)

    async def scene(client: Client) -> None:
        async def read(path: str, **more: str) -> tuple[int, str, str]:
            async with client.get(path, headers={**headers, "Accept": "text/html", **more}) as answer:
                return answer.status, answer.content_type, await answer.text()

        status, kind, text = await read("/tickets/2026-9999")
        assert (status, kind) == (404, "text/html")
        assert "没有找到" in text
        assert "no ticket" in text
        assert 'href="../"' in text
        status, _, text = await read("/none/at/all", Cookie=f"{COOKIE}=en")
        assert (status, "Not found" in text, 'href="../../"' in text) == (404, True, True)
        async with client.get("/tickets/2026-9999", headers=headers) as answer:
            assert (answer.status, answer.content_type) == (404, "text/plain"), "who reads no HTML is told in a line"
        status, kind, text = await read("/api/tickets/2026-9999")
        assert (status, kind) == (404, "application/problem+json")

        def away(*_: object, **__: object) -> None:
            raise OperationalError("select", {}, Exception("away"))

        monkeypatch.setattr("collector.read.sites.list_sites", away)
        async with client.get("/health", headers={**headers, "Accept": "text/html"}) as answer:
            text = await answer.text()
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert "数据库暂时无法访问" in text
            assert '<meta http-equiv="refresh" content="5">' in text

        def broken(*_: object, **__: object) -> None:
            raise AssertionError("of ours")

        monkeypatch.setattr("collector.read.sites.list_sites", broken)
        status, _, text = await read("/health")
        assert (status, "本系统出错了" in text, "of ours" in text) == (500, True, False)

    with_pages(store, scene)
