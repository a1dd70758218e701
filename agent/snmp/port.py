"""The small port through which the agent reads SNMP, whatever library stands behind it.

Only reading: there is no SET here, so no code of the agent can write to a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import msgspec

from firmware_profiles.answers import Wire

Kind = Literal["get", "next", "bulk"]
Auth = Literal["md5", "sha", "sha224", "sha256", "sha384", "sha512"]
Priv = Literal["des", "aes128", "aes256", "aes256-blumenthal"]


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


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to speak to a device: a community (v2c), or a user with both keys (v3 authPriv). Never shown in a repr."""

    version: Literal["2c", "3"]
    community: str = field(default="", repr=False)
    user: str = ""
    auth: Auth = "sha256"
    auth_key: str = field(default="", repr=False)
    priv: Priv = "aes128"
    priv_key: str = field(default="", repr=False)


class Response(NamedTuple):
    """An answer: its error status and index (RFC 3416 section 3), and the values by OID in the answer's order."""

    status: int
    error_index: int
    bindings: list[tuple[str, Wire]]


class Exchange(Protocol):
    """Requests to one device and their answers, one at a time; an adapter to a library is this and nothing more.

    ``answered`` counts the answers that have come, so that a poll cut short knows whether the device is there.
    """

    @property
    def address(self) -> str:
        """Address and port, for messages."""
        ...

    @property
    def answered(self) -> int:
        """The answers that have come so far, whatever they said."""
        ...

    async def ask(self, kind: Kind, oids: Sequence[str], repetitions: int = 1, *, tries: int | None = None) -> Response:
        """Send a request, again while nothing comes (``tries`` sends in all, else as configured).

        Returns the answer, whatever error it tells. Raises SnmpError. Cancelling it is safe.
        """
        ...

    async def close(self) -> None:
        """Let go of what this device holds."""
        ...


class Walk(msgspec.Struct):
    """What walks brought: values by OID, and why a column ended before its end (``column: reason``)."""

    values: dict[str, Wire] = msgspec.field(default_factory=dict)
    truncated: list[str] = msgspec.field(default_factory=list)


class SnmpPort(Protocol):
    """One device over SNMP. A call makes its retries itself; cancelling it is safe.

    ``answered`` counts the answers that have come, so that a poll cut short knows whether the device is there.
    """

    @property
    def answered(self) -> int:
        """The answers that have come so far, whatever they said."""
        ...

    async def get(self, oids: Sequence[str], *, lost: dict[str, str] | None = None) -> dict[str, Wire]:
        """Return the scalars that the device has, by OID; missing ones are left out. Raises SnmpError.

        What the device has but would not tell is left out too, and its reason put into ``lost`` under its OID.
        """
        ...

    async def walk(
        self, columns: Sequence[str], *, rows: int = 256, seconds: float = 10.0, into: Walk | None = None
    ) -> Walk:
        """Return what stands below the columns.

        A column ends at ``rows`` rows, all end after ``seconds``, and one whose OIDs do not increase ends at once:
        an agent that answers in circles must not hold a poll (Field note 36). Raises SnmpError when the device does not
        answer the first request; a later failure truncates. ``into`` is filled and returned, for whoever wants to
        watch it grow.
        """
        ...

    async def close(self) -> None:
        """Let go of what this device holds."""
        ...
