"""A router for net-snmp's ``snmpd``, as a program of its ``pass_persist`` (snmpd.conf(5)).

The answers are those of the simulated router, with a second modem: values that move, over v2c and v3.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_right
from typing import Any, Final

from simulator.kit import Kit
from simulator.router import router_table
from simulator.scenario import load_scenario
from simulator.snmp import Oid, Table

MODEM: Final = (1, 3, 6, 1, 4, 1, 48690, 2, 2, 1)
SUBTREES: Final = ("1.3.6.1.4.1.48690", "1.3.6.1.2.1.2.2.1", "1.3.6.1.2.1.31.1.1.1", "1.3.6.1.2.1.25.1.1")
NOT_ITS_OWN: Final = "hrh_storage"
"""The module of ``snmpd`` that would tell this machine's disks and memory."""
_TYPES: Final = {"ticks": "timeticks", "gauge32": "gauge", "counter32": "counter", "oid": "objectid"}
_FRESH_S: Final = 0.5


def configuration() -> str:
    """Return the lines of ``snmpd.conf`` that put the router in place of what the agent itself would tell."""
    return "\n".join(f"pass_persist -p 10 .{subtree} {sys.executable} {__file__} {subtree}" for subtree in SUBTREES)


def table(kit: Kit) -> Table:
    """Return everything that the router tells now."""
    one = router_table(kit.state(), "1234567890")
    assert one is not None
    again: dict[Oid, tuple[str, Any]] = {
        (*MODEM, oid[-2], 2): cell for oid, cell in one.items() if oid[: len(MODEM)] == MODEM
    }
    again[(*MODEM, 3, 2)] = ("string", "860000249876543")  # its IMEI: else it would be the same modem twice
    return {**one, **again}


def main(subtree: str) -> None:
    """Answer ``get`` and ``getnext`` for one subtree until the input ends."""
    kit = Kit("amb-01", load_scenario("quiet"), "unused", ())
    below = tuple(map(int, subtree.split(".")))
    cells: dict[Oid, tuple[str, Any]] = {}
    order: list[Oid] = []
    made = 0.0
    for line in sys.stdin:
        command = line.strip()
        if command == "PING":
            print("PONG", flush=True)
            continue
        oid = tuple(map(int, sys.stdin.readline().strip().strip(".").split(".")))
        if time.monotonic() - made > _FRESH_S:
            made = time.monotonic()
            cells = {key: cell for key, cell in table(kit).items() if key[: len(below)] == below}
            order = sorted(cells)
        if command == "getnext":
            at = bisect_right(order, oid)
            oid = order[at] if at < len(order) else ()
        if oid not in cells:
            print("NONE", flush=True)
            continue
        kind, value = cells[oid]
        shown = "." + ".".join(map(str, value)) if kind == "oid" else value
        print("." + ".".join(map(str, oid)), _TYPES.get(kind, kind), shown, sep="\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
