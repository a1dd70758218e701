"""Fibocom: ``+GTCCINFO`` of the FM350 (MediaTek) and FM150/FM190 (Qualcomm), ``+XCESQ`` and ``+XMCI`` of the Intel
L8xx (AT.md section 4)."""

from __future__ import annotations

import re
from typing import Final

from agent.protocols.dialects.answers import Answer, Record
from agent.protocols.dialects.core import lte_rsrp_dbm, lte_rsrq_db, nr_rsrp_dbm, nr_rsrq_db
from agent.protocols.dialects.facts import Facts, Leg
from agent.protocols.dialects.quectel import LTE_BLOCKS

_QUALCOMM: Final = re.compile(r"\bFM(1[0-9]\d)", re.IGNORECASE)
_INDEX_FILLERS: Final = (126, 127, 255)
_SPLIT_NUMBER: Final = re.compile(r"-(\d{1,2})\.-(\d)0?", re.ASCII)


def gtccinfo(answer: Answer, facts: Facts) -> None:
    """``+GTCCINFO:`` then a row a cell; rows that begin with 1 are serving cells, two of them on NSA.

    Qualcomm models head the rows with ``LTE service cell:`` and write ARFCN and PCI in hexadecimal.
    """
    heads = [answer.text, *answer.rows]
    qualcomm = bool(_QUALCOMM.search(facts.model)) or any(head.lower().endswith("cell:") for head in heads)
    for place, row in enumerate(answer.rows):
        if re.match(r"\s*1\s*,", row):
            with facts.record(answer.name):
                _serving(answer.row(place).whole(14), qualcomm, facts)
    if re.match(r"\s*1\s*,", answer.text):  # the first row on the line of the name
        with facts.record(answer.name):
            _serving(answer.record().whole(14), qualcomm, facts)


def _serving(record: Record, qualcomm: bool, facts: Facts) -> None:
    """``1,rat,mcc,mnc,tac,cell,arfcn,pci,band,bw,sinr,rxlev,rsrp,rsrq``."""
    source, access = "GTCCINFO", record[1]
    if access not in ("4", "9"):
        if access == "2":
            facts.serving("3g", source)
        elif access:
            facts.flag("unknown_text", "modem.technology", f"GTCCINFO rat {access}")
        return
    leg: Leg = "lte" if access == "4" else "nr"
    facts.serving("lte" if leg == "lte" else "nr", source)
    facts.plmn(record[2], record[3], source)
    facts.hexadecimal("modem.tac", record[4], source, leg)
    facts.hexadecimal("modem.cell_id", record[5], source, leg)
    facts.pci(record[7], source, leg, 16 if qualcomm else 10)
    band(record[8], source, leg, facts)
    if leg == "lte":
        facts.bandwidth(record[9], LTE_BLOCKS, source, leg)
        facts.figure("modem.rsrp_dbm", record[12], source, leg, lte_rsrp_dbm, _INDEX_FILLERS, (0, 97))
        facts.figure("modem.rsrq_db", record[13], source, leg, lte_rsrq_db, _INDEX_FILLERS, (0, 34))
    else:
        facts.figure("modem.rsrp_dbm", record[12], source, leg, nr_rsrp_dbm, _INDEX_FILLERS, (0, 125))
        facts.figure("modem.rsrq_db", record[13], source, leg, nr_rsrq_db, _INDEX_FILLERS, (0, 125))
        if record[9]:
            facts.flag("unparsed", "modem.bandwidth_mhz", f"GTCCINFO NR {record[9]}, unit not known")
    # Known: NR on MediaTek is dB, LTE on Qualcomm half dB. The other two are not.
    if leg == "nr" and not qualcomm:
        facts.figure("modem.sinr_db", record[10], source, leg, fillers=_INDEX_FILLERS)
    elif leg == "lte" and qualcomm:
        facts.figure("modem.sinr_db", record[10], source, leg, lambda half: half / 2, _INDEX_FILLERS)
    elif record[10]:
        facts.flag("unparsed", "modem.sinr_db", f"GTCCINFO {leg} {record[10]}, unit not known")


