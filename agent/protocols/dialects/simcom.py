"""SIMCom: ``+CPSI``, whose 5G record has changed its order and units with the firmware (AT.md section 6)."""

from __future__ import annotations

import re
from typing import Final

from agent.protocols.dialects.answers import Answer, Record
from agent.protocols.dialects.core import lte_rsrp_dbm, lte_rsrq_db
from agent.protocols.dialects.facts import Facts
from agent.protocols.dialects.quectel import LTE_BANDWIDTH

_WHOLE: Final = re.compile(r"SIM70\d\d", re.IGNORECASE)
"""CAT-M and NB-IoT modules: whole dB and dBm."""
_TENTHS: Final = re.compile(r"SIM(7[1-9]|8\d)\d\d", re.IGNORECASE)
_INDICES: Final = re.compile(r"\bA76\d\d", re.IGNORECASE)
"""The LTE CAT-1 modules print +CESQ's indices."""


def _tenths(value: float) -> float:
    return value / 10


def cpsi(answer: Answer, facts: Facts) -> None:
    """``+CPSI: mode,...``; two lines on NSA, of which the second begins with ``NR5G`` or ``NR5G_NSA``."""
    record = answer.record()
    mode = record.words(0)
    if mode == "NO SERVICE":
        facts.registration("not_registered", "CPSI")
        facts.add("modem.technology", "none", "CPSI")
    elif mode.startswith("LTE"):
        _lte(record.whole(14), mode, facts)
    elif mode == "NR5G_SA":
        _standalone(record.whole(11), facts)
    elif mode in ("NR5G", "NR5G_NSA"):
        _non_standalone(record, facts)
    elif mode in ("WCDMA", "GSM", "TDS"):
        facts.serving("2g" if mode == "GSM" else "3g", "CPSI")
        _place(record, facts)
        facts.hexadecimal("modem.tac", record[3], "CPSI", "none")
        facts.hexadecimal("modem.cell_id", record[4], "CPSI", "none", 10)
    else:
        facts.flag("unknown_text", "modem.technology", f"+CPSI {answer.text}")


def _place(record: Record, facts: Facts) -> None:
    mcc, _, mnc = (record[2] or "").partition("-")
    facts.plmn(mcc, mnc, "CPSI")


def _lte(record: Record, mode: str, facts: Facts) -> None:
    """``LTE,Online,mcc-mnc,0xtac,cell,pci,band,earfcn,dl_bw,ul_bw,rsrq,rsrp,rssi,rssnr``.

    The three powers are in tenths, in whole units or indices, by the model or by the mode (``LTE CAT-M1`` is whole).
    Of a model that is not known, an RSRP under -200 says itself that it is in tenths; nothing else does.
    """
    facts.serving("lte", "CPSI")
    _place(record, facts)
    facts.hexadecimal("modem.tac", record[3], "CPSI", "lte")
    facts.hexadecimal("modem.cell_id", record[4], "CPSI", "lte", 10)
    facts.pci(record[5], "CPSI", "lte")
    facts.band(record[6], "CPSI", "lte")
    facts.bandwidth(record[8], LTE_BANDWIDTH, "CPSI", "lte")
    whole = bool(_WHOLE.search(facts.model)) or mode != "LTE"
    tenths = _TENTHS.search(facts.model) or re.fullmatch(r"-[2-9]\d\d|-1\d{3}", record[11] or "", re.ASCII)
    if whole or (tenths and not _INDICES.search(facts.model)):
        scale = float if whole else _tenths
        facts.figure("modem.rsrq_db", record[10], "CPSI", "lte", scale)
        facts.figure("modem.rsrp_dbm", record[11], "CPSI", "lte", scale)
        facts.figure("modem.rssi_dbm", record[12], "CPSI", "lte", scale)
        facts.figure("modem.sinr_db", record[13], "CPSI", "lte")
    elif _INDICES.search(facts.model):
        facts.figure("modem.rsrq_db", record[10], "CPSI", "lte", lte_rsrq_db, (255,), (0, 34))
        facts.figure("modem.rsrp_dbm", record[11], "CPSI", "lte", lte_rsrp_dbm, (255,), (0, 97))
    else:
        facts.flag("unparsed", "modem.rsrp_dbm", f"CPSI {record[11]}, unit not known for this model")


def _standalone(record: Record, facts: Facts) -> None:
    """``NR5G_SA,Online,mcc-mnc,0xtac,cell,pci,band,arfcn,rsrp*10,rsrq*10,snr*10``."""
    facts.serving("nr", "CPSI")
    _place(record, facts)
    facts.hexadecimal("modem.tac", record[3], "CPSI", "nr")
    facts.hexadecimal("modem.cell_id", record[4], "CPSI", "nr", 10)
    facts.pci(record[5], "CPSI", "nr")
    facts.band(record[6], "CPSI", "nr")
    facts.figure("modem.rsrp_dbm", record[8], "CPSI", "nr", _tenths)
    facts.figure("modem.rsrq_db", record[9], "CPSI", "nr", _tenths)
    facts.figure("modem.sinr_db", record[10], "CPSI", "nr", _tenths)


def _non_standalone(record: Record, facts: Facts) -> None:
    """Old: ``PCI,ARFCN,RSRQ,RSRP,SNR`` in whole units; new: ``PCI,band,ARFCN,RSRP*10,RSRQ*10,SNR[,scs,bw]``."""
    facts.serving("nsa", "CPSI")
    facts.pci(record[1], "CPSI", "nr")
    if re.search("band", record[2] or "", re.IGNORECASE):
        record.whole(7, 9)
        facts.band(record[2], "CPSI", "nr")
        facts.figure("modem.rsrp_dbm", record[4], "CPSI", "nr", _tenths)
        facts.figure("modem.rsrq_db", record[5], "CPSI", "nr", _tenths)
        if record[6]:
            facts.flag("unparsed", "modem.sinr_db", f"CPSI NSA {record[6]}, unit not confirmed")
    else:
        record.whole(6)
        facts.figure("modem.rsrq_db", record[3], "CPSI", "nr")
        facts.figure("modem.rsrp_dbm", record[4], "CPSI", "nr")
        facts.figure("modem.sinr_db", record[5], "CPSI", "nr")


PARSERS: Final = {"+CPSI": cpsi}
