"""A network camera as AXIS OS 12 tells itself over SNMP (enterprise 368)."""

from __future__ import annotations

from simulator.snmp import Oid, Table
from simulator.world import KitState

_ENTERPRISE: Oid = (1, 3, 6, 1, 4, 1, 368)
_SYSTEM: Oid = (1, 3, 6, 1, 2, 1, 1)


def camera_table(state: KitState, camera: str) -> Table | None:
    """Return what the camera answers, or ``None`` without power."""
    if not state.cameras_alive.get(camera, True):
        return None
    return {
        (*_SYSTEM, 1, 0): ("string", "; AXIS P3925-R; Dome Camera; 12.10.68; Apr 29 2026 18:04; 918.2; 1"),
        (*_SYSTEM, 2, 0): ("oid", (*_ENTERPRISE, 1, 1)),
        (*_SYSTEM, 3, 0): ("ticks", (int(state.seconds) + 3_600) * 100),
        (*_ENTERPRISE, 4, 1, 3, 1, 3, 1, 1): ("integer", 1),
        (*_ENTERPRISE, 4, 1, 3, 1, 4, 1, 1): ("integer", 41 + int(state.seconds / 30) % 3),
        (*_ENTERPRISE, 4, 1, 100, 1, 1, 0): ("gauge32", 43),
        (*_ENTERPRISE, 4, 1, 100, 1, 2, 0): ("gauge32", 569_832),
        (*_ENTERPRISE, 4, 1, 100, 1, 3, 0): ("gauge32", 245_232),
        (*_ENTERPRISE, 4, 1, 100, 3, 1, 0): ("gauge32", 25 + int(state.seconds / 10) % 6),
        (*_ENTERPRISE, 4, 1, 100, 5, 0): ("string", "12.10.68"),
        (*_ENTERPRISE, 4, 1, 100, 6, 0): ("string", "B8A44F000001"),
        (*_ENTERPRISE, 4, 1, 100, 8, 0): ("string", "P3925-R"),
    }
