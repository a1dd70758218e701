"""A vehicle's state through the API of any collector, on both databases; the owner is killed in between."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pwd
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from sqlalchemy import select

from collector.config import Missions, load_config
from collector.core.vehicle.state import Vehicle
from collector.main import Running, run
from collector.site.quotas import Quotas
from collector.site.status import Status
from collector.store import journal, queries, schema
from collector.store.commit import SiteConnection
from collector.store.errors import LostOwnership
from collector.store.rows import Changes, TakenAction
from collector.store.store import Store
from collector.web.app import Sources, make_app
from collector.webhook_signature import sign
from kitwatch.main import main
from telemetry.fleet import Fleet, Site, VehiclePlan
from tests.integration.test_collector import command, get, write
from tests.integration.test_site import until
from tests.services.api import HEADERS, let_in
from tests.services.mosquitto import mosquitto
from tests.services.process import free_port

JSON = {"Content-Type": "application/json"}


CONTRACT = f"roster:\n  wang: {{name: 王, role: dispatcher, login: {pwd.getpwuid(os.geteuid()).pw_name}}}\n"


def with_people(directory: Path, broker: int, **more: Any) -> Path:
    """Write a collector's files with a socket and a roster in which we are."""
    (directory / "contract.yaml").write_text(CONTRACT)
    return write(directory, broker, contract="contract.yaml", socket="people.sock", **more)


async def post(directory: Path, vehicle: str, body: str, headers: dict[str, str] = JSON) -> tuple[int, Any]:
    """Ask over the socket."""
    where = f"http://localhost/api/vehicles/{vehicle}/state"
    line = aiohttp.UnixConnector(str(directory / "people.sock"))
    async with aiohttp.ClientSession(connector=line) as session, session.post(where, data=body, headers=headers) as got:
        return got.status, await got.json()


async def ready(directory: Path, vehicle: str = "amb-3") -> None:
    """Wait until the site's owner has put the contract in force."""
    end = time.monotonic() + 60
    while (found := await post(directory, vehicle, '{"state": "on_duty"}'))[0] != 202:
        assert found[0] == 503, found
        assert time.monotonic() < end, found
        await asyncio.sleep(0.05)


def given(store: Store, vehicle: str = "amb-3") -> str:
    """By its row, and by the journal where that is behind."""
    v, j = schema.vehicle.c, schema.journal.c
    with store.engine.connect() as connection:
        state = connection.scalar(select(v.state).where(v.site == "north", v.vehicle == vehicle))
        for content in connection.scalars(select(j.content).where(j.site == "north").order_by(j.revision)):
            state = journal.decode(content)[0].get(vehicle, state)
    return Vehicle.from_json(state).given if state else ""


async def eventually(what: Callable[[], object], expected: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while (found := await asyncio.to_thread(what)) != expected:
        assert time.monotonic() < end, (found, expected)
        await asyncio.sleep(0.05)


def test_the_owner_takes_an_action_at_once_and_wrong_ones_are_refused(tmp_path: Path, database_url: str) -> None:
    async def scene(path: Path) -> None:
        stop, up = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=up.set_result))
        try:
            running: Running = await asyncio.wait_for(up, 60)
            url, store = running.address, running.store
            let_in(store)
            await until(lambda: running.owners["north"].status.connected)
            await ready(tmp_path)
            status, answer = await post(tmp_path, "amb-3", '{"state": "on_mission"}')
            assert (status, answer["status"]) == (202, "waiting")
            await eventually(lambda: given(store), "on_mission")
            _, shown = await get(f"{url}{answer['url']}")
            assert (shown["status"], shown["by"], shown["vehicle"]) == ("taken", "wang", "amb-3")
            assert shown["body"] == {"state": "on_mission"}
            assert shown["taken_at"] >= shown["created_at"]
            waited = [await wait_ms(store, word) for word in ("on_duty", "workshop", "on_duty", "on_mission")]
            assert min(waited) < 700, waited  # a tick is a second, and each word is given right after one was taken
            await refusals(url)
            assert given(store) == "on_mission"
            status, answer = await get(f"{url}/api/actions/999")
            assert (status, answer["detail"]) == (404, "no action 999")
            await eventually(lambda: queries.waiting_actions(store.engine, "north"), [])
            assert given(store, "amb-4") == "workshop"
        finally:
            stop.set()
            await asyncio.wait_for(task, 60)

    async def wait_ms(store: Store, word: str) -> int:
        _, answer = await post(tmp_path, "amb-3", f'{{"state": "{word}"}}')
        await eventually(lambda: given(store), word)
        found = queries.action(store.engine, answer["action"])
        assert found is not None
        assert found.taken_ms is not None
        return found.taken_ms - found.created_ms

    async def refusals(url: str) -> None:
        good = '{"state": "workshop"}'
        for body, words in {
            '{"state": "flying"}': ("state: expected", "found 'flying'"),
            '{"state": "parked"}': ("state: expected", "found 'parked'"),
            '{"state": "workshop", "by": "x"}': ("by", "expected"),
            '{"state": "workshop", "until": "2026-12-01T08:00:00"}': ("until", "its zone"),
            '{"state": "workshop", "till": 5}': ("till", "expected"),
            "[]": ("expected", "found"),
            "{": ("expected JSON", "found"),
        }.items():
            status, answer = await post(tmp_path, "amb-3", body)
            assert status == 400, (body, answer)
            assert all(word in answer["detail"] for word in words), (body, answer)
        assert (await post(tmp_path, "amb-99", good))[0] == 404
        assert (await post(tmp_path, "amb-3", good, {"Content-Type": "text/plain"}))[0] == 415
        status, answer = await post(tmp_path, "amb-3", good, {**JSON, "Origin": "http://evil.example"})
        assert (status, "http://evil.example" in answer["detail"]) == (403, True)
        assert (await post(tmp_path, "amb-3", good, {**JSON, "Origin": "null"}))[0] == 403
        assert (await post(tmp_path, "amb-3", good[:-1] + " " * 5000 + "}"))[0] == 413
        assert (await post(tmp_path, "amb-4", good, {**JSON, "Origin": "http://localhost"}))[0] == 202
        async with aiohttp.ClientSession() as session:
            where = f"{url}/api/vehicles/amb-3/state"
            for headers, code, said in ((JSON, 401, "signed in"), ({**JSON, **HEADERS}, 403, "--person")):
                async with session.post(where, data='{"state": "workshop"}', headers=headers) as refused:
                    assert (
                        refused.status,
                        said in (await refused.json())["detail"],
                    ) == (code, True)
            async with session.post(f"{url}/api/notifications/1/retry", headers=JSON) as refused:
                assert refused.status == 401

    with mosquitto(tmp_path / "mosquitto") as broker:
        asyncio.run(scene(with_people(tmp_path, broker.port, database=database_url)))


