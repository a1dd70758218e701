"""Telit: ``#RFSTS`` on LTE, and the serving line of ``#MONI`` (AT.md section 6)."""

from __future__ import annotations

import re
from typing import Final

from agent.protocols.dialects.answers import Answer
from agent.protocols.dialects.facts import Facts

_SUBSCRIBER: Final = re.compile(r'"[\d.]{6,15}"', re.ASCII)
"""The IMSI in quotes; transcripts that are shown around have its end cut off with dots."""


def rfsts(answer: Answer, facts: Facts) -> None:
    """``#RFSTS: "plmn",earfcn,rsrp,rssi,rsrq,tac,rac,[txpwr,]drx,mm,rrc,cell,"imsi","oper",sd,band[,...]`` on LTE.

    The LE910C1 leaves TXPWR out, so what stands behind is found from the IMSI: the only field of 14 or 15 digits in
    quotes, and itself read by nobody. WCDMA and GSM have other records, whose third to fifth fields cannot be an RSRP,
    an RSSI and an RSRQ: such a record gives nothing.
    """
    record = answer.record().whole(15, 16)
    digits = "".join((record[0] or "").split())
    if not digits:
        return
    facts.serving("lte", "RFSTS")
    facts.plmn(digits[:3], digits[3:], "RFSTS")
    for metric, place in (("modem.rsrp_dbm", 2), ("modem.rssi_dbm", 3), ("modem.rsrq_db", 4)):
        if record[place] is None:
            facts.impossible(metric, f"RFSTS of {len(record)} fields, not LTE")
        facts.figure(metric, record[place], "RFSTS", "lte")
    facts.hexadecimal("modem.tac", record[5], "RFSTS", "lte")
    subscriber = next((place for place, text in enumerate(record.fields) if _SUBSCRIBER.fullmatch(text)), None)
    if subscriber is None:
        facts.flag("unparsed", "modem.cell_id", "RFSTS without an IMSI to count its fields from")
        return
    facts.hexadecimal("modem.cell_id", record[subscriber - 1], "RFSTS", "lte")
    if record[subscriber + 1]:
        facts.add("modem.operator", record[subscriber + 1] or "", "RFSTS")
    facts.band(record[subscriber + 3], "RFSTS", "lte")


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
