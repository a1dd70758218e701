"""A device that does its work is not dead because its management port is silent (field note 29)."""

from __future__ import annotations

import pytest

from telemetry.files import FileError
from tests.unit.judging import PLAN, SHIPPED, Story, rules_of, vehicle_plan

SMALL = """
agents:
  box:
    devices:
      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
      uplink: {kind: link, depends_on: [router], probe: {targets: {a: {kind: icmp, address: 10.1.0.1}}}}
"""


def roots(story: Story) -> list[tuple[str, str, float, float | None]]:
    return [life for life, problem in zip(story.life(), story.problems(), strict=True) if problem.cause is None]


def test_a_router_that_nothing_passes_is_dead() -> None:
    story = Story(SHIPPED)
    for at in range(0, 600, 10):
        story.sample("router", {"device.reachable": False}, at)
        story.sample("uplink", {"link.loss_percent{target=a}": 100.0}, at)
    assert story.roots() == ["router_dead/router"]


def test_a_router_that_passes_what_we_ask_behind_it_is_not_dead() -> None:
    story = Story(SHIPPED)
    for at in range(0, 600, 10):
        story.sample("router", {"device.reachable": False}, at)
        story.sample("uplink", {"link.loss_percent{target=a}": 0.0, "link.rtt_ms{target=a}": 30.0}, at)
    assert story.roots() == ["management_unreachable/router"]


def test_a_camera_whose_stream_plays_is_not_down() -> None:
    story = Story(SHIPPED)
    for at in range(0, 600, 10):
        story.sample("camera-1", {"device.reachable": False}, at)
        story.sample("camera-1", {"stream.up{stream=main}": True}, at, input="stream")
    assert story.roots() == ["management_unreachable/camera-1"]


def test_ticks_do_not_call_it_dead_either() -> None:
    story = Story(SHIPPED, plan=vehicle_plan(SMALL), restart=True)
    story.born("box", 0)
    for at in range(0, 1200, 10):
        story.sample("router", {"device.reachable": False}, at)
        story.sample("uplink", {"link.loss_percent{target=a}": 0.0}, at)
        story.tick(at + 1)
    assert [fault for fault, *_ in story.life()] == ["management_unreachable"]


def test_a_router_of_which_nothing_is_heard_but_that_passes_what_we_ask_is_not_dead() -> None:
    """Its input has stopped telling anything: the rule on silence, not the one on values, has to know it."""
    story = Story(SHIPPED, plan=vehicle_plan(SMALL), restart=True)
    story.born("box", 0)
    story.sample("router", {"device.reachable": True}, 0)
    for at in range(0, 1200, 10):
        story.sample("uplink", {"link.loss_percent{target=a}": 0.0}, at)
        story.tick(at + 1)
    assert story.roots() == ["management_unreachable/router"]


def test_a_router_that_dies_is_dead_from_its_first_bad_value_though_the_link_is_asked_less_often() -> None:
    story = Story(SHIPPED)
    for at in range(0, 160, 10):
        story.sample("router", {"device.reachable": at < 60}, at)
        if at % 30 == 0:
            story.sample("uplink", {"link.loss_percent{target=a}": 0.0 if at < 60 else 100.0}, at)
    story.sample("router", {"device.reachable": False}, 160)
    assert story.life() == [("router_dead", "active", 60, None)]  # 100 s after it, as without any link


def test_management_that_is_lost_first_and_the_router_later_are_one_after_the_other() -> None:
    story = Story(SHIPPED, restart=True)
    for at in range(0, 600, 10):
        story.sample("uplink", {"link.loss_percent{target=a}": 0.0 if at < 300 else 100.0}, at)
        story.sample("router", {"device.reachable": False}, at)
    # the management's ticket is over when no work is done any more; the router is dead from then on
    assert roots(story) == [("management_unreachable", "over", 0, 300), ("router_dead", "active", 300, None)]
    assert story.explained() == {}
    for at in range(600, 900, 10):
        story.sample("uplink", {"link.loss_percent{target=a}": 0.0}, at)
        story.sample("router", {"device.reachable": False}, at)
    assert roots(story)[1] == ("router_dead", "over", 300, 600)
    assert story.roots() == ["management_unreachable/router"]
    for at in range(900, 1000, 10):
        story.sample("router", {"device.reachable": True}, at)
    assert story.roots() == []


def test_a_word_of_work_that_is_not_repeated_counts_no_more() -> None:
    """Link every 10 s, its last word at 290: it counts until the next one is overdue, one and a half polls and 10 s."""
    story = Story(SHIPPED)
    for at in range(0, 600, 10):
        if at < 300:
            story.sample("uplink", {"link.loss_percent{target=a}": 0.0}, at)
        story.sample("router", {"device.reachable": False}, at)
    assert story.life()[1] == ("router_dead", "active", 320, None)


def test_a_camera_behind_a_switch_that_works_unreached_is_seen_all_the_same() -> None:
    """Another camera's stream comes through the same switch: the dead one is no symptom of it."""
    another = "camera-2: {kind: camera, depends_on: [switch], snmp: {address: 10.0.0.3, community_file: /c}}"
    plan = vehicle_plan(PLAN.replace("      ups:", f"      {another}\n      ups:"))
    story = Story(SHIPPED, plan=plan)
    for at in range(0, 600, 10):
        story.sample("camera-2", {"stream.up{stream=main}": True}, at, input="stream")
        story.sample("switch", {"device.reachable": False}, at)
        story.sample("camera-1", {"device.reachable": False}, at)
    assert story.roots() == ["camera_down/camera-1", "management_unreachable/switch"]


def test_an_agents_work_is_none_that_a_rule_could_look_at() -> None:
    with pytest.raises(FileError, match="expected it with silence_of: device only"):
        rules_of("rules: {quiet: {fault: agent_down, condition: {silence_of: agent}, only_if: {works: false}}}")
