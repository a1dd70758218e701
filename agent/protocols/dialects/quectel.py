"""Quectel: ``+QENG`` and its companions (RG50xQ&RM5xxQ Series Network Application Note, pages 24-30; AT.md section 3).

The Unisoc modules (RM500U and kin) print the same records with other units: bandwidth in MHz, not as a code.
"""

from __future__ import annotations

import re
from typing import Final

from agent.protocols.dialects.answers import Answer, Record
from agent.protocols.dialects.facts import Facts, Leg
from firmware_profiles.vocabulary import word_for

_UNISOC: Final = re.compile(r"\b(RM500U|RG500U|RM200U|RG200U|RM510U|EC200U|EG91[2-5]U)", re.IGNORECASE)
_QUALCOMM: Final = re.compile(r"\b(RG5\d\d[QFL]|RM5\d\d[QNKFG]|RM50\dQ|RG65\d|RM55\d|RM2\d\d|RG2\d\d)", re.IGNORECASE)
_SINR_CODED: Final = re.compile(r"\b(RG50\dQ|RM5\d\dQ)", re.IGNORECASE)
"""Their LTE SINR field is X with dB = 2X - 20."""
_SINR_PLAIN: Final = re.compile(r"\bEC200[A-Z]", re.IGNORECASE)
"""Their LTE SINR field is dB."""

_NR_MHZ: Final = (5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100, 200, 400, 35, 45)
NR_BANDWIDTH: Final = {str(code): float(mhz) for code, mhz in enumerate(_NR_MHZ)}
_NR_PLAIN: Final = {str(mhz): float(mhz) for mhz in _NR_MHZ}
LTE_BANDWIDTH: Final = dict(zip("012345", (1.4, 3.0, 5.0, 10.0, 15.0, 20.0), strict=True))
LTE_BLOCKS: Final = {"6": 1.4, "15": 3.0, "25": 5.0, "50": 10.0, "75": 15.0, "100": 20.0}
"""Resource blocks to MHz (TS 36.101 table 5.6-1)."""
_STATE: Final = {"SEARCH": "searching", "LIMSRV": "not_registered"}
"""LIMSRV is camped on a cell without being registered. NOCONN and CONNECT are registered, at home or not."""


def qeng(answer: Answer, facts: Facts) -> None:
    """``+QENG``: one line for SA and LTE, three for EN-DC; neighbours are not ours."""
    record = answer.record()
    first = record.words(0)
    if first == "SERVINGCELL":
        state, access = record.words(1), record.words(2)
        if state in _STATE:
            facts.registration(_STATE[state], "QENG")
            if state == "SEARCH":
                facts.add("modem.technology", "none", "QENG")
        elif state not in ("NOCONN", "CONNECT"):
            facts.flag("unknown_text", "modem.registration", f"+QENG state {state}")
        if access == "NR5G-SA":
            _standalone(record.whole(17, 18), facts)
        elif access == "LTE":
            _lte(record.whole(18, 19, 20), 2, facts)
        elif access in ("WCDMA", "GSM"):
            _older(record, access, facts)
        elif access:
            facts.flag("unknown_text", "modem.technology", f"+QENG {access}")
    elif first == "LTE":
        _lte(record.whole(16, 17, 18), 0, facts)
    elif first == "NR5G-NSA":
        _non_standalone(record.whole(10, 11), facts)
    elif first != "NEIGHBOURCELL" and not first.startswith("NEIGHBOURCELL "):
        facts.flag("unknown_text", "modem.technology", f"+QENG {first}")


def _standalone(record: Record, facts: Facts) -> None:
    facts.serving("nr", "QENG")
    facts.plmn(record[4], record[5], "QENG")
    facts.hexadecimal("modem.cell_id", record[6], "QENG", "nr")
    facts.pci(record[7], "QENG", "nr")
    facts.hexadecimal("modem.tac", record[8], "QENG", "nr")
    facts.band(record[10], "QENG", "nr")
    _nr_bandwidth(record[11], "QENG", facts)
    facts.figure("modem.rsrp_dbm", record[12], "QENG", "nr")
    facts.figure("modem.rsrq_db", record[13], "QENG", "nr")
    facts.figure("modem.sinr_db", record[14], "QENG", "nr")


