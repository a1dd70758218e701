"""``kitwatch agent --once``: what somebody in the vehicle sees of a kit on real protocols (item 15-5)."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.kit import ENCODER_USER, Endpoints, Kit
from simulator.scenario import Scenario
from tests.guide import LANGUAGES, printed
from tests.services.process import free_port

KITWATCH = str(Path(sys.executable).parent / "kitwatch")
SECRETS = {"community": "simulated-1", "password": "simulated-2"}
PATIENT = {"interval": 60, "deadline": 50}


def configuration(folder: Path, ends: Endpoints) -> dict[str, Any]:
    """Return an agent's file for the kit, with a camera that is not there; ``state`` must stay what it is."""
    for name, text in SECRETS.items():
        (folder / name).write_text(text + "\n")
        (folder / name).chmod(0o600)
    snmp = {"address": "127.0.0.1", "community_file": str(folder / "community"), "timeout": 5, **PATIENT}
    login = {"user": ENCODER_USER, "password_file": str(folder / "password")}
    return {
        "site": "c1", "vehicle": "amb-01", "agent": "router", "broker": {"host": "127.0.0.1", "port": free_port()},
        "state_directory": str(folder / "state"),
        "devices": {
            "router": {"kind": "router", "snmp": {**snmp, "port": ends.router_port}},
            "modem": {"kind": "modem", "modem": {"port": ends.modem_port, **PATIENT}},
            "gnss": {"kind": "gnss", "gnss": {"port": ends.gnss_port, **PATIENT}},
            "encoder": {"kind": "encoder", "http": {"url": ends.encoder_url, **PATIENT, **login}},
            "camera-9": {"kind": "camera", "snmp": {**snmp, "port": free_port(), "timeout": 0.5, "deadline": 1}},
        },
    }  # fmt: skip


def once(folder: Path, calls: Sequence[list[str]]) -> list[tuple[int, str, str]]:
    """Run ``kitwatch agent --once`` with these words beside a kit; return status, output and errors of each."""

    async def main() -> list[tuple[int, str, str]]:
        kit = Kit("amb-01", Scenario(name="t", faults=()), SECRETS["community"], encoder_password=SECRETS["password"],
                  monotonic=lambda: 50.0)  # fmt: skip
        ends = await kit.start(0.0)
        try:
            (folder / "agent.yaml").write_text(yaml.safe_dump(configuration(folder, ends), sort_keys=False))
            done = []
            for words in calls:
                process = await asyncio.create_subprocess_exec(
                    KITWATCH, "agent", "--config", str(folder / "agent.yaml"), "--once", *words,
                    stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                )  # fmt: skip
                out, err = await asyncio.wait_for(process.communicate(), 120)
                done.append((process.returncode or 0, out.decode(), err.decode()))
            return done
        finally:
            await kit.stop()

    return asyncio.run(main())


def test_every_device_is_read_once_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (status, out, err), (status_of_one, one, _) = once(tmp_path, [["--json"], ["router", "--json"]])
    assert (status, err) == (1, ""), "a camera is not there"
    rows = {row["device"]: row for row in json.loads(out)["inputs"]}
    assert list(rows) == ["router", "modem", "gnss", "encoder", "camera-9"]
    assert rows["router"]["profile"] == "teltonika/rutos-7.10"
    assert rows["modem"]["profile"] == "at/quectel"
    assert rows["encoder"]["profile"] == "hikvision/isapi"
    assert rows["router"]["identity"]["vendor"] == "Teltonika"
    for name in ("router", "modem", "gnss", "encoder"):
        values = {one["metric"]: one["value"] for one in rows[name]["readings"]}
        assert values["device.reachable"] is True
        assert len(values) > 3, rows[name]
        assert rows[name]["problem"] is None
        assert 0 < rows[name]["seconds"] < PATIENT["deadline"]
    assert rows["camera-9"]["problem"] == "no answer over SNMP"
    assert rows["camera-9"]["readings"] == [{"metric": "device.reachable", "labels": {}, "value": False}]
    assert not (tmp_path / "state").exists(), "no outbox is touched"
    assert status_of_one == 0
    assert [row["device"] for row in json.loads(one)["inputs"]] == ["router"]


def test_what_a_person_sees_is_what_the_documents_show(tmp_path: Path) -> None:
    (status, gnss, _), (missing, camera, _) = once(tmp_path, [["gnss"], ["camera-9"]])
    assert (status, missing) == (0, 1)
    for language in LANGUAGES:
        assert without_figures(printed(language, "once")) == without_figures(gnss)
        assert without_figures(printed(language, "once, not there")) == without_figures(camera)


def without_figures(text: str) -> list[str]:
    return [re.sub(r"\d+(\.\d+)?", "0", " ".join(line.split())) for line in text.splitlines()]


def test_a_device_that_there_is_not(tmp_path: Path) -> None:
    ((status, out, err),) = once(tmp_path, [["rooter"]])
    assert (status, out) == (2, "")
    assert "expected one of its devices (router, modem, gnss, encoder, camera-9), found 'rooter'" in err


@pytest.mark.parametrize("words", [["--check", "--once"]])
def test_one_thing_at_a_time(tmp_path: Path, words: list[str]) -> None:
    from kitwatch.main import main

    with pytest.raises(SystemExit) as ended:
        main(["agent", *words])
    assert ended.value.code == 2
