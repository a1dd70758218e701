"""Telit: ``#RFSTS`` on LTE, and the serving line of ``#MONI`` (AT.md section 6)."""

from __future__ import annotations

import re
from typing import Final

from agent.protocols.dialects.answers import Answer
from agent.protocols.dialects.facts import Facts


def rfsts(answer: Answer, facts: Facts) -> None:
    """``#RFSTS: "plmn",earfcn,rsrp,rssi,rsrq,tac,rac,txpwr,drx,mm,rrc,cell,"imsi","oper",sd,band``.

    LTE has 16 fields; other accesses have other records.
    """
    record = answer.record().whole(16)
    digits = "".join((record[0] or "").split())
    if not digits:
        return
    facts.plmn(digits[:3], digits[3:], "RFSTS")
    if len(record) < 15:
        facts.flag("unparsed", "modem.rsrp_dbm", f"RFSTS of {len(record)} fields, not LTE")
        return
    facts.serving("lte", "RFSTS")
    facts.figure("modem.rsrp_dbm", record[2], "RFSTS", "lte")
    facts.figure("modem.rssi_dbm", record[3], "RFSTS", "lte")
    facts.figure("modem.rsrq_db", record[4], "RFSTS", "lte")
    facts.hexadecimal("modem.tac", record[5], "RFSTS", "lte")
    facts.hexadecimal("modem.cell_id", record[11], "RFSTS", "lte")
    if record[13]:
        facts.add("modem.operator", record[13], "RFSTS")
    facts.band(record[15], "RFSTS", "lte")


def moni(answer: Answer, facts: Facts) -> None:
    """``#MONI: [oper] RSRP:-101 RSRQ:-13 [TAC:..] Id:00000EC EARFCN:66786 PWR:-68dbm``: the first line is serving.

    ``Id`` is the PCI in hexadecimal, with a TAC the cell id.
    """
    if any(fact.source == "MONI" for fact in facts.facts):
        return
    pairs = dict(re.findall(r"\b(RSRP|RSRQ|TAC|Id|PWR):(\S+)", answer.text))
    facts.figure("modem.rsrp_dbm", pairs.get("RSRP"), "MONI", "lte")
    facts.figure("modem.rsrq_db", pairs.get("RSRQ"), "MONI", "lte")
    if "TAC" in pairs:
        facts.hexadecimal("modem.tac", pairs["TAC"], "MONI", "lte")
        facts.hexadecimal("modem.cell_id", pairs.get("Id"), "MONI", "lte")
    else:
        facts.pci(pairs.get("Id"), "MONI", "lte", 16)


PARSERS: Final = {"#RFSTS": rfsts, "#MONI": moni}
