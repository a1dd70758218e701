"""Reading devices once, as the running agent would, without an outbox, a broker or any trace."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Sequence

import msgspec

from agent.config import AgentConfig
from agent.inputs import open_input
from agent.inputs.base import Input, Poll
from agent.outbox.drafts import EventDraft, SampleDraft
from agent.sampling.sample_builder import SampleBuilder, SeriesOwners
from telemetry.metrics import Value
from telemetry.readings import Reading
from telemetry.records import Column

_CLOSE_S = 2.0


class Look(msgspec.Struct, frozen=True):
    """What one poll of one input brought, as it would be recorded."""

    device: str
    kind: str
    input: str
    seconds: float
    profile: str | None = None
    """By what it was read: a firmware profile's id, a modem's dialect."""
    identity: dict[str, str] = msgspec.field(default_factory=dict)
    values: Sequence[tuple[Column, Value]] = ()
    flags: Sequence[str] = ()
    problem: str = ""

    @property
    def well(self) -> bool:
        """Whether the device is there and could be read."""
        there = all(value is not False for column, value in self.values if column.metric == "device.reachable")
        return there and not self.problem


async def look(config: AgentConfig, devices: Collection[str]) -> list[Look]:
    """Poll every input of these devices once, side by side, each within its deadline. Raises FileError for a profile.

    Two inputs of one device that give the same series contradict each other; the one that comes first is heard.
    """
    owners: dict[str, SeriesOwners] = {name: SeriesOwners() for name in devices}
    return await asyncio.gather(
        *(
            _look(
                name,
                config.devices[name].kind,
                input_name,
                open_input(settings, config.profiles),
                settings.deadline,
                primary=place == 0,
                owners=owners[name],
            )
            for name in devices
            for place, (input_name, settings) in enumerate(config.devices[name].configured())
        )
    )


async def _look(
    device: str, kind: str, name: str, source: Input, deadline: float, *, primary: bool, owners: SeriesOwners
) -> Look:
    begun = time.monotonic()
    try:
        poll = await _poll(source, name, deadline, primary=primary)
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_S):
                await source.close()
    seconds = time.monotonic() - begun
    values: list[tuple[Column, Value]] = []
    identity: dict[str, str] = {}
    problem = poll.problem or ""
    for draft in SampleBuilder(device, name, primary=primary, owners=owners).take(poll, 0):
        if isinstance(draft, SampleDraft):
            pairs = zip(draft.schema.columns, draft.values, strict=True)
            values += [(column, value) for column, value in pairs if value is not None]
        elif isinstance(draft, EventDraft) and draft.kind == "problem":
            problem = str(draft.body["problem"])
        elif isinstance(draft, EventDraft) and draft.kind == "inventory":
            identity = {key: str(part) for key, part in draft.body.items() if key != "input"}
    return Look(device, kind, name, seconds, poll.profile, identity, values, list(poll.flags), problem)


async def _poll(source: Input, name: str, deadline: float, *, primary: bool) -> Poll:
    try:
        async with asyncio.timeout(deadline):
            return await source.poll(time.clock_gettime(time.CLOCK_BOOTTIME))
    except TimeoutError:
        there = primary and name != "system"
        readings = [Reading("device.reachable", False)] if there else []
        return Poll(readings, problem=f"no answer within {deadline:g} s")
    except Exception as error:
        return Poll(problem=f"internal error: {type(error).__name__}: {error}"[:200])
