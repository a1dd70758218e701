"""What a conversation says is to be done next; ``agent.uplink.session`` does it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from telemetry.intervals import Intervals
from telemetry.message import Lane
from telemetry.records import Record, SchemaRef


class Publish(msgspec.Struct, frozen=True):
    """Publish a message at QoS 1. ``kind`` is the last part of its topic."""

    kind: str
    payload: bytes
    retain: bool = False
    expiry_s: int | None = None
    lane: Lane | None = None
    """The lane of the records in it; ``None``: it carries no records."""
    run: str = ""
    """The run of its records."""
    numbers: Intervals | None = None
    """Their sequence numbers."""


class Release(msgspec.Struct, frozen=True):
    """Let the outbox go of these records: they are committed in the centre."""

    run: str
    numbers: Intervals


class SendRecords(msgspec.Struct, frozen=True):
    """Look up schemas and clocks of the run, and the records unless they are here; call ``record_messages``."""

    lane: Lane
    run: str
    numbers: Intervals
    records: Sequence[Record] | None = None


class SendSchemas(msgspec.Struct, frozen=True):
    """Look up schemas and clocks of the run, which the centre misses; call ``schema_messages``."""

    run: str
    schemas: Sequence[SchemaRef]
    clocks: Sequence[int]


Action = Publish | Release | SendRecords | SendSchemas
