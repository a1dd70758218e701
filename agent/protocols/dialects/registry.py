"""The dialects: which modem is asked what, and who reads which answer. Pure.

A name such as ``+QENG`` belongs to one maker, so an answer is read by its name whatever the dialect; the dialect says
what to ask. A new maker is one module with its ``PARSERS`` and one entry in ``DIALECTS``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Final

import msgspec

from agent.protocols.at import Command
from agent.protocols.dialects import core, fibocom, huawei, quectel, sierra, simcom, telit
from agent.protocols.dialects.answers import Answer, Exchange, answers
from agent.protocols.dialects.facts import Facts
from telemetry.readings import Reading

Parser = Callable[[Answer, Facts], None]

_BY_MAKER: Final[Mapping[str, Mapping[str, Parser]]] = {
    "3gpp": core.PARSERS,
    "quectel": quectel.PARSERS,
    "fibocom": fibocom.PARSERS,
    "simcom": simcom.PARSERS,
    "huawei": huawei.PARSERS,
    "sierra": sierra.PARSERS,
    "telit": telit.PARSERS,
}
PARSERS: Final[Mapping[str, Parser]] = {
    name: parser for parsers in _BY_MAKER.values() for name, parser in parsers.items()
}
"""Who reads an answer, by its name."""
_BY_PLACE: Final = frozenset(
    ("+CESQ", "+QENG", "+QCAINFO", "+QCSQ", "+XCESQ", "+XMCI", "+CPSI", "^HCSQ", "^MONSC", "^HFREQINFO", "#RFSTS")
)
"""Records of which every field is known by its place alone."""

IDENTIFY: Final = tuple(Command(text) for text in ("ATI", "AT+CGMI", "AT+CGMM", "AT+CGMR", "AT+CGSN"))
"""Asked at first contact."""
_STANDARD: Final = ("AT+CPIN?", "AT+CREG?", "AT+CGREG?", "AT+CEREG?", "AT+C5GREG?", "AT+COPS?")
_NAME: Final = ("AT+COPS=3,0", "AT+COPS?", "AT+COPS=3,2")
"""The operator's name, for modems without a command of their own for it; then back to the PLMN."""
_SETUP: Final = ("AT+CMEE=1", "AT+COPS=3,2")
_LOCATION: Final = ("AT+CREG=2", "AT+CGREG=2", "AT+CEREG=2", "AT+C5GREG=2")


class Dialect(msgspec.Struct, frozen=True):
    """What one family of modems is asked.

    ``maker`` and ``model`` are patterns over ``+CGMI`` and over ``+CGMM`` with ``+CGMR``. ``setup`` is sent once after
    the port was opened: it changes how this port reports, nothing that outlives it. ``commands`` are sent each poll.
    """

    name: str
    maker: str
    model: str
    commands: tuple[Command, ...]
    setup: tuple[Command, ...] = tuple(Command(text) for text in _SETUP)
    iccid: tuple[Command, ...] = (Command("AT+CCID"), Command("AT+ICCID"))


def _commands(*texts: str, name: tuple[str, ...] = _NAME) -> tuple[Command, ...]:
    return tuple(Command(text) for text in (*_STANDARD, *name, *texts))


