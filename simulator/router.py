"""A 5G router as Teltonika's RutOS 7.10+ tells itself over SNMP (enterprise 48690; standard MIBs beside it)."""

from __future__ import annotations

from simulator.snmp import Oid, Table
from simulator.world import KitState

_ENTERPRISE: Oid = (1, 3, 6, 1, 4, 1, 48690)
_SYSTEM: Oid = (1, 3, 6, 1, 2, 1, 1)
_INTERFACES: Oid = (1, 3, 6, 1, 2, 1, 2, 2, 1)
_IFX: Oid = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1)
_HOST: Oid = (1, 3, 6, 1, 2, 1, 25)
_PIN = {"ready": "OK", "absent": "SIM not inserted", "locked": "SIM PIN"}
_NAMES = {1: "lo", 2: "eth0", 3: "wwan0", 4: "br-lan"}


def router_table(state: KitState, serial: str) -> Table | None:
    """Return what the router answers, or ``None`` without power. ``serial`` tells one vehicle's from another's."""
    if not state.router_alive or not state.router_tells:
        return None
    up = int(state.router_uptime_s)
    leg = state.nr if state.nr_used else state.lte
    modem = {
        1: ("integer", 1),
        2: ("string", "2-1"),
        3: ("string", f"86000024{serial}"[:15].ljust(15, "0")),
        4: ("string", "RG520N-CN"),
        5: ("string", "Quectel"),
        6: ("string", "RG520NCNDCR03A03M4G"),
        7: ("string", f"MPY{serial}"),
        8: ("string", f"4600012{serial}"[:15].ljust(15, "0") if state.sim == "ready" else "N/A"),
        9: ("string", "inserted" if state.sim_present else "not inserted"),
        10: ("string", _PIN[state.sim]),
        11: ("string", "Registered, home" if state.registered else "Denied" if state.denied else "Not registered"),
        12: ("string", str(round(leg.rsrp) + 30)),
        13: ("string", "CHINA MOBILE" if state.registered else "N/A"),
        14: ("string", "46000" if state.registered else "N/A"),
        15: ("string", "Connected" if state.registered else "Disconnected"),
        16: ("string", ("5G-SA" if state.nr_used else "LTE") if state.registered else "N/A"),
        17: ("integer", round(state.modem_temperature_c * 10)),
        18: ("string", "4295434240" if state.registered else "N/A"),
        19: ("string", str(round(leg.sinr))),
        20: ("string", str(round(leg.rsrp))),
        21: ("string", str(round(leg.rsrq))),
        22: ("counter64", state.bytes_sent),
        23: ("counter64", state.bytes_received),
        24: ("string", "10.64.1.2" if state.registered else ""),
    }
    table: dict[Oid, tuple[str, object]] = {
        (*_SYSTEM, 1, 0): ("string", "Linux RUTX50 5.10.199 #0 SMP Tue Apr 8 05:02:52 2025 armv7l"),
        (*_SYSTEM, 2, 0): ("oid", (1, 3, 6, 1, 4, 1, 8072, 3, 2, 10)),
        (*_SYSTEM, 3, 0): ("ticks", up * 100),
        (*_SYSTEM, 5, 0): ("string", "RUTX50"),
        (*_ENTERPRISE, 1, 1, 0): ("string", serial),
        (*_ENTERPRISE, 1, 2, 0): ("string", "RUTX50"),
        (*_ENTERPRISE, 1, 3, 0): ("string", "RUTX50000000"),
        (*_ENTERPRISE, 1, 4, 0): ("string", "0010"),
        (*_ENTERPRISE, 1, 5, 0): ("string", "0003"),
        (*_ENTERPRISE, 1, 6, 0): ("string", "RUTX_R_00.07.14.2" if state.router_updated else "RUTX_R_00.07.13.1"),
        (*_ENTERPRISE, 1, 7, 0): ("string", str(up)),
        (*_ENTERPRISE, 1, 8, 0): ("string", f"{10 + int(state.seconds) % 5}.10"),
        (*_ENTERPRISE, 2, 1, 0): ("integer", 1),
        (*_ENTERPRISE, 2, 3, 0): ("gauge32", up if state.registered else 0),
        (*_HOST, 1, 1, 0): ("ticks", up * 100),
    }
    for column, cell in modem.items():
        table[(*_ENTERPRISE, 2, 2, 1, column, 1)] = cell
    for index, name in _NAMES.items():
        mobile = name == "wwan0"
        table[(*_INTERFACES, 1, index)] = ("integer", index)
        table[(*_INTERFACES, 2, index)] = ("string", name)
        table[(*_INTERFACES, 3, index)] = ("integer", 24 if name == "lo" else 6)
        table[(*_INTERFACES, 7, index)] = ("integer", 1)
        table[(*_INTERFACES, 8, index)] = ("integer", 1 if not mobile or state.registered else 2)
        table[(*_INTERFACES, 14, index)] = ("counter32", 0)
        table[(*_INTERFACES, 20, index)] = ("counter32", 0)
        table[(*_IFX, 1, index)] = ("string", name)
        table[(*_IFX, 6, index)] = ("counter64", state.bytes_received if mobile else state.bytes_received + 1_000)
        table[(*_IFX, 10, index)] = ("counter64", state.bytes_sent if mobile else state.bytes_sent + 1_000)
    return table
