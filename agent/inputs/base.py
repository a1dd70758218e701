"""What every input promises. The scheduler in ``agent.sampling.sampler`` knows nothing else about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from telemetry.readings import Identity, Reading


class Poll(msgspec.Struct, frozen=True):
    """What one poll of one device brought.

    ``identity`` is given when the poll learnt who the device is. ``flags`` are texts that begin with their kind
    (``filler``, ``withheld``, ``contradiction``, ``unknown_text``, ``wrapped``, ``duplicate``, ``truncated``,
    ``stale``, ``unparsed``), then the metric, then what was seen; they are counted, never sent as readings.
    ``problem`` says in one line why the device could not be read (a port held by another program, no profile).
    ``profile`` is by what its answers were read: a firmware profile's id, a modem's dialect.
    """

    readings: Sequence[Reading] = msgspec.field(default_factory=list)
    identity: Identity | None = None
    flags: Sequence[str] = msgspec.field(default_factory=list)
    problem: str | None = None
    profile: str | None = None


class Input(Protocol):
    """Polls one device. One object lives as long as the agent; it opens, re-opens and closes what it needs by itself.

    A device that does not answer is not an error: ``poll`` then returns ``device.reachable`` false. An exception out
    of ``poll`` is an internal error and is counted as one.
    """

    async def poll(self, now: float) -> Poll:
        """Read the device once. ``now`` is monotonic seconds (``CLOCK_BOOTTIME``).

        The scheduler cancels the call at the device's deadline; a cancelled poll must leave the input usable.
        """
        ...

    async def close(self) -> None:
        """Let go of ports and sockets."""
        ...
