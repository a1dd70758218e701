"""What the site's other vehicles show of one that had no data: whose fault it was (docs/diagnosis.md). Pure.

The agent that asks targets reaches the centre by the same way as those. One that speaks shows that the network lets
through; where none of those that speak now has spoken while a vehicle had no data, it was no fault of that vehicle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from collector.core.identities import ProblemKey
from collector.core.rules.types import Rules
from collector.core.survey import away_ms
from collector.core.vehicle.state import Vehicle
from telemetry.fleet import VehiclePlan

_CONTACT: Final = "contact"
"""The node of the topology at which a fault is that the network may be to blame for."""
_PROBE: Final = "probe"
_APART_MS: Final = 120_000
"""Vehicles whose network lets through again are back within so long of each other."""
Others = Callable[[], Iterable[tuple[Vehicle, VehiclePlan]]]
"""Asked only where they may be needed."""


def is_the_networks(key: ProblemKey, began_ms: int, ended_ms: int, others: Others, rules: Rules, now_ms: int) -> bool:
    """Say whether a vehicle had no data because none of the site's had. Without another that speaks: no.

    ``began_ms`` and ``ended_ms`` are the fault's; what lasted for less than vehicles lie apart tells nothing.
    """
    if rules.topology.faults[key.fault].at != _CONTACT or ended_ms - began_ms < _APART_MS:
        return False
    since = [time_ms for vehicle, plan in others() if (time_ms := _speaks_since(vehicle, plan, rules, now_ms))]
    return bool(since) and min(since) > ended_ms - _APART_MS / rules.speed


def _speaks_since(vehicle: Vehicle, plan: VehiclePlan, rules: Rules, now_ms: int) -> int | None:
    """Return since when an agent that asks targets has been heard without a gap, ``None`` if it is not heard now."""
    asking = {key.agent for key in vehicle.sources if key.input == _PROBE}
    found = []
    for name in asking:
        agent = vehicle.agents.get(name)
        if agent is None or agent.left or agent.heard_ms is None or agent.from_ms is None:
            continue
        if now_ms - agent.heard_ms <= away_ms(rules, vehicle.vehicle, vehicle.agents, plan, name):
            found.append(agent.from_ms)
    return min(found, default=None)
