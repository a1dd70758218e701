"""What the replies of one moment say: facts with their source, and how they become readings.

Parsers add facts; nothing is decided while they run. :meth:`Facts.settle` then takes one value a metric and leg by
``PREFERENCE``, flags what disagrees, and withholds signal figures where ``telemetry.radio`` says that they mean
nothing. Pure; every number that is not taken leaves a flag.

The fields of a reply are known by their place, and firmware moves them. So a record of which one figure is impossible
gives nothing (:meth:`Facts.record`): its other fields may be as wrong and still look right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

import msgspec

from telemetry.metrics import METRICS, Value
from telemetry.radio import BAD_SIM, LEG_OF, REGISTERED, SIGNAL, contradict, foreign, why_withheld
from telemetry.readings import Reading

Leg = Literal["lte", "nr", "auto", "none"]
"""``auto`` is the leg in use (``+CSQ`` does not say which), ``none`` is 2G and 3G."""

_ORDER: Final = (
    *(
        "CESQ",
        "XCESQ",
        "QENG",
        "CPSI",
        "GSTATUS",
        "RFSTS",
        "XMCI",
        "GTCCINFO",
        "MONSC",
        "HCSQ",
        "SYSINFOEX",
        "HFREQINFO",
    ),
    *("QNWINFO", "QCAINFO", "QCSQ", "COPS", "C5GREG", "CEREG", "CGREG", "CREG", "QRSRP", "QRSRQ", "QSINR", "RSRP"),
    *("RSRQ", "XLEC", "MONI", "QSPN", "CSQ"),
)
"""Which source is believed first. +CESQ is the standard's and has one scale everywhere; then the makers' serving-cell
reports, which are of one moment; then what is derived, or not told by cell."""
PREFERENCE: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    # QENG's LTE SINR has a scale by model, RSSNR has one.
    ("modem.sinr_db", "lte"): ("CESQ", "QCAINFO", "QSINR", "QCSQ", "QENG"),
    # ^HCSQ has the SINR that ^MONSC lacks on LTE, and is the finer one; on NR its scale of RSRQ is not confirmed.
    ("modem.rsrp_dbm", "lte"): ("CESQ", "XCESQ", "HCSQ", "MONSC"),
    ("modem.rsrq_db", "lte"): ("CESQ", "XCESQ", "HCSQ", "MONSC"),
    ("modem.rssi_dbm", "lte"): ("QENG", "HCSQ", "MONSC"),
    ("modem.plmn", ""): ("COPS", "QENG", "CPSI", "RFSTS", "MONSC", "QNWINFO"),
    ("modem.operator", ""): ("COPS", "RFSTS", "QSPN"),
    ("modem.technology", ""): ("QENG", "CPSI", "GSTATUS", "HCSQ", "SYSINFOEX", "COPS", "GTCCINFO", "MONSC"),
}
_DATA: Final = ("C5GREG", "CEREG", "CGREG")
_DOMAINS: Final = (*_DATA, "CREG")
_BEST: Final = ("home", "roaming", "emergency_only", "searching", "denied", "unknown", "not_registered")
_APART: Final = {"modem.rssi_dbm": 12.0, "modem.rsrp_dbm": 12.0, "modem.rsrq_db": 8.0, "modem.sinr_db": 12.0}
"""Two figures of one poll differ by moment and averaging; more than this is two scales or two cells."""

MAX_FLAGS: Final = 64
"""A hostile modem must not fill the memory; an honest one has a dozen."""
_NUMBER: Final = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,9})?", re.ASCII)
_HEX: Final = re.compile(r"(?:0x)?([0-9a-f]{1,16})", re.ASCII | re.IGNORECASE)
_DECIMAL: Final = re.compile(r"(\d{1,20})", re.ASCII)
_BLANK: Final = frozenset(("", "-", "--", "---"))
FILLERS: Final = frozenset((-32768, -32767, -3276, 32767, 65535, 2147483647, -2147483648))
_TAC_FILLERS: Final = frozenset(
    # All ones by width; 0 and xFFFE are reserved for "no area" (TS 23.003 sections 19.4.2.3 and 4.2).
    (0, 0xFFFE, 0xFFFF, 0xFFFFFE, 0xFFFFFF, 0xFFFFFFF, 0xFFFFFFFF, 0x7FFFFFFF)
)
_BAND: Final = re.compile(
    r"(?:(?:(?:FDD |TDD )?(?:LTE|NR5G|NR|WCDMA|EUTRAN|E-UTRA)[ _-]?)?(?:BAND)?[ _-]?[BN]?)(\d{1,3})",
    re.ASCII | re.IGNORECASE,
)
_LAST_BAND: Final = {"lte": 254, "nr": 512}
_IDENTITY: Final = re.compile(r"(?<!\d)\d{14,20}(?!\d)", re.ASCII)
"""IMSI, IMEI and ICCID: no figure and no name has so many digits, and no flag shows them."""
_CELL_FILLERS: Final = frozenset((0, 0xFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFF, 0x7FFFFFFF))


class Fact(msgspec.Struct, frozen=True):
    """One value as one source gave it."""

    metric: str
    value: Value
    leg: Leg
    source: str


class Facts(msgspec.Struct):
    """Collects what the parsers find in the replies of one moment of a modem of this ``model`` (empty: unknown)."""

    model: str = ""
    facts: list[Fact] = msgspec.field(default_factory=list)
    flags: list[str] = msgspec.field(default_factory=list)
    registrations: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """(source, state) in the order they were seen; the last word of a source counts."""
    sims: list[tuple[str, str]] = msgspec.field(default_factory=list)
    cells: dict[str, set[str]] = msgspec.field(default_factory=dict)
    """Per source the kinds of serving cells it told of: lte, nr, nsa (an NR cell beside an LTE one), 3g, 2g."""
    _impossible: bool = False

    @contextmanager
    def record(self, name: str) -> Iterator[None]:
        """Take everything that is added within, or nothing if one figure of it was impossible."""
        outer, self._impossible = self._impossible, False
        before = (len(self.facts), len(self.registrations), {key: set(kinds) for key, kinds in self.cells.items()})
        yield
        if self._impossible:
            lost = {fact.metric for fact in self.facts[before[0] :]}
            for metric in sorted(lost):
                self.flag("withheld", metric, f"{name} of which another figure is impossible")
            del self.facts[before[0] :]
            del self.registrations[before[1] :]
            self.cells = before[2]
        self._impossible = outer

    def impossible(self, metric: str, seen: str) -> None:
        """Flag what cannot be, and let the record that it stands in go."""
        self._impossible = True
        self.flag("unparsed", metric, seen)

    def flag(self, kind: str, metric: str, seen: str) -> None:
        """Note ``seen`` about ``metric``, once."""
        text = f"{kind} {metric} {_IDENTITY.sub('(identity)', seen)[:120]}".rstrip()
        if text in self.flags:
            return
        if len(self.flags) < MAX_FLAGS:
            self.flags.append(text)
        else:
            self.flags[-1] = "truncated modem.registration more flags than are kept"

    def add(self, metric: str, value: Value, source: str, leg: Leg = "none") -> None:
        """Add a value; what the catalogue says cannot be is ``impossible``."""
        try:
            checked = METRICS[metric].check(round(value, 2) if isinstance(value, float) else value)
        except ValueError:
            self.impossible(metric, f"{source} {value}")
            return
        if isinstance(checked, str) and _IDENTITY.search(checked):
            self.impossible(metric, f"{source} {checked}")
        else:
            self.facts.append(Fact(metric, checked, leg, source))

    def figure(
        self,
        metric: str,
        text: str | None,
        source: str,
        leg: Leg,
        scale: Callable[[float], float] = float,
        fillers: Iterable[float] = (),
        within: tuple[float, float] | None = None,
    ) -> None:
        """Add the number that ``text`` is after ``scale``, dB or dBm.

        ``fillers`` are this field's own words for "unknown", raw; ``within`` is the raw range that has a meaning.
        """
        if text is None or text.strip() in _BLANK:
            return
        if not _NUMBER.fullmatch(text.strip()):
            self.impossible(metric, f"{source} {text!r}")
            return
        raw = float(text)
        if raw in FILLERS or raw in fillers:
            self.flag("filler", metric, f"{source} {text}")
        elif within is not None and not within[0] <= raw <= within[1]:
            self.impossible(metric, f"{source} {text}")
        else:
            self.add(metric, scale(raw), source, leg)

    def best(self, metric: str, texts: Iterable[str | None], source: str, leg: Leg) -> None:
        """Add the largest of several receivers' figures, dB or dBm."""
        found = Facts()
        for text in texts:
            found.figure(metric, text, source, leg)
        for flag in found.flags:
            self.flag(*flag.split(" ", 2))
        if found.facts:
            self.facts.append(max(found.facts, key=lambda fact: float(fact.value)))

    def hexadecimal(self, metric: str, text: str | None, source: str, leg: Leg, base: int = 16) -> int | None:
        """Add a cell id or tracking area code; return it, or None if it is unknown."""
        text = (text or "").strip()
        if text in _BLANK:
            return None
        value = _whole(text, base)
        if value is None:
            self.flag("unparsed", metric, f"{source} {text!r}")
            return None
        if value in (_TAC_FILLERS if metric == "modem.tac" else _CELL_FILLERS):
            self.flag("filler", metric, f"{source} {text}")
            return None
        self.add(metric, value, source, leg)
        return value

    def pci(self, text: str | None, source: str, leg: Leg, base: int = 10) -> None:
        """Add a physical cell identity: 0 to 503 on LTE, to 1007 on NR."""
        text = (text or "").strip()
        if text in _BLANK:
            return
        value = _whole(text, base)
        if value is None:
            self.impossible("modem.pci", f"{source} {text!r}")
        elif value in FILLERS:
            self.flag("filler", "modem.pci", f"{source} {text}")
        elif value > (1007 if leg == "nr" else 503):
            self.impossible("modem.pci", f"{source} {text}")
        else:
            self.add("modem.pci", value, source, leg)

    def band(self, text: str | None, source: str, leg: Leg) -> None:
        """Add a band by its number or its name (``LTE BAND 3``, ``NR5G_BAND78``, ``NR N78``, ``B8``)."""
        text = (text or "").strip()
        if text in _BLANK:
            return
        number = _BAND.fullmatch(text)
        if number is None:
            self.impossible("modem.band", f"{source} {text!r}")
        elif number[1] in ("0", "255"):
            self.flag("filler", "modem.band", f"{source} {text}")
        elif int(number[1]) > _LAST_BAND["nr" if leg == "nr" else "lte"]:
            self.impossible("modem.band", f"{source} {text}")
        else:
            self.add("modem.band", f"{'n' if leg == 'nr' else 'B'}{int(number[1])}", source, leg)

    def bandwidth(self, code: str | None, table: dict[str, float], source: str, leg: Leg) -> None:
        """Add a bandwidth in MHz by its code in ``table``."""
        code = (code or "").strip()
        if code in _BLANK:
            return
        if code in table:
            self.add("modem.bandwidth_mhz", table[code], source, leg)
        else:
            self.flag("filler" if code == "255" else "unparsed", "modem.bandwidth_mhz", f"{source} {code}")

    def plmn(self, mcc: str | None, mnc: str | None, source: str) -> None:
        """Add a PLMN of its two parts; a country code of 0 or 000 is a filler."""
        mcc, mnc = (mcc or "").strip(), (mnc or "").strip()
        if mcc in _BLANK or mnc in _BLANK:
            return
        if not re.fullmatch(r"[1-9]\d\d|00[1-9]", mcc, re.ASCII) or not re.fullmatch(r"\d{1,3}", mnc, re.ASCII):
            if {mcc, mnc} <= {"0", "00", "000"}:
                self.flag("filler", "modem.plmn", f"{source} {mcc} {mnc}")
            else:
                self.impossible("modem.plmn", f"{source} {mcc} {mnc}")
        elif len(mnc) == 1 and mcc[0] in "37":
            # Printed as a number: 04 or 004? The Americas have both.
            self.flag("unparsed", "modem.plmn", f"{source} {mcc} {mnc}")
        else:
            self.add("modem.plmn", mcc + mnc.rjust(2, "0"), source)

    def registration(self, state: str, source: str) -> None:
        """Add what one source says about the registration."""
        self.registrations.append((source, state))

    def serving(self, kind: Literal["lte", "nr", "nsa", "3g", "2g"], source: str) -> None:
        """Note that ``source`` tells of a serving cell of this kind."""
        self.cells.setdefault(source, set()).add(kind)

    def sim(self, state: str, source: str) -> None:
        """Add what one source says about the SIM."""
        self.sims.append((source, state))

    def settle(self) -> list[Reading]:
        """Return the readings, each metric and leg once, in the catalogue's order."""
        registration, sim = self._registration(), self._sim()
        for source, kinds in self.cells.items():
            self.add("modem.technology", _technology(kinds), source)
        if registration in REGISTERED:
            # A report of "no service" that is older, or of another domain.
            self.facts = [fact for fact in self.facts if (fact.metric, fact.value) != ("modem.technology", "none")]
        technology = self._best([fact for fact in self.facts if fact.metric == "modem.technology"], "")
        access = None if technology is None else str(technology.value)
        self._without_legs(access)
        chosen = self._choose(access)
        self._check_powers(chosen)
        readings = []
        if registration is not None:
            readings.append(Reading("modem.registration", registration))
        if sim is not None:
            readings.append(Reading("modem.sim", sim))
        for (metric, leg), fact in chosen.items():
            why = why_withheld(metric, sim, registration, access)
            if why is not None:
                self.flag("withheld", metric, " ".join(filter(None, (leg, f"{fact.value}", why))))
            elif foreign(metric, access):
                self.flag("contradiction", metric, f"{fact.source} {fact.value}, technology {access}")
            else:
                readings.append(Reading(metric, fact.value, {"leg": leg} if leg else {}))
        if sim in BAD_SIM and registration in REGISTERED:
            self.flag("contradiction", "modem.sim", f"{sim} while registration is {registration}")
        places = {name: place for place, name in enumerate(METRICS)}
        return sorted(readings, key=lambda reading: (places[reading.metric], reading.labels.get("leg", "")))

    def _registration(self) -> str | None:
        """Return the best that the data domains say.

        +CREG is of voice and counts only where none of them speaks; a maker's report that there is service, of
        whichever domain, does not overrule them either. A network's refusal is what has to be known: that the modem
        searches on, in its maker's words, hides it.
        """
        last = dict(self.registrations)
        if not last:
            return None
        domains = {name: place for place, name in enumerate(_DOMAINS)}
        told = [state for source, state in last.items() if source in _DATA]
        denied = any(state == "denied" for source, state in last.items() if source in domains)

        def counts(source: str, state: str) -> bool:
            if source in _DATA:
                return True
            if told and (source == "CREG" or (state in REGISTERED and set(told) != {"unknown"})):
                return False
            return not denied or source in domains or state in REGISTERED

        ranked = sorted(
            ((source, state) for source, state in last.items() if counts(source, state)),
            key=lambda item: (
                0 if item[1] in REGISTERED else 1 + _BEST.index(item[1]),
                domains.get(item[0], len(domains)),
            ),
        )
        return ranked[0][1]

    def _sim(self) -> str | None:
        # +CPIN speaks of the SIM in use; what other commands complain of counts where it does not speak.
        said = [state for source, state in self.sims if source == "CPIN"] or [state for _, state in self.sims]
        if not said:
            return None
        for earlier in dict.fromkeys(said[:-1]):
            if earlier != said[-1]:
                self.flag("stale", "modem.sim", f"{earlier}, then {said[-1]}")
        for source, state in dict.fromkeys(self.sims):
            if source != "CPIN" and state in BAD_SIM and said[-1] == "ready":
                self.flag("contradiction", "modem.sim", f"{source} {state}, +CPIN ready")
        return said[-1]

    def _without_legs(self, technology: str | None) -> None:
        """Leave out what is told of a 4G or 5G leg on a modem that is on 2G or 3G: it is of an earlier cell."""
        if technology not in ("2g", "3g"):
            return
        kept = []
        for fact in self.facts:
            if fact.leg in ("lte", "nr"):
                self.flag(
                    "contradiction", fact.metric, f"{fact.source} {fact.leg} {fact.value}, technology {technology}"
                )
            else:
                kept.append(fact)
        self.facts = kept

    def _choose(self, technology: str | None) -> dict[tuple[str, str], Fact]:
        told = {fact.leg for fact in self.facts if fact.leg in ("lte", "nr")}
        if technology is None or technology == "none":
            auto = str(told.pop()) if len(told) == 1 else ""
        else:
            auto = LEG_OF.get(technology) or ""
        legs = {"auto": auto, "none": "", "lte": "lte", "nr": "nr"}
        groups: dict[tuple[str, str], list[Fact]] = {}
        for fact in self.facts:
            groups.setdefault((fact.metric, legs[fact.leg]), []).append(fact)
        if any(leg for _, leg in groups):
            # A figure without a leg beside one that has it is the same cell told less exactly.
            for metric, leg in list(groups):
                if not leg and any((metric, other) in groups for other in ("lte", "nr")):
                    del groups[metric, leg]
        self._one_cell(groups)
        chosen = {}
        for (metric, leg), facts in groups.items():
            best = self._best(facts, leg)
            if best is not None:
                chosen[metric, leg] = best
                self._compare(best, facts, leg)
        return chosen

    def _one_cell(self, groups: dict[tuple[str, str], list[Fact]]) -> None:
        """Leave out +QCAINFO where it speaks of another carrier than +QENG: figures of two cells do not mix."""
        for leg in ("lte", "nr"):
            bands = {fact.source: fact.value for fact in groups.get(("modem.band", leg), [])}
            if "QENG" not in bands or bands.get("QCAINFO", bands["QENG"]) == bands["QENG"]:
                continue
            self.flag("contradiction", "modem.band", f"{leg} QENG {bands['QENG']}, QCAINFO {bands['QCAINFO']}")
            for (metric, of), facts in list(groups.items()):
                kept = [fact for fact in facts if fact.source != "QCAINFO"]
                if of == leg and kept:
                    groups[metric, of] = kept
                elif of == leg:
                    del groups[metric, of]

    @staticmethod
    def _best(facts: list[Fact], leg: str) -> Fact | None:
        if not facts:
            return None
        if facts[0].metric == "modem.temperature_c":
            return max(facts, key=lambda fact: float(fact.value))  # the hottest sensor
        order = PREFERENCE.get((facts[0].metric, leg), ())
        places = {name: place for place, name in reversed(list(enumerate((*order, *_ORDER))))}
        return min(facts, key=lambda fact: places.get(fact.source, len(places) + len(_ORDER)))

    def _compare(self, best: Fact, facts: list[Fact], leg: str) -> None:
        if best.metric in ("modem.operator", "modem.temperature_c", "modem.technology", "modem.bandwidth_mhz"):
            return  # other words for the same, or finer and coarser
        for fact in facts:
            if isinstance(best.value, float) and isinstance(fact.value, float):
                apart = abs(best.value - fact.value) > _APART.get(best.metric, 0)
            else:
                apart = best.value != fact.value
            if apart:
                where = f"{leg} " if leg else ""
                seen = f"{where}{best.source} {best.value}, {fact.source} {fact.value}"
                self.flag("contradiction", best.metric, seen)

    def _check_powers(self, chosen: dict[tuple[str, str], Fact]) -> None:
        """Drop an RSSI below its RSRP; all figures of a record that holds both go."""
        for leg in ("lte", "nr"):
            rssi, rsrp = chosen.get(("modem.rssi_dbm", leg)), chosen.get(("modem.rsrp_dbm", leg))
            if rssi is None or rsrp is None or not contradict(float(rsrp.value), float(rssi.value)):
                continue
            seen = f"{leg} {rsrp.source} {rsrp.value} above rssi {rssi.source} {rssi.value}"
            self.flag("contradiction", "modem.rsrp_dbm", seen)
            del chosen["modem.rssi_dbm", leg]
            if rssi.source == rsrp.source:
                for metric in SIGNAL:
                    figure = chosen.get((metric, leg))
                    if figure is not None and figure.source == rssi.source:
                        del chosen[metric, leg]


def _whole(text: str, base: int) -> int | None:
    found = (_HEX if base == 16 else _DECIMAL).fullmatch(text)
    return None if found is None else int(found[1], base)


def _technology(kinds: set[str]) -> str:
    if "nsa" in kinds or {"lte", "nr"} <= kinds:
        return "5g_nsa"
    if "nr" in kinds:
        return "5g_sa"
    return "4g" if "lte" in kinds else min(kinds, key=("3g", "2g").index)
