"""The table of docs/diagnosis.md: what two agents say of one thing, and what the machines conclude."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.unit.judging import SHIPPED, Story, vehicle_plan

PAGE: Final = Path(__file__).parents[2] / "docs" / "diagnosis.md"
DEVICES: Final = {
    "router": "{kind: router, snmp: {address: 10.0.0.1, community_file: /c}}",
    "camera": "{kind: camera, depends_on: [router], snmp: {address: 10.0.0.2, community_file: /c}, stream: {url: /u}}",
    "other": "{kind: camera, depends_on: [router], snmp: {address: 10.0.0.3, community_file: /c}}",
    "link": "{kind: link, depends_on: [router], probe: {targets: {a: {kind: icmp, address: 10.1.0.1}}}}",
}
LOSS: Final = "link.loss_percent{target=a}"
STREAM: Final = "stream.up{stream=main}", "stream.frozen{stream=main}"
View = tuple[str, str, dict[str, Any]]
"""(device, empty for the row's own; input; values)"""
VIEWS: Final[dict[str, View | None]] = {
    "answers": ("", "snmp", {"device.reachable": True}),
    "does not answer": ("", "snmp", {"device.reachable": False}),
    "says nothing": None,
    "a camera behind it answers": ("other", "snmp", {"device.reachable": True}),
    "a target behind it answers": ("link", "probe", {LOSS: 0.0}),
    "its stream plays": ("", "stream", dict(zip(STREAM, (True, False), strict=True))),
    "its picture stands still": ("", "stream", dict(zip(STREAM, (True, True), strict=True))),
    "too hot": ("", "snmp", {"modem.temperature_c": 99.0}),
    "well": ("", "snmp", {"modem.temperature_c": 40.0}),
    "no loss": ("", "probe", {LOSS: 0.0}),
    "loses a third": ("", "probe", {LOSS: 33.3}),
}


def rows() -> list[tuple[str, str, str, frozenset[str]]]:
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 4 and cells[0] in ("router", "camera", "link"):
            found.append((*cells[:3], frozenset(re.findall(r"`(\w+)`", cells[3]))))
    return found  # type: ignore[return-value]


def test_each_pair_of_views_stands_in_the_table() -> None:
    """Of each thing, each pair of answering, not answering and saying nothing of which anything can be concluded."""
    pairs = {(of, one, other) for of, one, other, _ in rows()}
    said = ("answers", "does not answer")
    assert {(of, one, other) for of in ("router", "camera") for one in said for other in said} <= pairs
    assert len(rows()) >= 20


@pytest.mark.parametrize(("of", "box", "tablet", "concluded"), rows())
@pytest.mark.parametrize("seconds", [10, 60])
def test_what_two_agents_say_comes_to_this(
    of: str, box: str, tablet: str, concluded: frozenset[str], seconds: int
) -> None:
    views = {agent: found for agent, view in (("box", box), ("tablet", tablet)) if (found := VIEWS[view]) is not None}
    lines = ["agents:"]
    for agent, (device, input, _) in views.items():
        configured = DEVICES[device or of]
        if device == "" and of == "camera":  # the one input of which it speaks
            configured = re.sub(
                ", stream: .*}}$" if input == "snmp" else "snmp: {.*?}, ", "}" * (input == "snmp"), configured
            )
        lines += [f"  {agent}:", "    devices:", f"      {device or of}: {configured}"]
        lines += [f"      router: {DEVICES['router']}"] if (device or of) != "router" else []
    one = Story(SHIPPED, vehicle_plan("\n".join(lines)), restart=True)
    for at in range(0, 2_400, seconds):
        for agent, (device, input, values) in views.items():
            one.sample(device or of, values, at, agent=agent, input=input)
            if (device or of) != "router" and of != "router":
                one.sample("router", {"device.reachable": True}, at, agent=agent)
        one.tick(at + 2)
    assert {key.partition("/")[0] for key in one.roots()} == concluded
    assert len(one.roots()) == len(concluded), "one problem each"
    assert {problem.key.fault for problem in one.problems() if problem.cause is None} == concluded, "and none before"
