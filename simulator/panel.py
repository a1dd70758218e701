"""A DC distribution panel as ICT's tell themselves over SNMP (enterprise 39145): the vehicle's supply voltage."""

from __future__ import annotations

from simulator.snmp import Oid, Table
from simulator.world import KitState

_PANEL: Oid = (1, 3, 6, 1, 4, 1, 39145, 10)
_SYSTEM: Oid = (1, 3, 6, 1, 2, 1, 1)


def panel_table(state: KitState) -> Table:
    """Return what the panel answers. The voltage is text in volts."""
    return {
        (*_SYSTEM, 1, 0): ("string", "ICT180S-12BRCP"),
        (*_SYSTEM, 2, 0): ("oid", _PANEL),
        (*_SYSTEM, 3, 0): ("ticks", (int(state.seconds) + 7_200) * 100),
        (*_PANEL, 1, 0): ("string", "ICT180S-12BRCP"),
        (*_PANEL, 4, 0): ("string", "2.08"),
        (*_PANEL, 6, 0): ("string", f"{state.supply_v:.1f}"),
    }
