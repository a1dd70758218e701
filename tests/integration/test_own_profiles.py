"""Own firmware profiles and rules, deployed as files: from a device that no shipped profile reads to its ticket."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.store import history
from collector.store.store import Store
from kitwatch.main import main
from tests.services.api import HEADERS, let_in
from tests.services.mosquitto import mosquitto
from tests.services.process import free_port, wait_for_port
from tests.services.snmpsim import snmpsim

PROFILE = """
id: acme/box
vendor: ACME
title: A box of the tests
backed_by: capture
match:
  sys_object_id: [1.3.6.1.4.1.54321.1]
  firmware: {range: ">=2 <3"}
identity:
  model: [1.3.6.1.4.1.54321.9.1.0]
  firmware: [1.3.6.1.4.1.54321.9.2.0]
metrics:
  - {metric: device.temperature_c, from: [1.3.6.1.4.1.54321.9.3.0], scale: 0.1}
examples:
  - title: a box
    answers:
      - 1.3.6.1.2.1.1.1.0|4|ACME box
      - 1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.54321.1
      - 1.3.6.1.2.1.1.3.0|67|4500
      - 1.3.6.1.4.1.54321.9.1.0|4|AC-5
      - 1.3.6.1.4.1.54321.9.2.0|4|2.4
      - 1.3.6.1.4.1.54321.9.3.0|2|415
    identity: {vendor: ACME, model: AC-5, firmware: "2.4"}
    readings: {device.firmware: "2.4", device.temperature_c: 41.5, device.uptime_s: 45}
  - title: a firmware of another generation
    answers:
      - 1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.54321.1
      - 1.3.6.1.4.1.54321.9.1.0|4|AC-5
      - 1.3.6.1.4.1.54321.9.2.0|4|3.0
    refused: firmware
"""
RULES = """
rules:
  box_hot:
    fault: host_hot
    kinds: [host]
    condition: {metric: device.temperature_c, above: 40, clear: 38}
    source: the maker of the box
"""
CAPTURE = "\n".join(
    (
        "1.3.6.1.2.1.1.1.0|4|ACME box",
        "1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.54321.1",
        "1.3.6.1.2.1.1.3.0|67|4500",
        "1.3.6.1.4.1.54321.9.1.0|4|AC-5",
        "1.3.6.1.4.1.54321.9.2.0|4|2.4",
        "1.3.6.1.4.1.54321.9.3.0|2|415",
    )
)


class Deployment:
    """The folders of a centre and of a vehicle, as people would lay them out."""

    def __init__(self, folder: Path, *, snmp: int = 161, broker: int = 1883, named: bool = True) -> None:
        self.centre, self.vehicle = folder / "centre", folder / "vehicle"
        self.web = free_port()
        for path in (self.centre / "own" / "acme", self.centre / "rules", self.vehicle):
            path.mkdir(parents=True)
        self.profile = self.centre / "own" / "acme" / "box.yaml"
        self.profile.write_text(PROFILE)
        (self.centre / "rules" / "own.yaml").write_text(RULES)
        self.fleet, self.collector = self.centre / "fleet.yaml", self.centre / "collector.yaml"
        self.agent, self.community = self.vehicle / "agent.yaml", self.vehicle / "community"
        self.community.write_text("box\n")
        self.community.chmod(0o600)
        snmp_input: dict[str, Any] = {
            "address": "127.0.0.1",
            "port": snmp,
            "community_file": str(self.community),
            "interval": 1,
            "deadline": 1,
        }
        if named:
            snmp_input["profile"] = "acme/box"
        box = {"kind": "host", "snmp": snmp_input}
        agents = {"router": {"devices": {"box": box}, "state_directory": str(self.vehicle / "state")}}
        site = {"broker": {"host": "127.0.0.1", "port": broker}, "vehicles": {"amb-1": {"agents": agents}}}
        self.write(self.fleet, {"sites": {"north": site}, "profiles": ["own"]})
        self.write(
            self.collector,
            {
                "broker": {"host": "127.0.0.1", "port": broker},
                "database": "sqlite:///kitwatch.sqlite",
                "fleet": "fleet.yaml",
                "rules": ["rules"],
                "web": {"port": self.web},
                "timings": {"receipt": 0.2, "beat": 0.5},
            },
        )

    @staticmethod
    def write(path: Path, data: dict[str, Any]) -> None:
        path.write_text(yaml.safe_dump(data))

    def deploy(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Write the agent's file and copy the profiles beside it, as the guide says."""
        assert main(["fleet", "agent", "amb-1", "router", "--fleet", str(self.fleet)]) == 0
        data = yaml.safe_load(capsys.readouterr().out)
        assert data["profiles"] == ["own"]
        self.write(self.agent, {**data, "waits": {"spread": 0, "problem_repeat": 1}})
        shutil.copytree(self.centre / "own", self.vehicle / "own")

    def get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.web, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=HEADERS)
            return json.loads(connection.getresponse().read())


