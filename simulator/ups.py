"""A UPS as APC's network management card tells it over SNMP (PowerNet-MIB, enterprise 318)."""

from __future__ import annotations

from simulator.snmp import Oid, Table
from simulator.world import KitState

_ENTERPRISE: Oid = (1, 3, 6, 1, 4, 1, 318)
_UPS: Oid = (*_ENTERPRISE, 1, 1, 1)
_SYSTEM: Oid = (1, 3, 6, 1, 2, 1, 1)
_FULL_V, _EMPTY_V = 27.2, 21.0
"""Of a 24 V battery of lead."""


def ups_table(state: KitState, serial: str) -> Table:
    """Return what the UPS answers; it has its own power, so it always does.

    Charge, voltage and temperature come as whole numbers and, more exactly, in tenths; the time that is left in ticks.
    """
    volts = _EMPTY_V + (_FULL_V - _EMPTY_V) * state.battery_percent / 100
    return {
        (*_SYSTEM, 1, 0): ("string", "APC Web/SNMP Management Card (MB:v4.1.0 PF:v7.0.8 PN:apc_hw05_aos_708.bin)"),
        (*_SYSTEM, 2, 0): ("oid", (*_ENTERPRISE, 1, 3, 27)),
        (*_SYSTEM, 3, 0): ("ticks", (int(state.seconds) + 7_200) * 100),
        (*_UPS, 1, 1, 1, 0): ("string", "Smart-UPS C 1000"),
        (*_UPS, 1, 2, 1, 0): ("string", "UPS 10.4 (ID1005)"),
        (*_UPS, 1, 2, 3, 0): ("string", f"AS{serial}"),
        (*_UPS, 2, 2, 1, 0): ("gauge32", round(state.battery_percent)),
        (*_UPS, 2, 2, 2, 0): ("gauge32", 25),
        (*_UPS, 2, 2, 3, 0): ("ticks", round(state.battery_runtime_s) * 100),
        (*_UPS, 2, 2, 8, 0): ("integer", round(volts)),
        (*_UPS, 2, 3, 1, 0): ("gauge32", round(state.battery_percent * 10)),
        (*_UPS, 2, 3, 2, 0): ("gauge32", 253),
        (*_UPS, 2, 3, 4, 0): ("integer", round(volts * 10)),
        (*_UPS, 4, 1, 1, 0): ("integer", 2 if state.on_mains else 3),
    }
