"""A device that does its work is not dead because its management port is silent (FIELD_NOTES 29, fault catalogue)."""

from __future__ import annotations

import pytest

from tests.unit.judging import SHIPPED, Story

WORKING = "no rule looks at the work of a device that does not answer: router_dead and camera_down open instead"


def test_a_router_that_nothing_passes_is_dead() -> None:
    story = Story(SHIPPED)
    for at in range(0, 600, 10):
        story.sample("router", {"device.reachable": False}, at)
        story.sample("uplink", {"link.loss_percent{target=a}": 100.0}, at)
    assert story.open() == ["router_dead/router"]


@pytest.mark.xfail(reason=WORKING, strict=True)
def test_a_router_that_passes_what_we_ask_behind_it_is_not_dead() -> None:
    story = Story(SHIPPED)
    for at in range(0, 600, 10):
        story.sample("router", {"device.reachable": False}, at)
        story.sample("uplink", {"link.loss_percent{target=a}": 0.0, "link.rtt_ms{target=a}": 30.0}, at)
    assert story.open() == ["management_unreachable/router"]


@pytest.mark.xfail(reason=WORKING, strict=True)
def test_a_camera_whose_stream_plays_is_not_down() -> None:
    story = Story(SHIPPED)
    for at in range(0, 600, 10):
        story.sample("camera-1", {"device.reachable": False}, at)
        story.sample("camera-1", {"stream.up{stream=main}": True}, at, input="stream")
    assert story.open() == ["management_unreachable/camera-1"]
