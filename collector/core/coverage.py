"""What is usual in a place: signal of each leg, 5G, home network, the way to the centre; as judging looks it up. Pure.

What is here is one edition, made of the table ``coverage`` (``coverage_record``); docs/coverage.md says what for. What
is expected of a vehicle in a place is the median of what the *others* have there, each by its own median; where there
are not two of them, its own past; else there is not enough record.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import zstandard

from collector.core.places import Cell, coarse_of

OTHERS: Final = 2
"""So many other vehicles must have been there."""
OWN_DAYS: Final = 5
OWN_SAMPLES: Final = 30
"""Own past counts from so many days, and so many samples, on."""
_MOST_ASKED: Final = 20_000
"""Answers that are kept for whoever asks again."""
SERVICE: Final = "service"
"""The leg of how it is registered: the share of samples with 5G and of those in the home network, in percent."""
LINK: Final = "link"
"""The leg of the way to the centre: the mean loss in percent, the median round trip in ms."""
SIGNAL: Final = ("rsrp", "rsrq", "sinr")
FIGURES: Final[Mapping[str, tuple[str, ...]]] = {SERVICE: ("nr", "home"), LINK: ("loss", "rtt")}
"""What a leg has; every other one has ``SIGNAL``."""


def figures_of(leg: str) -> tuple[str, ...]:
    """Return the names of what is known of a leg."""
    return FIGURES.get(leg, SIGNAL)


class Usual(msgspec.Struct, frozen=True, array_like=True):
    """What one vehicle has in a cell."""

    vehicle: str
    enough: bool
    """It suffices for its own past: days and samples."""
    figures: tuple[int | None, ...]
    """In the order of ``figures_of``; ``None``: never known there."""


class Expected(NamedTuple):
    """What a vehicle is expected to have in a place."""

    figures: tuple[float | None, ...]
    others: int
    """Of how many others this is the median; 0: of its own past."""
    whose: str
    """In words with whom it is compared; with its own past, what the only other vehicle has that was there."""


class Coverage:
    """What is usual in a site's places, by cell, coarse ones too, and leg."""

    def __init__(self, cells: Mapping[Cell, Mapping[str, Sequence[Usual]]] | None = None) -> None:
        self._cells: Mapping[Cell, Mapping[str, Sequence[Usual]]] = cells or {}
        self._expected: dict[tuple[str, Cell, str], Expected | None] = {}
        """What was asked before: a vehicle asks for the same place again and again."""

    def __bool__(self) -> bool:
        """Say whether anything is known."""
        return bool(self._cells)

    def __len__(self) -> int:
        """Return of how many cells anything is known."""
        return len(self._cells)

    def expected(self, vehicle: str, cell: Cell, leg: str) -> Expected | None:
        """Return what a vehicle is expected to have in a fine cell, or in the coarse one around it.

        ``None``: there is not enough record.
        """
        asked = vehicle, cell, leg
        try:
            return self._expected[asked]
        except KeyError:
            if len(self._expected) >= _MOST_ASKED:
                self._expected.clear()
            found = self._expected[asked] = self._in(vehicle, cell, leg) or self._in(vehicle, coarse_of(cell), leg)
            return found

    def _in(self, vehicle: str, cell: Cell, leg: str) -> Expected | None:
        legs = self._cells.get(cell)
        known = () if legs is None else legs.get(leg, ())
        others = [one for one in known if one.vehicle != vehicle]
        if len(others) >= OTHERS:
            figures = tuple(_median(column) for column in zip(*(o.figures for o in others), strict=True))
            return Expected(figures, len(others), f"{len(others)} other vehicles")
        own = next((one for one in known if one.vehicle == vehicle and one.enough), None)
        if own is None:
            return None
        beside = f"; {others[0].vehicle} has {others[0].figures[0]} dBm here" if others else ""
        figures = tuple(None if one is None else float(one) for one in own.figures)
        return Expected(figures, 0, f"its own past{beside}")

    def to_json(self) -> bytes:
        """Return it as an edition's content, zstd over JSON; equal ones are equal byte for byte."""
        plain = {
            cell: {leg: sorted(legs[leg], key=lambda one: one.vehicle) for leg in sorted(legs)}
            for cell, legs in sorted(self._cells.items())
        }
        return zstandard.ZstdCompressor(level=3).compress(msgspec.json.encode(plain))

    @classmethod
    def from_json(cls, content: bytes) -> Coverage:
        """Return an edition's content, read. Raises ValueError for what is none."""
        try:
            plain = zstandard.ZstdDecompressor().decompress(content)
        except zstandard.ZstdError as error:
            raise ValueError(f"expected zstd, found: {error}") from None
        return cls(msgspec.json.decode(plain, type=dict[str, dict[str, tuple[Usual, ...]]]))


def _median(values: Iterable[int | None]) -> float | None:
    known = [one for one in values if one is not None]
    return float(statistics.median(known)) if len(known) >= OTHERS else None


NOTHING: Final = Coverage()
"""Where nothing was learnt yet."""