_FIBOCOM: Final = r"fibocom|rolling wireless"
DIALECTS: Final = (
    Dialect(
        "quectel",
        r"quectel",
        r"\b(RM|RG|EC|EG|EM|EP|BG)\d{2,3}[A-Z]",
        _commands('AT+QENG="servingcell"', "AT+QNWINFO", "AT+QCAINFO", "AT+CSQ", "AT+QSPN", "AT+QTEMP", name=()),
        iccid=(Command("AT+QCCID"), Command("AT+CCID"), Command("AT+ICCID")),
    ),
    Dialect(
        "fibocom",
        _FIBOCOM,
        r"\bL8[0-9]0",
        _commands("AT+XCESQ?", "AT+XMCI=1", "AT+XLEC?", "AT+RSRP?", "AT+RSRQ?", "AT+CSQ"),
    ),
    Dialect(
        "fibocom", _FIBOCOM, r"\bFM\d{3}|\bL7\d\d", _commands("AT+CESQ", "AT+GTCCINFO?", "AT+GTSENRDTEMP=1", "AT+CSQ")
    ),
    Dialect(
        "simcom",
        r"simcom|sim ?tech",
        r"\bSIM\d{4}|\bA76\d\d",
        _commands("AT+CPSI?", "AT+CSQ"),
        iccid=(Command("AT+CICCID", answers=frozenset({"+ICCID"})), Command("AT+CCID")),
    ),
    Dialect(
        "huawei",
        r"huawei|td ?tech|hisilicon",
        r"\b(E3|E8|ME|MH|MT5|MU)\d\d",
        _commands("AT^HCSQ?", "AT^MONSC", "AT^HFREQINFO?", "AT^SYSINFOEX", "AT^CHIPTEMP?", "AT+CSQ"),
        iccid=(Command("AT^ICCID?"), Command("AT+CCID")),
    ),
    Dialect("sierra", r"sierra|semtech", r"\b(EM|MC|WP)[79]\d\d\d|DW58", _commands("AT!GSTATUS?", "AT+CSQ")),
    Dialect(
        "telit",
        r"telit|cinterion",
        r"\b(LM|LE|LN|FN|FE|ME)9\d\d",
        _commands("AT#RFSTS", "AT#MONI", "AT+CSQ", "AT+CESQ"),
        iccid=(Command("AT#CCID"), Command("AT+CCID")),
    ),
)
STANDARD: Final = Dialect(
    "3gpp",
    "",
    "",
    _commands("AT+CESQ", "AT+CSQ"),
    setup=tuple(Command(text) for text in (*_SETUP, *_LOCATION)),
)
"""For a modem of no known maker: registration then has to bring the cell, which ``=2`` asks for."""


def choose(vendor: str | None, model: str | None, firmware: str | None = None) -> Dialect:
    """Return the dialect of a modem: its maker's entry that knows the model, else the maker's last, else by model.

    Any part may be None; with nothing that is known it is ``STANDARD``.
    """
    name = f"{model or ''} {firmware or ''}"
    of_maker = [dialect for dialect in DIALECTS if vendor and re.search(dialect.maker, vendor, re.IGNORECASE)]
    for dialect in of_maker or DIALECTS:
        if re.search(dialect.model, name, re.IGNORECASE):
            return dialect
    return of_maker[-1] if of_maker else STANDARD


def spoken(exchanges: Iterable[Exchange]) -> str:
    """Return the name of the dialect whose answers turn up most, ``3gpp`` where no maker's do."""
    counts = dict.fromkeys(_BY_MAKER, 0)
    for exchange in exchanges:
        for answer in answers(exchange):
            for maker, parsers in _BY_MAKER.items():
                counts[maker] += answer.name in parsers and maker != "3gpp"
    return max(counts, key=lambda maker: counts[maker])


def decode(exchanges: Iterable[Exchange], model: str = "") -> tuple[list[Reading], list[str]]:
    """Return the readings and flags of one moment's exchanges with a modem of this ``model`` (and firmware)."""
    facts = Facts(model)
    for exchange in exchanges:
        for answer in answers(exchange):
            parser = PARSERS.get(answer.name)
            if parser is None:
                continue
            with facts.record(answer.name) if answer.name in _BY_PLACE else nullcontext():
                parser(answer, facts)
            if answer.doubted or (answer.cut and answer.rows):
                metric = facts.facts[-1].metric if facts.facts else "modem.registration"
                facts.flag("truncated", metric, f"{answer.name} ends within its reply")
        if exchange.result is not None:
            core.error(exchange.command, exchange.result, facts)
    return facts.settle(), facts.flags
