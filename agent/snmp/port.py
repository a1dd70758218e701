"""The small port through which the agent reads SNMP, whatever library stands behind it.

Only reading: there is no SET here, so no code of the agent can write to a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from firmware_profiles.answers import Wire


class SnmpError(Exception):
    """A device could not be read; ``address`` says which, the message why."""

    def __init__(self, address: str, message: str) -> None:
        super().__init__(f"{address}: {message}")
        self.address = address


class SnmpSilentError(SnmpError):
    """No answer within the time-out and retries. With SNMP a wrong community looks the same."""


class SnmpRefusedError(SnmpError):
    """The device answered and refused: unknown user, wrong key, no such context (RFC 3414 section 3.2 reports)."""


class SnmpBrokenError(SnmpError):
    """The device answered with something that is no SNMP, or with an error for the whole request."""


@dataclass(slots=True)
class Walk:
    """What walks brought: values by OID, and why a column ended before its end (``column: reason``)."""

    values: dict[str, Wire] = field(default_factory=dict)
    truncated: list[str] = field(default_factory=list)


class SnmpPort(Protocol):
    """One device over SNMP. A call makes its retries itself and ends within its time-out; cancelling it is safe.

    ``answered`` counts the answers that have come, so that a poll cut short knows whether the device is there.
    """

    answered: int

    async def get(self, oids: Sequence[str]) -> dict[str, Wire]:
        """Return the scalars that the device has, by OID; missing ones are left out. Raises SnmpError."""
        ...

    async def walk(
        self, columns: Sequence[str], *, rows: int = 256, seconds: float = 10.0, into: Walk | None = None
    ) -> Walk:
        """Return what stands below the columns.

        A column ends at ``rows`` rows, all end after ``seconds``, and one whose OIDs do not increase ends at once:
        an agent that answers in circles must not hold a poll (Field note 36). Raises SnmpError when the first request
        fails; a later failure truncates. ``into`` is filled and returned, for whoever wants to watch it grow.
        """
        ...

    async def close(self) -> None:
        """Let go of what this device holds."""
        ...
