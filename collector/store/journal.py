"""What a commit would change in the rows of vehicles and runs, kept in one row of its own. Pure.

A commit without news changes a row of ``vehicle`` and one of ``run`` for each vehicle that spoke, each on a page that
goes to the disk twice. Together the same states take a tenth of that: they resemble each other, which zstd finds. So
they stand in the ``journal`` until one commit in ``MOST_ENTRIES`` puts them all into their rows (a checkpoint).

MessagePack, then zstd level 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from collector.store.batch import compress, decompress
from collector.store.rows import RunKey, RunRow
from telemetry.intervals import Intervals

MOST_ENTRIES: Final = 300
"""Commits between two checkpoints: five minutes while nothing is new."""
MOST_BYTES: Final = 8 * 2**20
"""Most bytes that stand in the journal of a site."""

Pairs = list[tuple[int, int]]


class _Run(msgspec.Struct, array_like=True):
    """A ``RunRow``."""

    vehicle: str
    agent: str
    run: str
    boot: str
    seen: Pairs
    lost: Pairs
    no_clock: bool
    first_ms: int | None
    last_ms: int | None
    heard_ms: int


class _Entry(msgspec.Struct, array_like=True):
    vehicles: dict[str, bytes]
    runs: list[_Run]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Entry).decode


class Behind(msgspec.Struct):
    """What the rows of a site's vehicles and runs do not say yet, the newest of each."""

    vehicles: dict[str, bytes] = msgspec.field(default_factory=dict)
    runs: dict[RunKey, RunRow] = msgspec.field(default_factory=dict)
    entries: int = 0
    size: int = 0
    """Bytes of the entries."""

    def add(self, vehicles: Mapping[str, bytes], runs: Mapping[RunKey, RunRow], size: int) -> None:
        """Note one more entry of so many bytes."""
        self.vehicles.update(vehicles)
        self.runs.update(runs)
        self.entries += 1
        self.size += size

    @property
    def is_full(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self.entries >= MOST_ENTRIES or self.size >= MOST_BYTES


def encode(vehicles: Mapping[str, bytes], runs: Mapping[RunKey, RunRow]) -> bytes:
    """Return the content of an entry. Raises OverflowError for a number of more than 64 bits."""
    rows = [
        _Run(
            r.vehicle, r.agent, r.run, r.boot, r.seen.pairs(), r.lost.pairs(),
            r.no_clock, r.first_ms, r.last_ms, r.heard_ms,
        )
        for r in runs.values()
    ]  # fmt: skip
    return compress(_encode(_Entry(dict(vehicles), rows)))


def decode(content: bytes) -> tuple[dict[str, bytes], dict[RunKey, RunRow]]:
    """Return what an entry holds."""
    entry = _decode(decompress(content))
    return entry.vehicles, {
        (r.vehicle, r.agent, r.run): RunRow(
            r.vehicle, r.agent, r.run, r.boot, Intervals(r.seen), Intervals(r.lost),
            r.no_clock, r.first_ms, r.last_ms, r.heard_ms,
        )
        for r in entry.runs
    }  # fmt: skip