def _lte(record: Record, shift: int, facts: Facts) -> None:
    """``"LTE",is_tdd,MCC,MNC,cell,PCI,EARFCN,band,UL,DL,TAC,RSRP,RSRQ,RSSI,SINR,...`` from field ``shift`` on."""
    facts.serving("lte", "QENG")
    facts.plmn(record[shift + 2], record[shift + 3], "QENG")
    facts.hexadecimal("modem.cell_id", record[shift + 4], "QENG", "lte")
    facts.pci(record[shift + 5], "QENG", "lte")
    facts.band(record[shift + 7], "QENG", "lte")
    facts.bandwidth(record[shift + 9], LTE_BANDWIDTH, "QENG", "lte")
    facts.hexadecimal("modem.tac", record[shift + 10], "QENG", "lte")
    facts.figure("modem.rsrp_dbm", record[shift + 11], "QENG", "lte")
    facts.figure("modem.rsrq_db", record[shift + 12], "QENG", "lte")
    facts.figure("modem.rssi_dbm", record[shift + 13], "QENG", "lte")
    _lte_sinr(record[shift + 14], facts)


def _lte_sinr(text: str | None, facts: Facts) -> None:
    if text is not None and text.startswith("-"):  # a code is never negative
        facts.figure("modem.sinr_db", text, "QENG", "lte")
    elif _SINR_CODED.search(facts.model):
        facts.figure("modem.sinr_db", text, "QENG", "lte", lambda code: 2 * code - 20, (255,), (0, 25))
    elif _SINR_PLAIN.search(facts.model):
        facts.figure("modem.sinr_db", text, "QENG", "lte", fillers=(255,))
    elif text:
        facts.flag("unparsed", "modem.sinr_db", f"QENG LTE {text}, dB or code is not known for this model")


def _non_standalone(record: Record, facts: Facts) -> None:
    """``"NR5G-NSA",MCC,MNC,PCI,RSRP,SINR,RSRQ,ARFCN,band,bw,scs``: SINR stands before RSRQ here."""
    facts.plmn(record[1], record[2], "QENG")
    facts.pci(record[3], "QENG", "nr")
    facts.figure("modem.rsrp_dbm", record[4], "QENG", "nr")
    facts.figure("modem.sinr_db", record[5], "QENG", "nr")
    facts.figure("modem.rsrq_db", record[6], "QENG", "nr")
    facts.band(record[8], "QENG", "nr")
    _nr_bandwidth(record[9], "QENG", facts)
    if any(fact.leg == "nr" and fact.source == "QENG" for fact in facts.facts):
        facts.serving("nsa", "QENG")  # an NR line of fillers only is an anchor that has no NR cell


def _nr_bandwidth(text: str | None, source: str, facts: Facts) -> None:
    """A code on Qualcomm, MHz on Unisoc, and told only where the model, or the number itself, says which: 3 is a code,
    100 is MHz, 10 may be both."""
    if _UNISOC.search(facts.model):
        table = _NR_PLAIN
    elif _QUALCOMM.search(facts.model) or text not in _NR_PLAIN:
        table = NR_BANDWIDTH if text in NR_BANDWIDTH else _NR_PLAIN
    elif text not in NR_BANDWIDTH:
        table = _NR_PLAIN
    else:
        facts.flag("unparsed", "modem.bandwidth_mhz", f"{source} NR {text}, code or MHz is not known for this model")
        return
    facts.bandwidth(text, table, source, "nr")


