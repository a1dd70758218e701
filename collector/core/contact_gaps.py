"""Where contact is lost, and where kits are switched off: what was learnt of it, and how long a silence may be. Pure.

What is here is one edition: a drain over the log learns it (``collector.sinks.places``), judging only looks it up. How
it is learnt, and what it is for, stands in docs/coverage.md.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from collector.core.places import Cell, around

KEPT_S: Final = 240.0
"""The limit where contact is known to be kept."""
UNKNOWN_S: Final = 600.0
"""The limit where nothing is known, and without a fix."""
LONGEST_S: Final = 1_800.0
"""The limit where contact is lost is never longer."""
KEPT_PASSES: Final = 5
KEPT_DAYS: Final = 2
"""So many passes, on so many days, in which nothing was lost, and contact is known to be kept there."""
LOST_TIMES: Final = 2
"""So many losses, and contact is known to be lost there."""
MANY_LOSSES: Final = 20
"""Fewer have no 95th percentile: the longest of them counts."""
PARKED_BOOTS: Final = 2
"""So many silences that ended with a boot make a place where vehicles are parked."""


class Limit(NamedTuple):
    """How long a vehicle may be silent, in seconds, and why."""

    seconds: float
    why: str


class ContactGaps(msgspec.Struct, frozen=True):
    """What was learnt of a site's places, by their cells."""

    kept: frozenset[Cell] = frozenset()
    """Cells that were passed five times or more, on two days or more, without a loss."""
    lost: Mapping[Cell, tuple[int, ...]] = msgspec.field(default_factory=dict)
    """Where contact was lost in the last 90 days: how long each time, in seconds."""
    boots: Mapping[Cell, int] = msgspec.field(default_factory=dict)
    """Where silences ended with a boot of the kit in that time: how many."""

    def limit(self, cell: Cell | None, silent_after: float | None, lately_s: float = 0.0) -> Limit:
        """Return how long a vehicle may be silent that was last heard in ``cell``; ``None``: nobody knows where.

        ``silent_after`` is the fleet file's word on the vehicle, seconds: it stands for the limits of 4 and 10 minutes.
        ``lately_s``: for so long somebody was silent there, or is, of whom this edition does not know yet; it says
        nothing against a place where contact is known to be kept.
        """
        if cell is not None and self.is_kept(cell):
            return Limit(KEPT_S if silent_after is None else silent_after, "contact is kept there")
        known = self._learnt(cell, silent_after)
        seconds = min(1.5 * lately_s + 60, LONGEST_S) if lately_s else 0.0
        if seconds <= known.seconds:
            return known
        return Limit(seconds, f"contact was lost there lately, for {round(lately_s)} s")

    def is_kept(self, cell: Cell) -> bool:
        """Say whether contact is known to be kept in a cell, and in none beside it was lost."""
        cells = around(cell)
        return any(one in self.kept for one in cells) and not any(self.lost.get(one) for one in cells)

    def _learnt(self, cell: Cell | None, silent_after: float | None) -> Limit:
        usual = UNKNOWN_S if silent_after is None else silent_after
        if cell is None:
            return Limit(usual, "nobody knows where it was")
        cells = around(cell)
        losses = sorted(itertools.chain.from_iterable(self.lost.get(one, ()) for one in cells))
        if len(losses) >= LOST_TIMES:
            longest = losses[-1] if len(losses) < MANY_LOSSES else losses[math.ceil(0.95 * len(losses)) - 1]
            least = KEPT_S if silent_after is None else silent_after
            seconds = min(max(1.5 * longest + 60, least), max(LONGEST_S, least))
            return Limit(seconds, f"contact was lost there {len(losses)} times, for up to {losses[-1]} s")
        if losses and silent_after is None:
            # One loss is not a record, but enough not to ask people again about the same hole.
            return Limit(
                min(max(1.5 * losses[0] + 60, UNKNOWN_S), LONGEST_S), f"contact was lost there once, for {losses[0]} s"
            )
        return Limit(usual, "not enough record of that place")

    def is_parking(self, cell: Cell | None) -> bool:
        """Say whether kits are switched off in a cell or beside it: garages without a fix are such places too.

        For the cell of a vehicle's last fix, however old that is.
        """
        return cell is not None and sum(self.boots.get(one, 0) for one in around(cell)) >= PARKED_BOOTS

    def to_json(self) -> bytes:
        """Return it as an edition's content; equal ones are equal byte for byte."""
        lost = {cell: self.lost[cell] for cell in sorted(self.lost)}
        boots = {cell: self.boots[cell] for cell in sorted(self.boots)}
        return msgspec.json.encode(_Content(tuple(sorted(self.kept)), lost, boots))

    @classmethod
    def from_json(cls, content: bytes) -> ContactGaps:
        """Return an edition's content, read. Raises ValueError for what is none."""
        found = msgspec.json.decode(content, type=_Content)
        return cls(frozenset(found.kept), found.lost, found.boots)


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    kept: tuple[Cell, ...]
    lost: dict[Cell, tuple[int, ...]]
    boots: dict[Cell, int]


NOTHING: Final = ContactGaps()
"""Where nothing was learnt yet."""
