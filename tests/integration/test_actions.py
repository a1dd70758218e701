"""A vehicle's state through the API of any collector, on both databases; the owner is killed in between."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer
from sqlalchemy import select

from collector.config import load_config
from collector.core.vehicle.state import Vehicle
from collector.main import Running, run
from collector.site.ownership import Status
from collector.site.quotas import Quotas
from collector.store import journal, queries, schema
from collector.store.commit import SiteConnection
from collector.store.errors import LostOwnership
from collector.store.rows import Changes, TakenAction
from collector.store.store import Store
from collector.web.app import Sources, make_app
from telemetry.fleet import Fleet, Site, VehiclePlan
from tests.integration.test_collector import command, get, write
from tests.integration.test_site import until
from tests.services.mosquitto import mosquitto
from tests.services.process import free_port

JSON = {"Content-Type": "application/json"}


async def post(url: str, vehicle: str, body: str, headers: dict[str, str] = JSON) -> tuple[int, Any]:
    where = f"{url}/api/vehicles/{vehicle}/state"
    async with aiohttp.ClientSession() as session, session.post(where, data=body, headers=headers) as answer:
        return answer.status, await answer.json()


def given(store: Store, vehicle: str = "amb-3") -> str:
    """By its row, and by the journal where that is behind."""
    v, j = schema.vehicle.c, schema.journal.c
    with store.engine.connect() as connection:
        state = connection.scalar(select(v.state).where(v.site == "north", v.vehicle == vehicle))
        for content in connection.scalars(select(j.content).where(j.site == "north").order_by(j.revision)):
            state = journal.decode(content)[0].get(vehicle, state)
    return Vehicle.from_json(state).given if state else ""


async def eventually(what: Callable[[], object], expected: object, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (found := await asyncio.to_thread(what)) != expected:
        assert time.monotonic() < end, (found, expected)
        await asyncio.sleep(0.05)


def test_the_owner_takes_an_action_at_once_and_wrong_ones_are_refused(tmp_path: Path, database_url: str) -> None:
    async def scene(path: Path) -> None:
        stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=ready.set_result))
        try:
            running: Running = await asyncio.wait_for(ready, 60)
            url, store = running.address, running.store
            await until(lambda: running.owners["north"].status.connected)
            status, answer = await post(url, "amb-3", '{"state": "on_mission", "by": "调度 3"}')
            assert (status, answer["status"]) == (202, "waiting")
            await eventually(lambda: given(store), "on_mission", 5)
            _, shown = await get(f"{url}{answer['url']}")
            assert (shown["status"], shown["by"], shown["vehicle"]) == ("taken", "调度 3", "amb-3")
            assert shown["body"] == {"state": "on_mission"}
            assert shown["taken_at"] >= shown["created_at"]
            waited = [await wait_ms(url, store, word) for word in ("on_duty", "workshop", "on_duty", "on_mission")]
            assert min(waited) < 300, waited  # a tick is a second, and each word is given right after one was taken
            await refusals(url)
            assert given(store) == "on_mission"
            assert await get(f"{url}/api/actions/999") == (404, {"error": "no action 999"})
            await eventually(lambda: queries.waiting_actions(store.engine, "north"), [], 5)
            assert given(store, "amb-4") == "workshop"
        finally:
            stop.set()
            await asyncio.wait_for(task, 60)

    async def wait_ms(url: str, store: Store, word: str) -> int:
        _, answer = await post(url, "amb-3", f'{{"state": "{word}", "by": "x"}}')
        await eventually(lambda: given(store), word, 5)
        found = queries.action(store.engine, answer["action"])
        assert found is not None
        assert found.taken_ms is not None
        return found.taken_ms - found.created_ms

    async def refusals(url: str) -> None:
        good = '{"state": "workshop", "by": "x"}'
        for body, words in {
            '{"state": "flying", "by": "x"}': ("state: expected", "found 'flying'"),
            '{"state": "workshop"}': ("by", "expected"),
            '{"state": "workshop", "by": ""}': ("by: expected", "found"),
            '{"state": "workshop", "by": "a\\u0000b"}': ("by: expected", "found"),
            '{"state": "workshop", "by": 7}': ("by: expected", "found"),
            '{"state": "workshop", "by": "x", "until": 5}': ("until", "expected"),
            "[]": ("expected", "found"),
            "{": ("expected JSON", "found"),
        }.items():
            status, answer = await post(url, "amb-3", body)
            assert status == 400, (body, answer)
            assert all(word in answer["error"] for word in words), (body, answer)
        assert (await post(url, "amb-99", good))[0] == 404
        assert (await post(url, "amb-3", good, {"Content-Type": "text/plain"}))[0] == 415
        status, answer = await post(url, "amb-3", good, {**JSON, "Origin": "http://evil.example"})
        assert (status, "http://evil.example" in answer["error"]) == (403, True)
        assert (await post(url, "amb-3", good, {**JSON, "Origin": "null"}))[0] == 403
        assert (await post(url, "amb-3", good[:-1] + " " * 5000 + "}"))[0] == 413
        assert (await post(url, "amb-4", good, {**JSON, "Origin": url}))[0] == 202

    with mosquitto(tmp_path / "mosquitto") as broker:
        asyncio.run(scene(write(tmp_path, broker.port, database=database_url)))


def test_a_commit_of_a_past_epoch_takes_nothing(database_url: str) -> None:
    store = Store.open(database_url)
    store.migrate()
    with store.transaction() as connection:
        ids = [
            queries.add_action(
                connection, site=site, vehicle="amb-3", kind="state", body='{"state":"workshop"}', who="x", created_ms=1
            )
            for site in ("north", "north", "south")
        ]
    assert [one.id for one in queries.waiting_actions(store.engine, "north")] == ids[:2]
    with SiteConnection.acquire(store, "north", "first") as site:  # type: ignore[union-attr]
        site.epoch -= 1
        try:
            site.commit(Changes(actions_taken=[TakenAction(ids[0], 5)]))
        except LostOwnership:
            pass
        else:
            raise AssertionError("a past epoch has committed")
    assert [one.id for one in queries.waiting_actions(store.engine, "north")] == ids[:2]
    end = time.monotonic() + 10  # PostgreSQL lets go of the first one's lock when its backend has ended
    while (second := SiteConnection.acquire(store, "north", "second")) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    with second as site:
        site.commit(
            Changes(actions_taken=[TakenAction(ids[0], 6), TakenAction(ids[1], 7, "no"), TakenAction(ids[2], 8)])
        )
    assert queries.waiting_actions(store.engine, "north") == []
    found = [queries.action(store.engine, id) for id in ids]
    assert [(one.taken_ms, one.error) for one in found if one] == [(6, ""), (7, "no"), (None, "")], "not another site's"
    store.close()


def test_through_another_collectors_api_and_over_kill_9_of_the_owner(tmp_path: Path, postgres_url: str) -> None:
    """Two collectors: the word is given to the one that does not own the site, and its owner is killed right then."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    urls: dict[str, str] = {}

    def start(name: str, broker: int) -> None:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        port = free_port()
        path = write(directory, broker, web=port, database=postgres_url)
        urls[name] = f"http://127.0.0.1:{port}"
        with (directory / "log").open("ab") as out:
            processes[name] = subprocess.Popen(
                command("--config", str(path)), stdout=out, stderr=out, cwd=os.getcwd()
            )  # fmt: skip

    async def state(name: str) -> str:
        try:
            return str((await get(f"{urls[name]}/healthz"))[1]["sites"]["north"]["state"])
        except (aiohttp.ClientError, OSError):
            return "starting"

    async def reaches(name: str, expected: str, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while (found := await state(name)) != expected:
            assert time.monotonic() < end, (name, found, (tmp_path / name / "log").read_text())
            await asyncio.sleep(0.05)

    async def scene(broker: int, store: Store) -> None:
        start("one", broker)
        await reaches("one", "owner")
        start("two", broker)
        await reaches("two", "waiting")
        taken: dict[int, int | None] = {}

        async def say(through: str, word: str) -> int:
            status, answer = await post(urls[through], "amb-3", f'{{"state": "{word}", "by": "dispatch"}}')
            assert status == 202
            return int(answer["action"])

        async def done(id: int, word: str) -> None:
            def look() -> bool:
                found = queries.action(store.engine, id)
                assert found is not None
                taken[id] = found.taken_ms
                return found.taken_ms is not None

            await eventually(look, True, 15)
            assert given(store) == word

        await done(await say("two", "on_mission"), "on_mission")  # the owner lives: within its tick
        owner, other = "one", "two"
        for word in ("workshop", "on_duty", "on_mission"):
            id = await say(other, word)
            processes[owner].kill()
            processes[owner].wait(10)
            await done(id, word)
            await reaches(other, "owner")
            start(owner, broker)
            owner, other = other, owner
            await reaches(other, "waiting")
        again = {id: found.taken_ms for id in taken if (found := queries.action(store.engine, id))}
        assert again == taken, "taken once, never again"
        assert given(store) == "on_mission"

    store = Store.open(postgres_url)
    store.migrate()
    try:
        with mosquitto(tmp_path / "mosquitto") as broker:
            asyncio.run(scene(broker.port, store))
    finally:
        for process in processes.values():
            process.kill()
            process.wait(10)
        store.close()


def test_more_acts_than_may_wait_are_refused_until_some_are_taken(database_url: str) -> None:
    """429 for that vehicle and for nobody else; nobody owns the site here, so they wait."""
    plan = VehiclePlan(agents={})
    fleet = Fleet(sites={"north": Site(vehicles={"amb-3": plan, "amb-4": plan})})
    store = Store.open(database_url)
    store.migrate()

    async def scene() -> None:
        sources = Sources(store, fleet, {"north": Status()}, quotas=Quotas(actions=3))
        async with TestServer(make_app(sources)) as server:
            url, good = str(server.make_url("")).rstrip("/"), '{"state": "workshop", "by": "x"}'
            answers = [await post(url, "amb-3", good) for _ in range(5)]
            assert [status for status, _ in answers] == [202, 202, 202, 429, 429]
            assert answers[-1][1]["error"] == "3 actions wait for amb-3: quotas.actions"
            assert (await post(url, "amb-4", good))[0] == 202
            assert len(queries.waiting_actions(store.engine, "north")) == 4, "what was refused was not kept"
            with SiteConnection.acquire(store, "north", "owner") as site:  # type: ignore[union-attr]
                site.commit(Changes(actions_taken=[TakenAction(answers[0][1]["action"], 5)]))
            assert [(await post(url, "amb-3", good))[0] for _ in range(2)] == [202, 429]

    asyncio.run(scene())
    store.close()
