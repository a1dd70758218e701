"""Sierra Wireless: ``!GSTATUS?``, two ``key: value`` columns a line (AT.md section 6)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.protocols.dialects.answers import Answer
from agent.protocols.dialects.facts import Facts, Leg

_MODES: Final = {
    "LTE": "4g",
    "ENDC": "5g_nsa",
    "EN-DC": "5g_nsa",
    "NR5G": "5g_sa",
    "WCDMA": "3g",
    "UMTS": "3g",
    "GSM": "2g",
}
_POWERS: Final = {"RSSI": "modem.rssi_dbm", "RSRP": "modem.rsrp_dbm"}
_IDENTIFIERS: Final = {"TAC": "modem.tac", "LAC": "modem.tac", "CELL ID": "modem.cell_id"}


def cells(rows: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield (first key of the row, key, value), keys in upper case without their unit.

    Columns and values are parted by a tab or two blanks; one blank belongs to a key or a value. A key may stand apart
    from its colon (``LTE SCC1 bw  : 20 MHz``) and may lack its value. A value without a key is left out.
    """
    for row in rows:
        first = key = before = ""
        for piece in re.split(r"\t+| {2,}", row.strip()):
            head, colon, value = (part.strip() for part in piece.partition(":"))
            if colon and (head[:1].isalpha() or not key):
                key = _key(head or before)
                first = first or key
                if key and value:
                    yield first, key, value
                    key = ""
            elif key:
                yield first, key, piece.strip()
                key = ""
            before = piece


def _key(text: str) -> str:
    return " ".join(re.sub(r"\([^)]*\)", " ", text[:40]).upper().split())


def gstatus(answer: Answer, facts: Facts) -> None:
    """``!GSTATUS:``: the best of the receivers' RSRP and RSSI counts; rows of secondary carriers (SCC) do not.

    The RSRP beside ``PCC RxM RSSI`` is called ``RSRP (dBm)`` on the EM74xx and ``PCC RxM RSRP`` on the EM91xx.
    """
    powers: dict[tuple[str, Leg], list[str]] = {}
    told = list(cells([answer.text, *answer.complete_rows()]))
    mode = next((_MODES.get(value.upper()) for _, key, value in told if key == "SYSTEM MODE"), None)
    for first, key, value in told:
        leg: Leg = "nr" if key.startswith("NR5G") else "none" if mode in ("2g", "3g") else "lte"
        word = key.split()[-1]
        if first.startswith(("SCC", "LTE SCC")) or re.search(r"\bSCC\d?\b", key):
            continue
        if word in _POWERS:
            if value.strip("-"):
                powers.setdefault((_POWERS[word], leg), []).append(value)
        elif word in ("RSRQ", "SINR"):
            facts.figure("modem.rsrq_db" if word == "RSRQ" else "modem.sinr_db", value, "GSTATUS", leg)
        elif key.removeprefix("NR5G ").removeprefix("LTE ") in _IDENTIFIERS:
            _identifier(_IDENTIFIERS[key.removeprefix("NR5G ").removeprefix("LTE ")], value, leg, facts)
        elif key in ("LTE BAND", "NR5G BAND"):
            facts.band(value, "GSTATUS", leg)
        elif key in ("LTE BW", "NR5G BW", "NR5G DL BW"):
            facts.figure("modem.bandwidth_mhz", value.upper().removesuffix("MHZ").strip(), "GSTATUS", leg)
        else:
            _state(key, value, facts)
    for (metric, of), values in powers.items():
        facts.best(metric, values, "GSTATUS", of)


def _identifier(metric: str, value: str, leg: Leg, facts: Facts) -> None:
    """``E2EA (58090)``: hexadecimal, decimal in parentheses."""
    hexadecimal, _, decimal = value.partition("(")
    hexadecimal, decimal = hexadecimal.strip(), decimal.rstrip(") ")
    if decimal and re.fullmatch(r"[0-9A-Fa-f]+", hexadecimal) and str(int(hexadecimal, 16)) != decimal.lstrip("0"):
        facts.flag("contradiction", metric, f"GSTATUS {value}")
        return
    facts.hexadecimal(metric, hexadecimal, "GSTATUS", leg)


def _state(key: str, value: str, facts: Facts) -> None:
    word = value.upper()
    if key == "TEMPERATURE":
        facts.figure("modem.temperature_c", value, "GSTATUS", "none", fillers=(0,))
    elif key == "SYSTEM MODE":
        if word in _MODES:
            facts.add("modem.technology", _MODES[word], "GSTATUS")
        elif word in ("NO SRV", "NO SERVICE"):
            facts.add("modem.technology", "none", "GSTATUS")
            facts.registration("not_registered", "GSTATUS")
        elif word.strip("-"):
            facts.flag("unknown_text", "modem.technology", f"GSTATUS {value}")
    elif key == "EMM STATE" and word in ("DEREGISTERED", "NULL"):
        facts.registration("not_registered", "GSTATUS")


PARSERS: Final = {"!GSTATUS": gstatus}