def _older(record: Record, access: str, facts: Facts) -> None:
    """2G and 3G begin alike: MCC, MNC, LAC, cell. Their power figures are not RSRP."""
    facts.serving("3g" if access == "WCDMA" else "2g", "QENG")
    facts.plmn(record[3], record[4], "QENG")
    facts.hexadecimal("modem.tac", record[5], "QENG", "none")
    facts.hexadecimal("modem.cell_id", record[6], "QENG", "none")


def qnwinfo(answer: Answer, facts: Facts) -> None:
    """``+QNWINFO: "FDD LTE","51503","LTE BAND 1",150``, two lines on EN-DC, or ``No Service``."""
    record = answer.record()
    access = record.words(0)
    if access in ("NO SERVICE", "NONE"):
        facts.registration("not_registered", "QNWINFO")
        facts.add("modem.technology", "none", "QNWINFO")
        return
    leg: Leg = "none"
    technology = word_for("technology", access)
    if technology in ("5g_sa", "5g_nsa"):
        leg = "nr"
        facts.serving("nr" if technology == "5g_sa" else "nsa", "QNWINFO")
    elif technology == "4g":
        leg = "lte"
        facts.serving("lte", "QNWINFO")
    elif technology == "3g":
        facts.serving("3g", "QNWINFO")
    elif technology == "2g":
        facts.serving("2g", "QNWINFO")
    else:
        facts.flag("unknown_text", "modem.technology", f"+QNWINFO {access}")
    operator = record[1] or ""
    facts.plmn(operator[:3], operator[3:], "QNWINFO")
    if leg != "none":
        facts.band(record[2], "QNWINFO", leg)


def qcainfo(answer: Answer, facts: Facts) -> None:
    """``+QCAINFO: "PCC"|"SCC",freq,bw,band,...``: ``state,PCI,RSRP,RSRQ,RSSI,SINR`` of an LTE carrier.

    Only the primary carrier is read, and on EN-DC the NR carrier that has figures of its own.
    """
    record = answer.record()
    role, band = record.words(0), record.words(3)
    if role == "PCC" and "LTE" in band:
        record.whole(10)
        facts.serving("lte", "QCAINFO")
        _cell_state(record[4], facts)
        facts.band(band, "QCAINFO", "lte")
        facts.bandwidth(record[2], LTE_BLOCKS, "QCAINFO", "lte")
        facts.pci(record[5], "QCAINFO", "lte")
        facts.figure("modem.rsrp_dbm", record[6], "QCAINFO", "lte")
        facts.figure("modem.rsrq_db", record[7], "QCAINFO", "lte")
        facts.figure("modem.rssi_dbm", record[8], "QCAINFO", "lte")
        facts.figure("modem.sinr_db", record[9], "QCAINFO", "lte")
    elif "NR" in band and not any(fact.leg == "nr" and fact.source == "QCAINFO" for fact in facts.facts):
        _nr_carrier(record.whole(5, 8), role, facts)


def _nr_carrier(record: Record, role: str, facts: Facts) -> None:
    """``role,freq,bw,band`` of an NR carrier, then one of three tails, told apart by what stands in them:

    ``PCI`` alone or ``PCI,RSRP,RSRQ,SNR*100`` (a power is negative) of Qualcomm; ``state,PCI,...`` of Unisoc, whose
    band is called ``NR N78`` and whose figures are not documented, and of a configured but idle second carrier.
    """
    unisoc = bool(_UNISOC.search(facts.model)) or re.fullmatch(r"NR N\d+", record.words(3)) is not None
    powers = (record[5] or "").startswith("-")
    stated = unisoc or bool(record[5] and not powers)
    if stated and role != "PCC":
        return
    facts.serving("nr" if role == "PCC" else "nsa", "QCAINFO")
    if stated:
        _cell_state(record[4], facts)
    facts.band(record[3], "QCAINFO", "nr")
    facts.bandwidth(record[2], _NR_PLAIN if unisoc else NR_BANDWIDTH, "QCAINFO", "nr")
    facts.pci(record[5 if stated else 4], "QCAINFO", "nr")
    if powers and not stated:
        facts.figure("modem.rsrp_dbm", record[5], "QCAINFO", "nr")
        facts.figure("modem.rsrq_db", record[6], "QCAINFO", "nr")
        facts.figure("modem.sinr_db", record[7], "QCAINFO", "nr", lambda hundredths: hundredths / 100)


