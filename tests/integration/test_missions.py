"""Missions from a dispatch system: signed, once by key, through a running collector, on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from collector.config import load_config
from collector.main import run
from collector.store.store import Store
from collector.webhook_signature import sign
from telemetry.files import FileError
from tests.integration.test_actions import eventually, given
from tests.integration.test_collector import get, write
from tests.services.api import let_in
from tests.services.mosquitto import mosquitto

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Dispatch:
    """The dispatch system: it signs what it says, and numbers its messages."""

    url: str
    store: Store
    numbers: itertools.count[int]

    async def says(
        self, what: str, mission: str = "2026-1129-7", vehicle: str = "amb-3", *, id: str | None = None, **more: Any
    ) -> tuple[int, Any]:
        body = {"mission": mission, "vehicle": vehicle, "what": what, "at": "2026-11-28T09:00:00+08:00", **more}
        return await self.sends(json.dumps(body).encode(), id or f"msg_{next(self.numbers)}")

    async def sends(
        self, body: bytes, id: str, key: str = KEY, at_s: int | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        signed = sign(key, id, at_s or int(time.time()), body)
        sent = {"Content-Type": "application/json", **signed, **(headers or {})}
        where = f"{self.url}/api/missions"
        async with aiohttp.ClientSession() as session, session.post(where, data=body, headers=sent) as answer:
            return answer.status, {**await answer.json(), "after": answer.headers.get("Retry-After")}

    async def taken(self, answer: tuple[int, Any]) -> dict[str, Any]:
        """Wait for the site's owner, and return the action."""
        assert answer[0] == 202, answer
        found: dict[str, Any] = {}
        for _ in range(600):
            _, found = await get(f"{self.url}{answer[1]['url']}")
            if found["status"] != "waiting":
                return found
            await asyncio.sleep(0.05)
        pytest.fail(f"never taken: {found}")


@contextlib.asynccontextmanager
async def dispatch_of(path: Path) -> AsyncIterator[Dispatch]:
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=ready.set_result))
    try:
        running = await asyncio.wait_for(ready, 60)
        let_in(running.store)
        yield Dispatch(running.address, running.store, itertools.count(1))
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)


def scene(tmp_path: Path, what: Callable[[Dispatch], Awaitable[None]], **more: Any) -> None:
    (tmp_path / "missions-key").write_text(KEY)
    (tmp_path / "missions-key").chmod(0o600)

    async def main(path: Path) -> None:
        async with dispatch_of(path) as dispatch:
            await what(dispatch)

    more.setdefault("missions", {"signing_key_file": "missions-key"})
    with mosquitto(tmp_path / "mosquitto") as broker:
        asyncio.run(main(write(tmp_path, broker.port, **more)))


def test_a_mission_begins_and_ends_once_however_often_it_is_said(tmp_path: Path, database_url: str) -> None:
    async def what(dispatch: Dispatch) -> None:
        first = await dispatch.says("begins", id="m-1")
        action = await dispatch.taken(first)
        assert (action["status"], action["kind"], action["by"], action["vehicle"]) == (
            "taken",
            "mission",
            "dispatch",
            "amb-3",
        )
        assert action["body"] == {"mission": "2026-1129-7", "what": "begins", "at_ms": 1795827600000}
        assert given(dispatch.store) == "on_mission"
        again = await asyncio.gather(*(dispatch.says("begins", id="m-1") for _ in range(8)))
        assert again == [first] * 8, "the same answer, and no other action"
        assert (await dispatch.says("ends", id="m-1"))[0] == 409
        assert (await dispatch.says("begins", vehicle="amb-4", id="m-1"))[0] == 409
        together = await asyncio.gather(*(dispatch.says("ends", id="m-2") for _ in range(8)))
        assert [one for one in together if one != together[0]] == []
        await dispatch.taken(together[0])
        assert given(dispatch.store) == "on_duty"
        assert await dispatch.says("begins", id="m-1") == first, "also when it is over"
        assert given(dispatch.store) == "on_duty"

    scene(tmp_path, what, database=database_url)


