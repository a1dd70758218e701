"""What the agent's log says of its devices: changes, and no more than one a minute."""

from __future__ import annotations

import pytest

from agent.inputs.base import Poll
from agent.sampling.device_log import DeviceLog
from telemetry.readings import Reading

UP = Poll([Reading("device.reachable", True)], profile="teltonika/rutos-7")
DOWN = Poll([Reading("device.reachable", False)], problem="no answer over SNMP")
UNREADABLE = Poll([Reading("device.reachable", True)], problem="profile_unknown: nothing fits")


def told(caplog: pytest.LogCaptureFixture, polls: list[Poll], every_ms: int = 60_000) -> list[str]:
    """Return what is said of these polls, each ``every_ms`` after the one before."""
    log = DeviceLog()
    with caplog.at_level("INFO"):
        for number, poll in enumerate(polls):
            log.hear("router/snmp", poll, number * every_ms)
    return [f"{record.levelname[0]} {record.getMessage()}" for record in caplog.records]


def test_down_and_up_and_by_what_it_is_read(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, [UP, UP, DOWN, DOWN, UP, UP]) == [
        "I router/snmp is read by profile teltonika/rutos-7",
        "W router/snmp is down: no answer over SNMP",
        "I router/snmp is up again",
    ]


def test_what_cannot_be_read_and_can_again(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, [UNREADABLE, UNREADABLE, UP]) == [
        "W router/snmp cannot be read: profile_unknown: nothing fits",
        "I router/snmp can be read again",
        "I router/snmp is read by profile teltonika/rutos-7",
    ]


def test_a_device_that_flaps_says_little_and_its_last_word_is_true(caplog: pytest.LogCaptureFixture) -> None:
    lines = told(caplog, [UP, DOWN] * 300 + [DOWN] * 60, every_ms=1000)
    assert len(lines) < 15
    assert lines[-1] == "W router/snmp is down: no answer over SNMP"


def test_a_long_text_of_a_device_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = told(caplog, [Poll([Reading("device.reachable", False)], problem="x" * 5000)])
    assert len(line) < 400


def test_what_does_not_speak_for_the_device_leaves_it_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """A host's own sensors say nothing of reachable."""
    assert told(caplog, [Poll([]), Poll([], problem="a sensor hangs"), Poll([])]) == [
        "W router/snmp cannot be read: a sensor hangs",
        "I router/snmp can be read again",
    ]
