"""Places on the map as cells of Uber's H3 grid (https://h3geo.org), asked with their neighbours. Pure.

A cell of resolution 9 is a hexagon of about 0.1 km² with edges of 200 m: a station's yard, the mouth of a tunnel.
Positions scatter over its edge, so that whoever asks for a place asks for the six cells around it too.
"""

from __future__ import annotations

import functools
from typing import Final

RESOLUTION: Final = 9
"""Of H3's cells: the one that gaps of contact, coverage and parking places are remembered by."""
COARSE: Final = 7
"""Of those that stand in where a small cell has too few samples: about 5 km²."""
_REMEMBERED: Final = 4096
"""Cells whose neighbours stay worked out: a site's vehicles drive through the same town every day. And of so many fixes
the cell: judging asks for it, and then who learns from the log."""
Cell = str
"""H3's index, 15 hex digits."""


@functools.lru_cache(_REMEMBERED)
def cell_of(latitude: float, longitude: float, resolution: int = RESOLUTION) -> Cell:
    """Return the cell of a place in degrees of WGS 84."""
    import h3  # here and below: with the first position, 2.4 MB later than all else

    cell: Cell = h3.latlng_to_cell(latitude, longitude, resolution)
    return cell


@functools.lru_cache(_REMEMBERED)
def around(cell: Cell) -> tuple[Cell, ...]:
    """Return a cell and its neighbours: seven, the cell itself first (a pentagon has five neighbours)."""
    import h3

    return (cell, *sorted(one for one in h3.grid_disk(cell, 1) if one != cell))


def coarse_of(cell: Cell) -> Cell:
    """Return the coarse cell in which a cell of ``RESOLUTION`` lies."""
    import h3

    found: Cell = h3.cell_to_parent(cell, COARSE)
    return found


def distance_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return how far apart two places (latitude, longitude) are, in metres, over a sphere."""
    import h3

    found: float = h3.great_circle_distance(one, other, unit="m")
    return found