def test_what_is_not_signed_or_is_old_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    async def what(dispatch: Dispatch) -> None:
        good = json.dumps(
            {"mission": "a", "vehicle": "amb-3", "what": "begins", "at": "2026-11-28T09:00:00+08:00"}
        ).encode()
        now_s = int(time.time())
        for refused, words in (
            (await dispatch.sends(good, "m-1", key="another key altogether"), "webhook-signature: expected"),
            (await dispatch.sends(good, "m-1", at_s=now_s - 400), "webhook-timestamp: expected within 300 s"),
            (await dispatch.sends(good, "m-1", at_s=now_s + 400), "webhook-timestamp: expected within 300 s"),
            (await dispatch.sends(good, "m-1", headers={"webhook-id": "m-2"}), "webhook-signature: expected"),
            (
                await dispatch.sends(good, "m-1", at_s=now_s, headers={"webhook-timestamp": str(now_s + 1)}),
                "webhook-signature: expected",
            ),
            (
                await dispatch.sends(good, "m-1", headers={"webhook-timestamp": "soon"}),
                "webhook-timestamp: expected seconds",
            ),
            (await dispatch.sends(good, "m-1", headers={"webhook-id": ""}), "webhook-id: expected"),
            (await dispatch.sends(good, "m-1", headers={"webhook-signature": "v1,"}), "webhook-signature: expected"),
            (await dispatch.sends(b"nonsense", "m-1", key="another key altogether"), "webhook-signature: expected"),
        ):
            assert (refused[0], refused[1]["detail"][: len(words)]) == (401, words), refused
        assert (await dispatch.sends(good, "m-1", headers={"Content-Type": "text/plain"}))[0] == 415
        assert (await dispatch.sends(good, "m-1", headers={"Origin": "https://evil.example"}))[0] == 403
        assert (await dispatch.sends(good + b" " * 5_000, "m-1"))[0] == 413
        two = sign(KEY, "m-3", now_s, good)["webhook-signature"] + " v1,of-another-key"
        assert (await dispatch.sends(good, "m-3", at_s=now_s, headers={"webhook-signature": two}))[0] == 202

    scene(tmp_path, what)


def test_what_is_signed_and_wrong_says_what_is(tmp_path: Path) -> None:
    async def what(dispatch: Dispatch) -> None:
        for answer, status, words in (
            (await dispatch.says("pauses"), 400, "what: expected"),
            (await dispatch.says("begins", mission=""), 400, "mission: expected"),
            (await dispatch.says("begins", mission="a b"), 400, "mission: expected"),
            (await dispatch.says("begins", at="2026-11-28T09:00:00"), 400, "at: expected a time with its zone"),
            (
                await dispatch.says("begins", at="2036-11-28T09:00:00Z"),
                400,
                "at: expected a time with its zone, not in",
            ),
            (await dispatch.says("begins", at="yesterday"), 400, "at: expected"),
            (await dispatch.says("begins", crew=3), 400, "found 'crew'"),
            (await dispatch.sends(b"{", "m-9"), 400, "body: expected JSON"),
            (await dispatch.says("begins", vehicle="amb-99"), 404, "no vehicle 'amb-99'"),
        ):
            assert (answer[0], words in answer[1]["detail"]) == (status, True), answer
        with dispatch.store.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM action").scalar() == 0

    scene(tmp_path, what)


def test_more_than_so_many_a_minute_wait_and_are_told_how_long(tmp_path: Path) -> None:
    async def what(dispatch: Dispatch) -> None:
        answers = [await dispatch.says("begins", mission=f"m-{number}") for number in range(7)]
        assert [status for status, _ in answers] == [202] * 5 + [429] * 2
        assert answers[-1][1]["detail"] == "expected at most 5 requests a minute"
        assert 1 <= int(answers[-1][1]["after"]) <= 61

    scene(tmp_path, what, missions={"signing_key_file": "missions-key", "per_minute": 5})


def test_a_new_key_counts_at_once_and_without_one_nothing_is_taken(tmp_path: Path) -> None:
    async def changed(dispatch: Dispatch) -> None:
        (tmp_path / "missions-key").write_text("a new key of the dispatch system")
        assert (await dispatch.says("begins"))[0] == 401
        good = b'{"mission": "a", "vehicle": "amb-3", "what": "begins", "at": "2026-11-28T09:00:00+08:00"}'
        assert (await dispatch.sends(good, "m-1", key="a new key of the dispatch system"))[0] == 202
        (tmp_path / "missions-key").unlink()
        assert (await dispatch.says("begins"))[0] == 503

    async def none(dispatch: Dispatch) -> None:
        status, answer = await dispatch.says("begins")
        assert (status, "missions in collector.yaml" in answer["detail"]) == (404, True)

    scene(tmp_path, changed)
    scene(tmp_path, none, missions=None)
    (tmp_path / "missions-key").write_text("too short")
    (tmp_path / "missions-key").chmod(0o600)
    with pytest.raises(FileError, match="expected a key of 16 characters at least"):
        load_config(write(tmp_path, 1, missions={"signing_key_file": "missions-key"}))


def test_missions_overlap_and_the_end_may_be_told_before_the_beginning(tmp_path: Path) -> None:
    async def what(dispatch: Dispatch) -> None:
        for said, mission, expected in (
            ("begins", "a", "on_mission"),
            ("begins", "b", "on_mission"),
            ("ends", "a", "on_mission"),
            ("ends", "b", "on_duty"),
            ("ends", "c", "on_duty"),
            ("begins", "c", "on_duty"),
        ):
            await dispatch.taken(await dispatch.says(said, mission))
            await eventually(lambda: given(dispatch.store), expected)

    scene(tmp_path, what)