@contextlib.contextmanager
def process(log: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        # from another folder: what is relative counts from the file, not from where the process stands
        running = subprocess.Popen(
            [sys.executable, "-m", "kitwatch.main", *words], stdout=out, stderr=out, cwd="/", env=dict(os.environ)
        )
        try:
            yield running
        finally:
            running.terminate()
            running.wait(60)


def until(find: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


@pytest.mark.parametrize("named", [True, False], ids=["named", "matched"])
def test_a_device_that_only_an_own_profile_reads_gets_a_ticket_by_an_own_rule(
    named: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captures = tmp_path / "captures"
    captures.mkdir()
    (captures / "box.snmprec").write_text(CAPTURE + "\n")
    with snmpsim(captures, "box") as snmp, mosquitto(tmp_path / "broker") as broker:
        begun_ms = time.time_ns() // 1_000_000
        at = Deployment(tmp_path, snmp=snmp, broker=broker.port, named=named)
        at.deploy(capsys)
        assert main(["fleet", "check", str(at.fleet)]) == 0
        assert main(["agent", "--config", str(at.agent), "--check"]) == 0
        assert main(["collector", "--config", str(at.collector), "--check"]) == 0
        with process(tmp_path / "collector.log", "collector", "--config", str(at.collector)) as collector:
            wait_for_port(at.web, collector, log=tmp_path / "collector.log")
            let_in(f"sqlite:///{at.centre}/kitwatch.sqlite")
            with process(tmp_path / "agent.log", "agent", "--config", str(at.agent)):
                (ticket,) = until(lambda: at.get("/api/tickets?state=open")["tickets"])
                assert (ticket["fault"], ticket["device"]) == ("host_hot", "box")
                whole = at.get(f"/api/tickets/{ticket['id']}")
                (sample,) = whole["evidence"][0]["samples"]
                assert (sample["metric"], sample["value"]) == ("device.temperature_c", 41.5)

                def box() -> Any:
                    return next(one for one in at.get("/api/vehicles/amb-1")["devices"] if one["device"] == "box")

                until(lambda: box()["problem"] == "")  # a poll that found the simulator busy may be the last
                device = box()
                assert device["open_tickets"] == [ticket["id"]]
                assert device["heard_at"] is not None
        store = Store.open(f"sqlite:///{at.centre}/kitwatch.sqlite")
        try:
            kept = history.samples(store, "north", "amb-1", begun_ms, time.time_ns() // 1_000_000)
        finally:
            store.close()
        values = {
            column.metric: value
            for sample in kept
            if sample.schema.device == "box"
            for column, value in zip(sample.schema.columns, sample.values, strict=True)
        }
        assert values["device.temperature_c"] == 41.5


def test_without_the_folder_nobody_knows_the_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = Deployment(tmp_path)
    data = yaml.safe_load(at.fleet.read_text())
    del data["profiles"]
    at.write(at.fleet, data)
    key = "sites.north.vehicles.amb-1.agents.router.devices.box.snmp.profile"
    assert main(["fleet", "check", str(at.fleet)]) == 2
    assert f"{at.fleet}: {key}: expected a profile for snmp, found 'acme/box'" in capsys.readouterr().err
    assert main(["collector", "--config", str(at.collector), "--check"]) == 2
    assert key in capsys.readouterr().err
    settings = yaml.safe_load(at.collector.read_text())
    at.write(at.collector, {**settings, "profiles": ["own"]})  # the collector's own key serves as well
    assert main(["collector", "--config", str(at.collector), "--check"]) == 0


def test_a_collector_that_runs_takes_a_new_profile_with_the_new_fleet_file(tmp_path: Path) -> None:
    """SIGHUP reads fleet file and profiles again; before, the profiles stayed those of the start."""
    with mosquitto(tmp_path / "broker") as broker:
        at = Deployment(tmp_path, broker=broker.port)
        whole = at.fleet.read_text()
        shutil.move(at.profile, tmp_path / "box.yaml")
        data = yaml.safe_load(whole)
        del data["sites"]["north"]["vehicles"]["amb-1"]["agents"]["router"]["devices"]["box"]["snmp"]["profile"]
        at.write(at.fleet, data)
        log = tmp_path / "collector.log"
        with process(log, "collector", "--config", str(at.collector)) as collector:
            wait_for_port(at.web, collector, log=log)
            let_in(f"sqlite:///{at.centre}/kitwatch.sqlite")
            until(lambda: at.get("/healthz")["sites"]["north"]["connected"])
            shutil.move(tmp_path / "box.yaml", at.profile)
            at.fleet.write_text(whole)
            collector.send_signal(signal.SIGHUP)
            until(lambda: "fleet is put in force" in log.read_text() or "nothing is put in force" in log.read_text())
            assert "nothing is put in force" not in log.read_text()


def test_what_is_wrong_with_a_folder_is_said_with_file_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = Deployment(tmp_path)
    at.deploy(capsys)

    def said(*words: str) -> str:
        status, told = main(list(words)), capsys.readouterr()
        lines = (
            told.err.splitlines() if status == 2 else [ln for ln in told.out.splitlines() if ln.startswith("needs ")]
        )
        assert len(lines) == 1, told
        return lines[0]

    commands = (
        ("fleet", "check", str(at.fleet)),
        ("agent", "--config", str(at.agent), "--check"),
        ("collector", "--config", str(at.collector), "--check"),
    )
    for words, own in zip(commands, (at.centre, at.vehicle, at.centre), strict=True):
        file = own / "own" / "acme" / "box.yaml"
        for text, expected in (
            (PROFILE.replace("range:", "rang:"), "firmware"),
            (PROFILE.replace("device.temperature_c, from", "device.temperature_f, from"), "temperature_f"),
            (PROFILE.replace("41.5", "42"), "a box"),
        ):
            if words[0] == "collector" and "rang:" not in text:
                continue  # it reads nothing by them: profiles check, fleet check and agent --check look closer
            file.write_text(text)
            _forget()
            error = said(*words)
            assert str(file) in error, error
            assert expected in error, error
        shutil.rmtree(own / "own") if own == at.vehicle else shutil.move(own / "own", own / "gone")
        named = str(at.agent if own == at.vehicle else at.fleet)
        error = said(*words)
        assert error.startswith(f"kitwatch: {named}: profiles.0: expected a folder of firmware profiles, found none")
        if own == at.centre:
            shutil.move(own / "gone", own / "own")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PROFILE)
        _forget()
        assert main(list(words)) == 0, capsys.readouterr()
        capsys.readouterr()


def _forget() -> None:
    """Profiles are loaded once a process; these tests change them."""
    from firmware_profiles.own import profiles_for, profiles_of

    profiles_of.cache_clear()
    profiles_for.cache_clear()
