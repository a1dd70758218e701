"""Parked, inferred: kit that lives by the ignition dies with it, and says no goodbye. Pure.

What holds: nothing is inferred of kit that is always fed, of a vehicle on a mission, nor while we do not listen; what
is inferred ends with the kit's next word. The price stands in docs/installation.en.md: where a vehicle may be parked,
kit that really dies is told at the next start, or after ``parked_silent_after``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from collector.core.places import Cell, around, cell_of
from collector.core.vehicle.duty import Told, kit_agents
from collector.core.vehicle.events import Listening
from collector.core.vehicle.state import Expectation, Feeding, Parking, Position
from telemetry.fleet import KitPower, VehiclePlan

STILL_KMH: Final = 5
"""Under this a receiver's scatter looks like motion."""
MOVING_KMH: Final = 10
"""From here on a vehicle drives: nobody parks it."""
DIES: Final = frozenset({"ignition", "delayed"})
"""Kit that is fed so dies where its vehicle is parked."""
_FIX_MS: Final = 1_800_000
"""A last fix older than this says nothing of where the vehicle is: longer than the way into any garage."""
ALWAYS_MS: Final = 600_000
"""Kit that is heard for longer than this after the ignition went off lives without it; a delay of it is usual."""
PARKED_MS: Final = 300_000
"""A silence shorter than this that ends with a boot is a restart, by plan or by hand, and no parking."""
_BOOTS: Final = 2
"""So many silences that ended with a boot name a place, and say that kit lives by the ignition."""
_CONTRARY: Final = 3
"""So many of them stand against kit that was heard without the ignition before."""
_MOST_PARKINGS: Final = 16
MOST_PLACES: Final = 1_000
"""Of one site that are remembered, those that were parked at last."""


def feeding_of(plan: VehiclePlan, learnt: Feeding) -> KitPower | None:
    """Return how a vehicle's kit is fed: as the fleet file says, else as it was learnt; ``None``: not known."""
    if plan.kit_power is not None:
        return plan.kit_power
    if learnt.always_ms is not None and learnt.boots < _CONTRARY:
        return "always"
    return "ignition" if learnt.boots >= _BOOTS else None


def inferred(
    told: Told,
    plan: VehiclePlan,
    listening: Listening,
    away_ms: int,
    now_ms: int,
    is_hidden: Callable[[int], bool],
    is_place: Callable[[Cell], bool],
) -> Parking | None:
    """Return that a vehicle on duty is parked, as far as its silence says so.

    ``away_ms``: for how long an agent of the kit may say nothing without having been away.
    ``is_hidden``: says whether a pause of ours hides what became of whoever was heard last then (our clock).
    ``is_place``: says whether silences of this site have ended with a boot there (``is_named``).
    """
    if listening.since_ms is None or feeding_of(plan, told.expectation.feeding) not in DIES:
        return None
    kit = [told.agents[name] for name in kit_agents(plan, told.agents) if name in told.agents]
    last_ms = max((agent.heard_ms for agent in kit if agent.heard_ms is not None), default=None)
    if last_ms is None or is_hidden(last_ms):
        return None
    if now_ms - last_ms < away_ms:
        return None
    if _is_still(told, plan, away_ms):
        return Parking(last_ms, "still")
    cell = cell_at_last_word(told, plan)
    if cell is not None and is_place(cell):
        return Parking(last_ms, "place")
    return None


def is_named(places: Mapping[Cell, int], cell: Cell) -> bool:
    """Say whether enough silences of this site have ended with a boot in a cell or its neighbours."""
    return sum(places.get(one, 0) for one in around(cell)) >= _BOOTS


def last_word_ms(told: Told, plan: VehiclePlan) -> int | None:
    """Return the event time of the kit's last sample; of those that are ahead of our clock only a receiver's count."""
    kit = set(kit_agents(plan, told.agents))
    words = [source.last_ms for key, source in told.sources.items() if key.agent in kit]
    if told.position is not None and told.position.agent in kit:
        words.append(max(told.position.time_ms, told.position.lost_ms))
    return max(words, default=None)


def cell_at_last_word(told: Told, plan: VehiclePlan) -> Cell | None:
    """Return where the kit was at its last word; a garage is where the last fix was before it."""
    position, last_ms = told.position, last_word_ms(told, plan)
    if position is None or last_ms is None or last_ms - position.time_ms > _FIX_MS:
        return None
    return cell_of(position.latitude, position.longitude)


def _is_still(told: Told, plan: VehiclePlan, away_ms: int) -> bool:
    """Say whether it stood still at its last poll, and nobody has seen it drive since."""
    position, last_ms = told.position, last_word_ms(told, plan)
    if position is None or position.speed_kmh is None or last_ms is None:
        return False
    return position.speed_kmh < STILL_KMH and last_ms - position.time_ms <= away_ms


def was_moving(position: Position | None, last_ms: int, away_ms: int) -> bool:
    """Say whether a vehicle drove at its last word; of one whose receiver had lost its fix by then nobody knows."""
    if position is None or position.speed_kmh is None or position.lost_ms or last_ms - position.time_ms > away_ms:
        return False
    return position.speed_kmh >= MOVING_KMH


def after_boot(known: Expectation, cell: Cell | None, now_ms: int) -> Expectation:
    """Return what is known after a silence that ended with a boot, in a cell if that is known."""
    feeding = msgspec.structs.replace(known.feeding, boots=known.feeding.boots + 1)
    parkings = known.parkings if cell is None else (*known.parkings, (cell, now_ms))[-_MOST_PARKINGS:]
    return msgspec.structs.replace(known, feeding=feeding, parkings=parkings)
