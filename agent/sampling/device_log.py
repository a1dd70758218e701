"""What the agent's log says of its devices: down and up, by which profile one is read, what cannot be read.

Only changes are said, and of one device no more than one a minute: a device that flaps fills no journal. What was held
back is looked at again with the next poll, so that the last word is always the true one.
"""

from __future__ import annotations

import logging

import msgspec

from agent.inputs.base import Poll

log = logging.getLogger(__name__)
MOST: int = 300
"""Longest text of a device that is logged, in characters."""


class _Said(msgspec.Struct):
    """What was said last of an input; ``None``: nothing yet."""

    reachable: bool | None = None
    profile: str | None = None
    problem: str = ""
    at_ms: int | None = None


class DeviceLog:
    """Hears every poll. ``repeat_ms`` is the least time between two lines about one input."""

    def __init__(self, repeat_ms: int = 60_000) -> None:
        self._repeat_ms = repeat_ms
        self._said: dict[str, _Said] = {}

    def hear(self, name: str, poll: Poll, mono_ms: int) -> None:
        """Say what a poll of ``name`` (DEVICE/INPUT) has changed. ``mono_ms`` is its moment."""
        said = self._said.setdefault(name, _Said())
        reachable = next((bool(one.value) for one in poll.readings if one.metric == "device.reachable"), said.reachable)
        problem = (poll.problem or "")[:MOST]
        profile = poll.profile or said.profile
        if (reachable, problem, profile) == (said.reachable, said.problem, said.profile):
            return
        if said.at_ms is not None and mono_ms - said.at_ms < self._repeat_ms:
            return
        if reachable is False and said.reachable is not False:
            log.warning("%s is down: %s", name, problem or "no answer")
        elif reachable and said.reachable is False:
            log.info("%s is up again%s", name, f", but {problem}" if problem else "")
        elif problem and problem != said.problem:
            log.warning("%s cannot be read: %s", name, problem)
        elif said.problem and not problem:
            log.info("%s can be read again", name)
        if profile != said.profile:
            log.info("%s is read by profile %s", name, profile)
        self._said[name] = _Said(reachable, profile, problem, mono_ms)