def _cell_state(text: str | None, facts: Facts) -> None:
    """The primary cell's state has the numbers of +CREG's <stat>."""
    state = {"0": "not_registered", "1": "home", "2": "searching", "3": "denied", "5": "roaming"}.get(text or "")
    if state is not None:
        facts.registration(state, "QCAINFO")


def qcsq(answer: Answer, facts: Facts) -> None:
    """``+QCSQ: "LTE",rssi,rsrp,sinr,rsrq``: SINR is n/5 - 20 dB; the sign of RSSI may be missing."""
    record = answer.record().whole(2, 5)
    access = record.words(0)
    if access == "NOSERVICE":
        facts.registration("not_registered", "QCSQ")
        return
    if "LTE" not in access and "CAT-M" not in access:
        return
    rssi = record[1]
    if rssi and rssi.isdigit() and rssi != "0":
        rssi = f"-{rssi}"
    facts.figure("modem.rssi_dbm", rssi, "QCSQ", "lte")
    facts.figure("modem.rsrp_dbm", record[2], "QCSQ", "lte")
    facts.figure("modem.sinr_db", record[3], "QCSQ", "lte", lambda code: code / 5 - 20, (255,), (0, 250))
    facts.figure("modem.rsrq_db", record[4], "QCSQ", "lte")


_CHAINS: Final = {"QRSRP": "modem.rsrp_dbm", "QRSRQ": "modem.rsrq_db", "QSINR": "modem.sinr_db"}


def chains(answer: Answer, facts: Facts) -> None:
    """``+QRSRP``, ``+QRSRQ``, ``+QSINR``: a figure per receive chain, then the access; the best valid one counts."""
    record, metric = answer.record(), _CHAINS[answer.source]
    access = record.words(len(record) - 1)
    leg: Leg = "nr" if access.startswith("NR") else "lte" if access == "LTE" else "auto"
    last = len(record) if leg == "auto" else len(record) - 1
    facts.best(metric, [record[index] for index in range(last)], answer.source, leg)


def qtemp(answer: Answer, facts: Facts) -> None:
    """``+QTEMP: "sensor","t"`` one a line, or ``pmic,xo,pa``; -273 and 255 are no sensor, 0 is an idle transmitter."""
    record = answer.record()
    name = (record[0] or "").lower()
    named = bool(re.search("[a-z]", name))
    for text in record.fields[1:] if named else record.fields:
        fillers = (-273, 255) if named and not re.search(r"sdr\d*-pa", name) else (-273, 255, 0)
        facts.figure("modem.temperature_c", text.strip('"'), "QTEMP", "none", fillers=fillers)


def qspn(answer: Answer, facts: Facts) -> None:
    """``+QSPN: FNN,SNN,SPN,alphabet,RPLMN``: names of network and provider."""
    record = answer.record().whole(5)
    name = record[0] or record[1]
    if name:
        facts.add("modem.operator", name, "QSPN")
    operator = record[4] or ""
    facts.plmn(operator[:3], operator[3:], "QSPN")


def qsimstat(answer: Answer, facts: Facts) -> None:
    """``+QSIMSTAT: enabled,inserted``: 0 is removed; 1 and 2 do not say whether the SIM works."""
    if answer.record()[1] == "0":
        facts.sim("absent", "QSIMSTAT")


PARSERS: Final = {
    "+QENG": qeng,
    "+QNWINFO": qnwinfo,
    "+QCAINFO": qcainfo,
    "+QCSQ": qcsq,
    "+QRSRP": chains,
    "+QRSRQ": chains,
    "+QSINR": chains,
    "+QTEMP": qtemp,
    "+QSPN": qspn,
    "+QSIMSTAT": qsimstat,
}
