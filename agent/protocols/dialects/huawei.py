"""Huawei and TD Tech: ``^HCSQ``, ``^MONSC``, ``^HFREQINFO``, ``^SYSINFOEX``, ``^CHIPTEMP`` (AT.md section 5)."""

from __future__ import annotations

from typing import Final

from agent.protocols.dialects.answers import Answer
from agent.protocols.dialects.core import lte_rsrp_dbm, lte_rsrq_db
from agent.protocols.dialects.facts import Facts, Leg

_MODES: Final = {
    "LTE": "4g",
    "WCDMA": "3g",
    "TD-SCDMA": "3g",
    "UMTS": "3g",
    "GSM": "2g",
    "NOSERVICE": "none",
    "NO SERVICE": "none",
}


def rssi_dbm(index: float) -> float:
    """Return RSSI in dBm of ``^HCSQ`` index 0 to 96."""
    return -121 + index


def sinr_db(index: float) -> float:
    """Return SINR in dB of ``^HCSQ`` index 0 to 251."""
    return -20.2 + index / 5


def hcsq(answer: Answer, facts: Facts) -> None:
    """``^HCSQ: mode,...``: LTE ``rssi,rsrp,sinr,rsrq``, NR ``rsrp,sinr,rsrq``, WCDMA and GSM begin with rssi.

    RSCP and Ec/Io of 3G have no metric. The scale of RSRQ on NR is not confirmed (31 was -9 dB).
    """
    record = answer.record()
    mode = record.words(0)
    if mode == "LTE":
        record.whole(5)
        facts.serving("lte", "HCSQ")
        facts.figure("modem.rssi_dbm", record[1], "HCSQ", "lte", rssi_dbm, (255,), (0, 96))
        facts.figure("modem.rsrp_dbm", record[2], "HCSQ", "lte", lte_rsrp_dbm, (255,), (0, 97))
        facts.figure("modem.sinr_db", record[3], "HCSQ", "lte", sinr_db, (255,), (0, 251))
        facts.figure("modem.rsrq_db", record[4], "HCSQ", "lte", lte_rsrq_db, (255,), (0, 34))
    elif mode == "NR":
        record.whole(4)
        facts.serving("nr", "HCSQ")
        facts.figure("modem.rsrp_dbm", record[1], "HCSQ", "nr", lte_rsrp_dbm, (255,), (0, 97))
        facts.figure("modem.sinr_db", record[2], "HCSQ", "nr", sinr_db, (255,), (0, 251))
        if record[3] not in (None, "255"):
            facts.flag("unparsed", "modem.rsrq_db", f"HCSQ NR {record[3]}, scale not confirmed")
    elif mode in _MODES:
        facts.add("modem.technology", _MODES[mode], "HCSQ")
        if _MODES[mode] == "none":
            facts.registration("not_registered", "HCSQ")
        else:
            facts.figure("modem.rssi_dbm", record.whole(3, 4)[1], "HCSQ", "none", rssi_dbm, (255,), (0, 96))
    else:
        facts.flag("unknown_text", "modem.technology", f"^HCSQ {answer.text}")


def monsc(answer: Answer, facts: Facts) -> None:
    """``^MONSC: NR,mcc,mnc,arfcn,scs,cell,pci,tac,rsrp,rsrq,sinr``; cell, PCI and TAC are hexadecimal.

    LTE is ``LTE,mcc,mnc,earfcn,cell,pci,tac,rsrp,rsrq,rssi``, without an SINR.
    """
    record = answer.record()
    mode = record.words(0)
    if mode not in ("NR", "LTE"):
        if mode in _MODES and _MODES[mode] != "none":
            facts.add("modem.technology", _MODES[mode], "MONSC")
        elif mode not in ("NONE", ""):
            facts.flag("unknown_text", "modem.technology", f"^MONSC {answer.text}")
        return
    leg: Leg = "nr" if mode == "NR" else "lte"
    record.whole(11 if leg == "nr" else 10)
    cell = 5 if leg == "nr" else 4
    facts.serving("nr" if leg == "nr" else "lte", "MONSC")
    facts.plmn(record[1], record[2], "MONSC")
    facts.hexadecimal("modem.cell_id", record[cell], "MONSC", leg)
    facts.pci(record[cell + 1], "MONSC", leg, 16)
    facts.hexadecimal("modem.tac", record[cell + 2], "MONSC", leg)
    facts.figure("modem.rsrp_dbm", record[cell + 3], "MONSC", leg)
    facts.figure("modem.rsrq_db", record[cell + 4], "MONSC", leg)
    facts.figure("modem.sinr_db" if leg == "nr" else "modem.rssi_dbm", record[cell + 5], "MONSC", leg)


def hfreqinfo(answer: Answer, facts: Facts) -> None:
    """``^HFREQINFO: n,mode,band,dl_fcn,dl_frequency,dl_bandwidth_khz,...``: mode 6 is LTE, 7 NR; the first carrier."""
    record = answer.record()
    modes: dict[str | None, Leg] = {"6": "lte", "7": "nr"}
    leg = modes.get(record[1])
    if leg is None:
        return
    facts.serving("lte" if leg == "lte" else "nr", "HFREQINFO")
    facts.band(record[2], "HFREQINFO", leg)
    facts.figure("modem.bandwidth_mhz", record[5], "HFREQINFO", leg, lambda khz: khz / 1000)


def sysinfoex(answer: Answer, facts: Facts) -> None:
    """``^SYSINFOEX: service,domain,roaming,sim,lock,mode,"mode",submode,"submode"``; domain 1 is voice alone."""
    record = answer.record()
    mode = record.words(6)
    if mode in _MODES:
        facts.add("modem.technology", _MODES[mode], "SYSINFOEX")
    elif mode.startswith("NR"):
        facts.serving("nr", "SYSINFOEX")
    elif mode:
        facts.flag("unknown_text", "modem.technology", f"^SYSINFOEX {mode}")
    if record[0] == "0":
        facts.registration("not_registered", "SYSINFOEX")
    elif record[0] == "2" and record[1] in ("2", "3") and record[2] in ("0", "1"):
        facts.registration("roaming" if record[2] == "1" else "home", "SYSINFOEX")
    if record[3] == "255":
        facts.sim("absent", "SYSINFOEX")


def chiptemp(answer: Answer, facts: Facts) -> None:
    """``^CHIPTEMP``: tenths of a degree a sensor, 65535 and 0 for none; the hottest is taken."""
    for text in answer.record().fields:
        facts.figure("modem.temperature_c", text, "CHIPTEMP", "none", lambda tenths: tenths / 10, (0,))


PARSERS: Final = {
    "^HCSQ": hcsq,
    "^MONSC": monsc,
    "^HFREQINFO": hfreqinfo,
    "^SYSINFOEX": sysinfoex,
    "^CHIPTEMP": chiptemp,
}
