"""What a modem's state says about its signal figures: one guard for AT, SNMP and HTTP. Pure.

A modem without service prints figures all the same: those of the last cell, of a cell that refuses it, or fillers. So
they are withheld while the SIM, the registration or the technology is known to be bad; what is not told withholds
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SIGNAL: Final = ("modem.rssi_dbm", "modem.rsrp_dbm", "modem.rsrq_db", "modem.sinr_db")
REGISTERED: Final = ("home", "roaming")
BAD_SIM: Final = ("absent", "locked", "failure")
BAD_REGISTRATION: Final = ("emergency_only", "searching", "denied", "not_registered")
LEG_OF: Final[Mapping[str, str | None]] = {
    "4g": "lte",
    "5g_nsa": "lte",
    "5g_sa": "nr",
    "3g": None,
    "2g": None,
    "none": None,
}
"""The leg that an unlabelled figure of this technology belongs to; None where there are no legs."""
_REFERENCE: Final = ("modem.rsrp_dbm", "modem.rsrq_db")
_ROUNDING_DB: Final = 1.0
"""RSSI and RSRP of two commands are rounded and of two moments."""


def why_withheld(metric: str, sim: object = None, registration: object = None, technology: object = None) -> str | None:
    """Return why a figure means nothing in this state, as a flag says it; None where nothing speaks against it."""
    if metric not in SIGNAL:
        return None
    if sim in BAD_SIM:
        return f"sim {sim}"
    if registration in BAD_REGISTRATION:
        return f"registration {registration}"
    return "technology none" if technology == "none" else None


def foreign(metric: str, technology: object) -> bool:
    """Return whether a figure is of another technology than the one in use: RSRP and RSRQ are of LTE's and NR's
    reference signals (TS 36.214, TS 38.215), and what stands in their place on 2G and 3G is something else."""
    return technology in ("2g", "3g") and metric in _REFERENCE


def contradict(rsrp_dbm: float, rssi_dbm: float) -> bool:
    """Return whether an RSRP is above its RSSI: one resource element of the channel cannot hold more power than all of
    it (TS 36.214 section 5.1)."""
    return rsrp_dbm > rssi_dbm + _ROUNDING_DB
