"""A snapshot's content: all states of a site, as bytes and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import zstandard

from collector.core.survey import SiteState
from collector.core.tickets.draft import DeskState
from collector.core.vehicle.state import Vehicle
from collector.store.rows import SiteData
from collector.store.ticket_rows import event_row, read_event, read_tracked, tracked_row

FORMAT: Final = 1


class SnapshotError(ValueError):
    """A snapshot that this version cannot read."""


class _Content(msgspec.Struct, kw_only=True):
    format: int
    site: msgspec.Raw
    vehicles: dict[str, msgspec.Raw]
    events: list[list[Any]]
    problems: list[list[Any]]
    last_numbers: dict[int, int]
    editions: dict[str, int]


_decoder: Final = msgspec.json.Decoder(_Content)


def encode(state: SiteState, vehicles: Mapping[str, Vehicle], desk: DeskState, editions: Mapping[str, int]) -> bytes:
    """Return the states as a snapshot's content."""
    content = _Content(
        format=FORMAT,
        site=msgspec.Raw(state.to_json()),
        vehicles={name: msgspec.Raw(vehicle.to_json()) for name, vehicle in vehicles.items()},
        events=[list(event_row(ticket, event)) for ticket, events in desk.events.items() for event in events],
        problems=[[tracked.ticket, tracked_row(tracked)[-1]] for tracked in desk.problems.values()],
        last_numbers=dict(desk.last_numbers),
        editions=dict(editions),
    )
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(msgspec.json.encode(content))


def decode(content: bytes) -> tuple[SiteData, dict[str, int]]:
    """Return the states as an owner would load them, and the editions then in force. Raises SnapshotError."""
    try:
        found = _decoder.decode(zstandard.ZstdDecompressor().decompress(content))
        if found.format != FORMAT:
            raise SnapshotError(f"expected format {FORMAT}, found {found.format}")
        data = SiteData(
            {name: bytes(state) for name, state in found.vehicles.items()}, bytes(found.site), {}, {}, {}, 0
        )
        for ticket, *event in found.events:
            data.ticket_events.setdefault(ticket, []).append(read_event(*event))
        data.problems = [read_tracked(ticket, problem) for ticket, problem in found.problems]
        data.last_numbers = found.last_numbers
    except (zstandard.ZstdError, msgspec.DecodeError, ValueError, TypeError) as error:
        raise SnapshotError(f"snapshot: {error}") from error
    return data, found.editions