def test_the_command_puts_a_vehicle_into_the_workshop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--socket", str(tmp_path / "people.sock")]

    async def scene(path: Path) -> None:
        stop, up = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=up.set_result))
        try:
            running: Running = await asyncio.wait_for(up, 60)
            await ready(tmp_path)
            assert await asyncio.to_thread(main, ["duty", "amb-3", "workshop", *where]) == 0
            assert given(running.store) == "workshop"
            assert await asyncio.to_thread(main, ["duty", "amb-3", "on_duty", *where, "--json"]) == 0
            assert given(running.store) == "on_duty"
            assert await asyncio.to_thread(main, ["duty", "amb-99", "on_duty", *where]) == 1
        finally:
            stop.set()
            await asyncio.wait_for(task, 60)

    with mosquitto(tmp_path / "mosquitto") as broker:
        asyncio.run(scene(with_people(tmp_path, broker.port)))
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "amb-3: 维修"
    assert json.loads(said.out.splitlines()[1])["by"] == "wang"
    assert "no vehicle 'amb-99'" in said.err
    assert main(["duty", "amb-3", "on_duty", *where]) == 2
    assert "expected a collector that answers" in capsys.readouterr().err


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
    end = time.monotonic() + 60  # PostgreSQL lets go of the first one's lock when its backend has ended
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
        path = with_people(directory, broker, web=port, database=postgres_url)
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

    async def reaches(name: str, expected: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while (found := await state(name)) != expected:
            assert time.monotonic() < end, (name, found, (tmp_path / name / "log").read_text())
            await asyncio.sleep(0.05)

    async def scene(broker: int, store: Store) -> None:
        store.migrate()
        let_in(store)
        start("one", broker)
        await reaches("one", "owner")
        start("two", broker)
        await reaches("two", "waiting")
        await ready(tmp_path / "two")
        taken: dict[int, int | None] = {}

        async def say(through: str, word: str) -> int:
            status, answer = await post(tmp_path / through, "amb-3", f'{{"state": "{word}"}}')
            assert status == 202
            return int(answer["action"])

        async def done(id: int, word: str) -> None:
            def look() -> bool:
                found = queries.action(store.engine, id)
                assert found is not None
                taken[id] = found.taken_ms
                return found.taken_ms is not None

            await eventually(look, True)
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


def test_more_acts_than_may_wait_are_refused_until_some_are_taken(tmp_path: Path, database_url: str) -> None:
    """429 for that vehicle and for nobody else; nobody owns the site here, so they wait."""
    plan = VehiclePlan(agents={})
    fleet = Fleet(sites={"north": Site(vehicles={"amb-3": plan, "amb-4": plan})})
    store = Store.open(database_url)
    store.migrate()
    key = tmp_path / "key"
    key.write_text("a key of sixteen")
    key.chmod(0o600)

    async def scene() -> None:
        missions = Missions(signing_key_file=str(key))
        sources = Sources(store, fleet, {"north": Status()}, quotas=Quotas(actions=3), missions=missions)
        async with TestServer(make_app(sources)) as server:
            numbers = itertools.count()

            async def tell(vehicle: str) -> tuple[int, Any]:
                about = {"mission": "a", "vehicle": vehicle, "what": "begins", "at": "2026-11-28T09:00:00Z"}
                body = json.dumps(about).encode()
                headers = {**JSON, **sign("a key of sixteen", f"m-{next(numbers)}", int(time.time()), body)}
                where = server.make_url("/api/missions")
                async with aiohttp.ClientSession() as session, session.post(where, data=body, headers=headers) as got:
                    return got.status, await got.json()

            answers = [await tell("amb-3") for _ in range(5)]
            assert [status for status, _ in answers] == [202, 202, 202, 429, 429]
            assert answers[-1][1]["detail"] == "3 actions wait for amb-3: quotas.actions"
            assert (await tell("amb-4"))[0] == 202
            assert len(queries.waiting_actions(store.engine, "north")) == 4, "what was refused was not kept"
            with SiteConnection.acquire(store, "north", "owner") as site:  # type: ignore[union-attr]
                site.commit(Changes(actions_taken=[TakenAction(answers[0][1]["action"], 5)]))
            assert [(await tell("amb-3"))[0] for _ in range(2)] == [202, 429]

    asyncio.run(scene())
    store.close()
