"""JSON Schemas for editors: what the loaders take they take, what they mark is wrong, and an editor can read them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from playwright._impl._driver import compute_driver_executable

from agent.config import render
from firmware_profiles.load import HOME
from kitwatch.main import main
from telemetry.files import parse_yaml, read_yaml
from telemetry.fleet import load_fleet
from tests.guide import blocks

ROOT = Path(__file__).parents[2]
NAMES = ("fleet", "agent", "collector", "sms-gateway", "contract", "calendar", "profile", "rules", "scenario")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("schemas") / "made"
    assert main(["schema", "--to", str(path)]) == 0
    return path


def schema(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.schema.json").read_text("utf-8"))
    return found


def plain(data: Any) -> Any:
    """Return what YAML holds as an editor sees it: keys are texts."""
    return json.loads(json.dumps(data, default=str))


def complaints(folder: Path, name: str, data: Any) -> list[str]:
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in Draft202012Validator(schema(folder, name)).iter_errors(plain(data))
    ]


def test_there_is_one_for_every_file(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.schema.json" for name in NAMES)
    for name in NAMES:
        Draft202012Validator.check_schema(schema(folder, name))


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, definition in schema["$defs"].items():
        for key, found in definition.get("properties", {}).items():
            yield name, key, found


@pytest.mark.parametrize("name", NAMES)
def test_every_key_says_what_it_means(folder: Path, name: str) -> None:
    tags = {"channel"}  # what tells types from each other
    bare = [f"{of}.{key}" for of, key, found in properties(schema(folder, name)) if not found.get("description")]
    assert [one for one in bare if one.partition(".")[2] not in tags] == []


def test_what_is_shipped_is_right(folder: Path) -> None:
    files = [("fleet", ROOT / "systemd/examples/fleet.yaml"), ("collector", ROOT / "systemd/examples/collector.yaml")]
    files += [("sms-gateway", path) for path in sorted((ROOT / "systemd/examples").glob("sms-*.yaml"))]
    files += [("profile", path) for path in sorted(HOME.rglob("*.yaml"))]
    shipped = sorted((ROOT / "collector" / "rules").glob("*.yaml"))
    files += [("rules", path) for path in shipped if path.name != "topology.yaml"]
    files += [("scenario", path) for path in sorted((ROOT / "simulator" / "scenarios").glob("*.yaml"))]
    assert len(files) > 50
    for name, path in files:
        assert complaints(folder, name, read_yaml(path)) == [], path


def test_what_the_documents_show_is_right(folder: Path) -> None:
    text = "\n".join(block.text for block in blocks("en")).replace("$(hostname)", "centre.example.org")
    shown = re.findall(r"cat > /etc/kitwatch/(\S+) <<'?END'?\n(.*?)\nEND", text, re.DOTALL)
    kinds = {"profiles/acme/box": "profile", "rules/own": "rules"}
    shown = [(kinds.get(file.removesuffix(".yaml"), file.removesuffix(".yaml")), yaml) for file, yaml in shown]
    (rules,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "rules.md").read_text("utf-8"), re.DOTALL)
    assert {"fleet", "collector", "profile", "rules"} <= {name for name, _ in shown}
    for name, yaml in [*shown, ("rules", rules)]:
        assert complaints(folder, name, parse_yaml(yaml, name)) == [], yaml


def test_what_is_written_from_a_fleet_file_is_right(folder: Path) -> None:
    path = ROOT / "systemd" / "examples" / "fleet.yaml"
    for agent in ("router", "tablet"):
        assert complaints(folder, "agent", parse_yaml(render(load_fleet(path), "amb-03", agent), path)) == []


RULE = {"fault": "host_hot", "condition": {"metric": "device.temperature_c", "above": 70}}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("fleet", {"sites": {"c1": {"vehicles": {}, "hotlin": "120"}}}),
        ("fleet", {"sites": {"c 1": {"vehicles": {}}}, "profiles": "own"}),
        ("fleet", {"sites": {"c1": {"vehicles": {"a": {"agents": {"r": {"devices": {"d": {"kind": "toaster"}}}}}}}}}),
        ("agent", {"site": "c1", "vehicle": "v", "agent": "a" * 40, "broker": {"host": "h"}, "devices": {}}),
        ("collector", {"broker": {"host": "h"}, "database": "sqlite:///x", "fleet": "f", "web": {"names": ["a b"]}}),
        ("collector", {"broker": {"host": "h"}, "database": "sqlite:///x"}),
        ("profile", {"id": "Maker Model"}),
        ("profile", {"id": "a/b", "metrics": [{"metric": "device.temperature_c"}]}),
        ("rules", {"rules": {"hot": {**RULE, "fault": "host_hott"}}}),
        ("rules", {"rules": {"hot": {"fault": "host_hot"}}}),
        ("rules", {"rules": {"hot": {**RULE, "under": "x"}}}),
        ("rules", {"rules": {"hot": {**RULE, "condition": {"metric": "device.temperature_f", "above": 1}}}}),
        ("rules", {"rules": {"hot": {**RULE, "condition": {"all_of": [{"metric": "x", "abov": 1}]}}}}),
        ("rules", {"rules": {"hot": {**RULE, "condition": {"not": {"any_of": {}}}}}}),
        ("rules", {"rules": {"hot": {**RULE, "only_if": {"works": "yes"}}}}),
        ("rules", {"rules": {"hot": {**RULE, "condition": {"silence_of": "driver"}}}}),
        ("rules", {"rules": {}, "overrides": [{"rule": "modem_hot", "set": {"fo": "5m"}}]}),
    ],
)
def test_what_is_wrong_is_marked(folder: Path, name: str, data: dict[str, Any]) -> None:
    assert complaints(folder, name, data) != []


@pytest.mark.parametrize(
    "rule",
    [
        RULE,
        {**RULE, "only_if": {"works": True}},
        {**RULE, "only_if": {"all_of": [{"works": False}, {"metric": "modem.sim", "is": ["ready"]}]}},
        {"fault": "vehicle_silent", "condition": {"silence_of": "vehicle"}},
        {**RULE, "indicators": {"a": {"metric": "link.rtt_ms", "mean": {"over": "10m"}, "above": 7}}, "condition": "a"},
        {**RULE, "condition": {"share": {"over": "10m"}, "of": {"not": RULE["condition"]}, "above": 0.3}},
        {**RULE, "condition": {"metric": "link.rtt_ms", "of": "all", "above": "300ms"}, "for": 30, "class": "general"},
    ],
)
def test_what_may_be_written_is_not_marked(folder: Path, rule: dict[str, Any]) -> None:
    assert complaints(folder, "rules", {"rules": {"one": rule}}) == []


def test_an_editor_can_read_every_pattern(folder: Path) -> None:
    """JSON Schema's patterns are ECMA-262's; editors run them with the flag ``u``, which refuses unknown escapes."""
    found: dict[str, None] = {}

    def collect(part: Any) -> None:
        if isinstance(part, dict):
            if isinstance(part.get("pattern"), str):
                found[part["pattern"]] = None
            for inner in part.values():
                collect(inner)
        elif isinstance(part, list):
            for inner in part:
                collect(inner)

    for name in NAMES:
        collect(schema(folder, name))
    assert len(found) > 2
    node, _ = compute_driver_executable()
    program = "for (const one of JSON.parse(process.argv[1])) console.log(new RegExp(one, 'u').test('amb-03'))"
    told = subprocess.run(
        [str(node), "-e", program, json.dumps(list(found))], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == [str(re.search(one, "amb-03") is not None).lower() for one in found]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["schema", "--to", str(tmp_path / "file")]) == 2
    assert "expected a folder that can be written" in capsys.readouterr().err