def band(text: str | None, source: str, leg: Leg, facts: Facts) -> None:
    """Add a band of its number: LTE 1xx is Bxx (103, 120, 166), NR 50xx and 50x are nxx and nx (5078, 501)."""
    prefix, width = ("50", 2) if leg == "nr" else ("1", 1)
    if text and text.isdigit() and text.startswith(prefix) and len(text) > width:
        facts.band(text[width:], source, leg)
    elif text:
        facts.flag("unparsed", "modem.band", f"{source} {text}")


def gtsenrdtemp(answer: Answer, facts: Facts) -> None:
    """``+GTSENRDTEMP: sensor,thousandths of a degree``; a number under 200 may be whole degrees of another model."""
    text = answer.record().whole(2)[1]
    if text and re.fullmatch(r"-?\d{1,2}|-?1\d\d", text, re.ASCII) and text != "0":
        facts.flag("unparsed", "modem.temperature_c", f"GTSENRDTEMP {text}, degrees or thousandths is not known")
        return
    facts.figure("modem.temperature_c", text, answer.source, "none", lambda raw: round(raw / 1000, 1), (0,))


def xcesq(answer: Answer, facts: Facts) -> None:
    """``+XCESQ: mode,`` then +CESQ's six fields, then SNR in half dB, signed; the L860 adds four that are NR's."""
    record = answer.record().whole(8, 12)
    facts.figure("modem.rsrq_db", record[5], "XCESQ", "lte", lte_rsrq_db, (255,), (0, 34))
    facts.figure("modem.rsrp_dbm", record[6], "XCESQ", "lte", lte_rsrp_dbm, (255,), (0, 97))
    facts.figure("modem.sinr_db", record[7], "XCESQ", "lte", lambda half: half / 2, (255,), (-100, 100))


def xmci(answer: Answer, facts: Facts) -> None:
    """``+XMCI: 4,mcc,mnc,"tac","cell","pci","earfcn","ul",...,rsrp,rsrq,snr,...``: 4 is the LTE serving cell.

    5 are its neighbours; 0 to 3 are cells of 2G and 3G.
    """
    record = answer.record()
    if record[0] != "4":
        return
    facts.serving("lte", "XMCI")
    facts.plmn(record[1], record[2], "XMCI")
    facts.hexadecimal("modem.tac", record[3], "XMCI", "lte")
    facts.hexadecimal("modem.cell_id", record[4], "XMCI", "lte")
    facts.pci(record[5], "XMCI", "lte", 16)
    facts.figure("modem.rsrp_dbm", record[9], "XMCI", "lte", lte_rsrp_dbm, (255,), (0, 97))
    facts.figure("modem.rsrq_db", record[10], "XMCI", "lte", lte_rsrq_db, (255,), (0, 34))
    facts.figure("modem.sinr_db", record[11], "XMCI", "lte", lambda half: half / 2, (255,), (-100, 100))


def xlec(answer: Answer, facts: Facts) -> None:
    """``+XLEC: ...,BAND_LTE_3``: the band of the primary carrier."""
    name = re.search(r"BAND_LTE_(\d+)", answer.text, re.ASCII)
    if name is not None:
        facts.band(name[1], "XLEC", "lte")


def triples(answer: Answer, facts: Facts) -> None:
    """``+RSRP: pci,earfcn,value,...`` and ``+RSRQ``: the first triple is the serving cell.

    A firmware prints -9.5 as ``-9.-50``; that is mended, nothing else is guessed.
    """
    record, metric = answer.record(), "modem.rsrp_dbm" if answer.source == "RSRP" else "modem.rsrq_db"
    if len(record) % 3 == 0:
        record.whole(len(record))
    facts.pci(record[0], answer.source, "lte")
    text = record[2]
    broken = _SPLIT_NUMBER.fullmatch(text or "")
    if broken is not None:
        facts.flag("unparsed", metric, f"{answer.source} {text!r}, read as -{broken[1]}.{broken[2]}")
        text = f"-{broken[1]}.{broken[2]}"
    facts.figure(metric, text, answer.source, "lte")


PARSERS: Final = {
    "+GTCCINFO": gtccinfo,
    "+GTSENRDTEMP": gtsenrdtemp,
    "+XCESQ": xcesq,
    "+XMCI": xmci,
    "+XLEC": xlec,
    "+RSRP": triples,
    "+RSRQ": triples,
}
