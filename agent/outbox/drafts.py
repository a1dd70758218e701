"""What the outbox takes: records without their numbers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from telemetry.metrics import Value
from telemetry.records import EventKind, Schema


class SampleDraft(msgspec.Struct, frozen=True):
    """A sample without its number. ``mono_ms`` is the moment the poll was due; ``values`` follow the columns."""

    mono_ms: int
    schema_id: str
    schema: Schema
    values: Sequence[Value | None]


class EventDraft(msgspec.Struct, frozen=True):
    """An event without its number."""

    mono_ms: int
    kind: EventKind
    device: str
    body: Mapping[str, Any]


Draft = SampleDraft | EventDraft
