"""In force is what stands in the database: other files change nothing until somebody puts them in."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collector.core.rules.files import load_rules, parse_rules
from collector.reload import differing, put
from collector.site.in_force import RULES, InForce
from collector.store import editions, queries
from collector.store.store import Store
from tests.integration.test_site import FLEET, SITE, now_ms, owner, until
from tests.services.mosquitto import mosquitto
from tests.services.process import Server, free_port

SHIPPED = load_rules()
OTHER = parse_rules([*SHIPPED.files, ("mine.yaml", {"overrides": [{"rule": "sim_absent", "disabled": True}]})])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> object:
    with mosquitto(tmp_path_factory.mktemp("mosquitto")) as running:
        yield running


def test_other_files_are_told_and_put_in_when_asked(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with owner(store, broker.port) as first:
            await until(lambda: editions.latest(store, SITE).keys() == {"fleet", "rules", "contract"})
            assert first.status.differing == ()
        async with owner(store, broker.port, OTHER) as second:
            assert second.status.differing == (RULES,)
            await until(lambda: second.status.editions == {"fleet": 1, "rules": 1, "contract": 1})
            own = InForce(SITE, FLEET, OTHER)
            assert differing(store, own) == [RULES]
            id = await asyncio.to_thread(put, store, own, RULES, "li", now_ms())
            second.look_for_actions()
            await until(lambda: second.status.editions.get(RULES) == 2, why=lambda: second.status)
            action = queries.action(store.engine, id)
            assert action is not None
            assert action.error == ""
            assert differing(store, own) == []
        async with owner(store, broker.port, OTHER) as third:
            assert third.status.differing == ()
            assert third.status.editions[RULES] == 2

    asyncio.run(scene())
    assert {key for key in editions.contents(store, SITE) if key[0] == RULES} == {(RULES, 1), (RULES, 2)}


def test_the_command_and_the_signal(tmp_path: Path, broker: Server) -> None:
    (tmp_path / "fleet.yaml").write_text("sites: {north: {vehicles: {amb-1: {agents: {router: {devices: {}}}}}}}\n")
    rules, config = tmp_path / "mine.yaml", tmp_path / "collector.yaml"
    rules.write_text("{}\n")
    config.write_text(
        json.dumps(
            {
                "broker": {"host": "127.0.0.1", "port": broker.port},
                "database": f"sqlite:///{tmp_path}/k.sqlite",
                "fleet": "fleet.yaml",
                "rules": ["mine.yaml"],
            }
        )
    )
    command = [sys.executable, "-m", "kitwatch.main"]
    log = (tmp_path / "log").open("wb")
    collector = subprocess.Popen([*command, "collector", "--config", str(config)], stderr=log)
    try:
        path = Store.open(f"sqlite:///{tmp_path}/k.sqlite")

        def number() -> int:
            try:
                return editions.latest(path, "north").get(RULES, (0, "", b""))[0]
            except Exception:
                return 0

        _until(lambda: number() == 1)
        reload = [*command, "reload", "--config", str(config), "--json"]
        assert json.loads(subprocess.run(reload, capture_output=True, check=True).stdout) == {"editions": []}
        rules.write_text("overrides: [{rule: sim_absent, disabled: true}]\n")
        told = json.loads(subprocess.run(reload, capture_output=True, check=True).stdout)
        assert told == {"editions": [{"site": "north", "kind": "rules", "result": "in force"}]}
        assert number() == 2
        rules.write_text("overrides: [{rule: sim_locked, disabled: true}]\n")
        collector.send_signal(signal.SIGHUP)
        _until(lambda: number() == 3)
        rules.write_text("overrides: [{rule: no_such_rule, disabled: true}]\n")
        broken = subprocess.run(reload, capture_output=True, check=False)
        assert broken.returncode == 2
        assert b"no_such_rule" in broken.stderr
        assert broken.stderr.count(b"\n") == 1
        collector.send_signal(signal.SIGHUP)
        _until(lambda: b"nothing is put in force" in (tmp_path / "log").read_bytes())
        assert collector.poll() is None
        assert number() == 3
        path.close()
    finally:
        collector.terminate()
        assert collector.wait(60) == 0, os.fsdecode((tmp_path / "log").read_bytes())[-2000:]
        log.close()


def _until(what: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    assert callable(what)
    while not what():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def test_a_signal_before_there_is_anything_to_read_again_is_no_end(tmp_path: Path) -> None:
    """The database is not there yet: it goes on waiting for it."""
    (tmp_path / "fleet.yaml").write_text("sites: {north: {vehicles: {}}}\n")
    config = tmp_path / "collector.yaml"
    database = f"postgresql://x:x@127.0.0.1:{free_port()}/x"
    config.write_text(json.dumps({"broker": {"host": "127.0.0.1"}, "database": database, "fleet": "fleet.yaml"}))
    with (tmp_path / "log").open("wb") as log:
        collector = subprocess.Popen(
            [sys.executable, "-m", "kitwatch.main", "collector", "--config", str(config)], stderr=log
        )
        try:
            _until(lambda: b"trying again" in (tmp_path / "log").read_bytes())
            collector.send_signal(signal.SIGHUP)
            collector.terminate()
            assert collector.wait(60) == 0
        finally:
            collector.kill()
            collector.wait()
