"""The core of 3GPP TS 27.007 that every modem speaks. Scales give the lower edge of each step (AT.md section 2)."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from agent.protocols.at import Result
from agent.protocols.dialects.answers import Answer, split
from agent.protocols.dialects.facts import Facts, Leg

ACCESS: Final = {
    **dict.fromkeys((0, 1, 3, 8), "2g"),
    **dict.fromkeys((2, 4, 5, 6), "3g"),
    **dict.fromkeys((7, 9, 10), "4g"),
    **dict.fromkeys((11, 12), "5g_sa"),
    13: "5g_nsa",
}
"""<AcT> of +COPS and the registration replies (TS 27.007 section 7.3)."""
STATES: Final = {
    0: "not_registered",
    1: "home",
    2: "searching",
    3: "denied",
    4: "unknown",
    5: "roaming",
    6: "home",
    7: "roaming",
    8: "emergency_only",
    9: "home",
    10: "roaming",
    11: "emergency_only",
}
"""<stat> (TS 27.007 section 7.2). 6 and 7 (SMS only), 9 and 10 (CSFB not preferred) are registered; 11 is attached for
restricted local operator services only, which like an emergency call carries none of our data."""
_SIM_CAUSES: Final = {
    **dict.fromkeys((5, 6, 7, 11, 12, 17, 18, 40, 41, 42, 43, 44, 45, 46, 47, 48), "locked"),
    10: "absent",
    **dict.fromkeys((13, 15), "failure"),
    14: "busy",
}
_PIN_WORDS: Final = {
    "READY": "ready",
    "NOT INSERTED": "absent",
    "SIM NOT INSERTED": "absent",
    "SIM REMOVED": "absent",
    "SIM FAILURE": "failure",
    "NOT READY": "busy",
    "SIM BUSY": "busy",
}
_SERVICE_CAUSES: Final = {30: "not_registered", 32: "emergency_only"}


def csq_dbm(index: float) -> float:
    """Return RSSI in dBm of ``+CSQ`` index 0 to 31."""
    return -113 + 2 * index


def lte_rsrp_dbm(index: float) -> float:
    """Return LTE RSRP in dBm of index 0 to 97 (TS 36.133 section 9.1.4)."""
    return -141 + index


def lte_rsrq_db(index: float) -> float:
    """Return LTE RSRQ in dB of index 0 to 34 (TS 36.133 section 9.1.7)."""
    return -20 + index / 2


def nr_rsrp_dbm(index: float) -> float:
    """Return SS-RSRP in dBm of index 0 to 126 (TS 38.133 table 10.1.6.1-1)."""
    return -157 + index


def nr_rsrq_db(index: float) -> float:
    """Return SS-RSRQ in dB of index 0 to 126 (TS 38.133 table 10.1.11.1-1)."""
    return -43.5 + index / 2


def nr_sinr_db(index: float) -> float:
    """Return SS-SINR in dB of index 0 to 127 (TS 38.133 table 10.1.16.1-1)."""
    return -23.5 + index / 2


def gsm_rssi_dbm(index: float) -> float:
    """Return GSM RXLEV in dBm of index 0 to 63 (TS 45.008 section 8.1.4)."""
    return -111 + index


def csq(answer: Answer, facts: Facts) -> None:
    """``+CSQ: rssi,ber``; on 5G SA most modems know nothing here."""
    text = answer.record().whole(2)[0]
    facts.figure("modem.rssi_dbm", text, answer.source, "auto", csq_dbm, (99, 199), (0, 31))


def cesq(answer: Answer, facts: Facts) -> None:
    """``+CESQ: rxlev,ber,rscp,ecno,rsrq,rsrp[,ss_rsrq,ss_rsrp,ss_sinr]``: RSRQ stands before RSRP.

    RSCP and Ec/No of 3G have no metric. rxlev is GSM's, and some LTE modems leave a number there.
    """
    record, source = answer.record().whole(6, 9), answer.source
    facts.figure("modem.rsrq_db", record[4], source, "lte", lte_rsrq_db, (255,), (0, 34))
    facts.figure("modem.rsrp_dbm", record[5], source, "lte", lte_rsrp_dbm, (255,), (0, 97))
    facts.figure("modem.rsrq_db", record[6], source, "nr", nr_rsrq_db, (255,), (0, 126))
    facts.figure("modem.rsrp_dbm", record[7], source, "nr", nr_rsrp_dbm, (255,), (0, 126))
    facts.figure("modem.sinr_db", record[8], source, "nr", nr_sinr_db, (255,), (0, 127))
    if all(record[index] in (None, "", "255") for index in range(2, 9)):
        facts.figure("modem.rssi_dbm", record[0], source, "none", gsm_rssi_dbm, (99,), (0, 63))


class Registration(msgspec.Struct, frozen=True):
    """A reply of the +CREG family: ``stat`` (None if not told), hexadecimal ``tac`` and ``cell``, ``access``."""

    stat: int | None
    tac: str | None = None
    cell: str | None = None
    access: int | None = None


def parse_registration(text: str, solicited: bool) -> Registration:
    """Read ``[n,]stat[,tac[,rac],ci[,AcT...]]`` of ``+CREG +CGREG +CEREG +C5GREG`` (TS 27.007 sections 7.2, 10.1.20+).

    Whether ``n`` is there is told by the shape, because unsolicited lines turn up inside replies and some firmware
    sends the long form unasked. A single number that was asked for is ``n`` without a state. Some modems put the
    routing area (one octet) before the cell. Raises ValueError for what has no state at all.
    """
    parts = split(text)
    plain = [part.strip('"').strip() for part in parts]
    if len(parts) == 1 and solicited:
        _decimal(plain[0])
        return Registration(None)
    rest = 2 if len(parts) > 1 and _has_mode(parts, solicited) else 1
    stat = _decimal(plain[rest - 1])
    place = plain[rest:]
    while place and not place[-1]:
        place.pop()
    if len(place) >= 4 and len(place[1]) <= 2 < len(place[2]) and _access(place[3]) is not None:
        del place[1]
    place += [""] * (3 - len(place))
    return Registration(stat, place[0] or None, place[1] or None, _access(place[2]))


def _has_mode(parts: list[str], solicited: bool) -> bool:
    """Whether the first two fields are ``n,stat`` and not ``stat,tac``."""
    first, second = parts[0], parts[1]
    if not re.fullmatch(r"0*[0-5]", first, re.ASCII) or not re.fullmatch(r"0*(\d|1[01])", second, re.ASCII):
        return False
    # A tracking area is written with four digits or more; "0001" unasked is one, asked for it is a padded state.
    return solicited or len(second) <= 2


def _decimal(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
        raise ValueError(f"expected a number, found {text!r}")
    return int(text)


def _access(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,3}", text, re.ASCII) and int(text) in ACCESS else None


def registration(answer: Answer, facts: Facts) -> None:
    """``+CREG``, ``+CGREG``, ``+CEREG``, ``+C5GREG``; the best of them counts, +CREG is 0 on 5G SA."""
    source = answer.source
    text = answer.text
    if answer.cut and text.count(",") >= 2:
        text = text.rpartition(",")[0]  # half a cell id is another cell
    try:
        found = parse_registration(text, answer.solicited)
    except ValueError:
        facts.flag("unparsed", "modem.registration", f"{answer.name}: {answer.text}")
        return
    if found.stat not in STATES:
        facts.flag("unknown_text", "modem.registration", f"{answer.name}: {answer.text}")
        return
    facts.registration(STATES[found.stat], source)
    technology = ACCESS.get(found.access) if found.access is not None else None
    leg: Leg = "none"
    if technology is None:
        by_domain: dict[str, Leg] = {"CEREG": "lte", "C5GREG": "nr"}
        leg = by_domain.get(source, "auto")
    else:
        by_technology: dict[str, Leg] = {"4g": "lte", "5g_nsa": "lte", "5g_sa": "nr"}
        leg = by_technology.get(technology, "none")
        if STATES[found.stat] in ("home", "roaming"):
            facts.add("modem.technology", technology, source)
    # "0 5": the blank inside is some firmware's; what stands before it is no area either.
    facts.hexadecimal("modem.tac", found.tac, source, leg)
    facts.hexadecimal("modem.cell_id", found.cell, source, leg)


def cops(answer: Answer, facts: Facts) -> None:
    """``+COPS: mode[,format,"oper"[,AcT]]``: format 0 and 1 are names, 2 is the PLMN; without one nothing is told."""
    record = answer.record().whole(3, 4)
    operator = record[2]
    if not operator or record[1] not in ("0", "1", "2"):
        return
    access = _access(record[3] or "")
    if access is not None:
        facts.add("modem.technology", ACCESS[access], answer.source)
    elif record[3]:
        facts.flag("unknown_text", "modem.technology", f"COPS {record[3]}")
    if record[1] != "2":
        facts.add("modem.operator", ucs2(operator), answer.source)
    elif re.fullmatch(r"\d{5,6}", operator, re.ASCII):
        facts.add("modem.plmn", operator, answer.source)
    else:
        facts.flag("unparsed", "modem.plmn", f"COPS {operator!r}")


def ucs2(text: str) -> str:
    """Return ``text``, decoded if it is UCS2 in hexadecimal (TS 27.007 +CSCS), as Chinese operator names are sent."""
    if len(text) >= 8 and re.fullmatch(r"(?:[0-9A-Fa-f]{4})+", text, re.ASCII):
        decoded = bytes.fromhex(text).decode("utf-16-be", errors="replace")
        if decoded.isprintable() and "\ufffd" not in decoded:
            return decoded
    return text


def cpin(answer: Answer, facts: Facts) -> None:
    """``+CPIN: <code>``: any word that asks for a PIN or PUK is a lock."""
    word = answer.text.strip('" ').upper()
    if word in _PIN_WORDS:
        facts.sim(_PIN_WORDS[word], "CPIN")
    elif word.endswith(("PIN", "PUK", "PIN2", "PUK2")):
        facts.sim("locked", "CPIN")
    else:
        facts.flag("unknown_text", "modem.sim", f"+CPIN: {answer.text}")


def error(command: str | None, result: Result, facts: Facts) -> None:
    """Take what an error says about the SIM or the service, whichever command met it. Causes match as whole numbers."""
    if result.cause in _SIM_CAUSES:
        asked = command is not None and "+CPIN" in command.upper()
        if result.cause in (17, 18) and not asked:
            return  # PIN2 guards the phone book, not the service
        facts.sim(_SIM_CAUSES[result.cause], "CPIN" if asked else result.text)
    elif result.cause in _SERVICE_CAUSES:
        facts.registration(_SERVICE_CAUSES[result.cause], result.text)


PARSERS: Final = {
    "+CSQ": csq,
    "+CESQ": cesq,
    "+CREG": registration,
    "+CGREG": registration,
    "+CEREG": registration,
    "+C5GREG": registration,
    "+COPS": cops,
    "+CPIN": cpin,
}
