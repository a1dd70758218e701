"""What the NMEA sentences of one moment say together: epochs and fixes. Pure; arrival times come as arguments.

Rules, each from how receivers in the field lie:

* GGA, RMC, GNS and GLL carry the time of the fix; another time than that of the epoch under way begins a new epoch,
  whatever the talker. Where the time is empty, a kind of sentence that the epoch already has begins a new one. All
  other sentences belong to the epoch under way.
* There is a fix if each kind that is present says so: GGA quality 1 to 5, RMC status A, GNS a mode that is not all N,
  GLL status A. Without a fix there is no position and no speed, whatever the fields hold.
* Where several talkers send the same kind, the best one speaks for the epoch: GN (all systems together) first, then the
  one with a fix, then the one with more satellites. Talkers are never added up.
"""

from __future__ import annotations

import datetime
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from agent.protocols.nmea import READ, TIMED, Framer, Sentence, parse

Fix = Literal["none", "2d", "3d", "dgps", "rtk_float", "rtk"]
Antenna = Literal["ok", "open", "short", "unknown"]

KMH_PER_KNOT: Final = 1.852
NO_HDOP: Final = 99.0
"""From here on an HDOP is a receiver's filler for "none" (99.0, 99.99)."""
EARLIEST_DATE: Final = datetime.date(2000, 1, 1)
"""Before this no date is believable: receivers without a fix print 1980 (GPS week 0) or 1999 (its first rollover)."""
LATEST_DATE: Final = datetime.date(2079, 12, 31)
"""A two-digit year of 80 to 99 means the last century, and so does what a four-digit one says beyond this."""

_SAYS_FIX: Final[dict[str, Callable[[Sentence], bool]]] = {
    "GGA": lambda sentence: sentence.number("quality") in (1, 2, 3, 4, 5),
    "RMC": lambda sentence: sentence.word("status") == "A",
    "GNS": lambda sentence: sentence.word("posMode").strip("N") != "",
    "GLL": lambda sentence: sentence.word("status") == "A",
}
_BY_QUALITY: Final[dict[float | None, Fix]] = {2: "dgps", 4: "rtk", 5: "rtk_float"}
_BY_MODE: Final[tuple[tuple[str, Fix], ...]] = (("R", "rtk"), ("F", "rtk_float"), ("D", "dgps"))
_TIME: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d)([0-5]\d|60)(?:\.(\d{1,9}))?\Z", re.ASCII)
_ANTENNA: Final = re.compile(r"\bANT(?:ENNA|STATUS)?\s*[= ]\s*(OK|OPEN|SHORT|INIT|DONTKNOW)\b", re.ASCII)
_ANTENNA_WORDS: Final[dict[str, Antenna]] = {"OK": "ok", "OPEN": "open", "SHORT": "short"}
_DAY: Final = 86_400.0


class Epoch(msgspec.Struct, frozen=True):
    """What a receiver said about one moment. What it did not say, or cannot be believed, is None.

    ``arrived`` is the monotonic time (s) of the first sentence and ``touched`` that of the last one. ``time`` is UTC
    as ``HH:MM:SS`` with the fraction that was printed, ``date`` the UTC date. Degrees are WGS 84, north and east
    positive; altitude is metres above mean sea level.
    """

    arrived: float
    touched: float
    fix: Fix
    time: str | None = None
    date: datetime.date | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float | None = None
    satellites: int | None = None
    hdop: float | None = None
    speed_kmh: float | None = None
    flags: tuple[str, ...] = ()

    @property
    def fixed(self) -> bool:
        """Whether the receiver has a fix."""
        return self.fix != "none"

    @property
    def utc_ms(self) -> int | None:
        """UTC of the fix in milliseconds since 1970, None without a believable date and time."""
        if self.date is None or self.time is None:
            return None
        hours, minutes, seconds = self.time.split(":")
        midnight = datetime.datetime.combine(self.date, datetime.time(), datetime.UTC)
        return round((midnight.timestamp() + int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000)


class _Building:
    """The epoch under way: the sentences so far."""

    def __init__(self, key: float | None, now: float) -> None:
        self.key = key
        self.arrived = now
        self.touched = now
        self.sentences: list[Sentence] = []

    def has(self, kind: str) -> bool:
        return any(sentence.kind == kind for sentence in self.sentences)

    def of(self, kind: str) -> list[Sentence]:
        return [sentence for sentence in self.sentences if sentence.kind == kind]

    def best(self, kind: str) -> Sentence | None:
        readable = [sentence for sentence in self.of(kind) if sentence.read is not None]
        return max(readable, key=_rank, default=None)


def _rank(sentence: Sentence) -> tuple[bool, bool, float]:
    says_fix = _SAYS_FIX.get(sentence.kind)
    return (
        sentence.talker == "GN",
        bool(says_fix and says_fix(sentence)),
        sentence.number("numSV") or 0.0,
    )


MAX_EPOCH: Final = 100
"""Sentences kept of one epoch; a receiver prints under 20 that count. More is one moment again and again."""


class Fixes:
    """Turns a receiver's bytes into epochs.

    ``feed`` returns the epochs that were completed, that is: after which another one began. ``seen`` is the arrival
    of the newest good sentence and None as long as there was none ("no NMEA seen" is not "no fix"). ``flags`` counts
    what could not be used; ``antenna`` is the receiver's last word about its antenna.
    """

    def __init__(self) -> None:
        self.framer = Framer()
        self.seen: float | None = None
        self.antenna: Antenna | None = None
        self.flags: Counter[str] = Counter()
        self._building: _Building | None = None

    def feed(self, data: bytes, now: float) -> list[Epoch]:
        """Take bytes that arrived at monotonic time ``now`` and return the epochs they completed."""
        return self._take(self.framer.feed(data), now)

    def finish(self, now: float) -> list[Epoch]:
        """Return the last epochs when no more bytes will come."""
        epochs = self._take(self.framer.finish(), now)
        under_way = self.under_way()
        self._building = None
        return epochs if under_way is None else [*epochs, self._note(under_way)]

    def under_way(self) -> Epoch | None:
        """Return the epoch under way as it looks so far."""
        return None if self._building is None else _judge(self._building)

    def _take(self, contents: Iterable[bytes], now: float) -> list[Epoch]:
        completed = []
        for content in contents:
            self.seen = now
            sentence = parse(content)
            if sentence.talker == "P":
                continue
            if sentence.read is None and sentence.kind in READ:
                self.flags[f"unparsed gnss.fix: {sentence.kind}"] += 1
            if sentence.kind == "TXT":
                self._hear_antenna(sentence)
            if (before := self._begin(sentence, now)) is not None:
                completed.append(self._note(_judge(before)))
            if self._building is not None:
                self._building.touched = now
                if sentence.kind in READ and len(self._building.sentences) < MAX_EPOCH:
                    self._building.sentences.append(sentence)
        return completed

    def _begin(self, sentence: Sentence, now: float) -> _Building | None:
        """Begin a new epoch if ``sentence`` says so, and return the one that it ends."""
        if sentence.kind not in TIMED:
            return None
        key, building = _number(sentence.time), self._building
        if building is not None and (key == building.key if key is not None else not building.has(sentence.kind)):
            return None
        self._building = _Building(key, now)
        return building

    def _hear_antenna(self, sentence: Sentence) -> None:
        if heard := _ANTENNA.search(",".join(sentence.fields).upper()):
            self.antenna = _ANTENNA_WORDS.get(heard[1], "unknown")

    def _note(self, epoch: Epoch) -> Epoch:
        self.flags.update(epoch.flags)
        return epoch


def _number(text: str) -> float | None:
    """Return a time field as a number: ``081412`` and ``081412.000`` are one time."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _judge(building: _Building) -> Epoch:
    """Return what the sentences of an epoch say together."""
    flags: list[str] = []
    best = {kind: sentence for kind in TIMED if (sentence := building.best(kind)) is not None}
    said = {kind: _SAYS_FIX[kind](sentence) for kind, sentence in best.items()}
    fixed = bool(said) and all(said.values())
    if any(said.values()) and not fixed:
        words = ", ".join(f"{kind} {'fix' if yes else 'no fix'}" for kind, yes in said.items())
        flags.append(f"contradiction gnss.fix: {words}")
    counting = best.get("GGA") or best.get("GNS")
    satellites = None if counting is None else _satellites(counting)
    if fixed and satellites == 0:
        flags.append("contradiction gnss.satellites: 0 in a fix")
    time = _time_words(next((text for kind in best if (text := best[kind].time)), ""))
    date, impossible = _date(building, time)
    flags += [f"withheld gnss.date: {found} is impossible" for found in impossible]
    latitude = longitude = None
    if fixed:
        latitude, longitude = _position(best, flags)
    return Epoch(
        arrived=building.arrived,
        touched=building.touched,
        fix=_kind_of_fix(building, best, satellites) if fixed else "none",
        time=time,
        date=date,
        latitude=latitude,
        longitude=longitude,
        altitude_m=counting.number("alt") if fixed and counting is not None else None,
        satellites=satellites,
        hdop=_hdop(building, counting) if fixed else None,
        speed_kmh=_speed(building, best.get("RMC")) if fixed else None,
        flags=tuple(flags),
    )


def _kind_of_fix(building: _Building, best: dict[str, Sentence], satellites: int | None) -> Fix:
    """Return the kind of a fix: from GGA's quality, else from the mode letters, and 2d or 3d as GSA says.

    Where no GSA tells, four satellites make a 3D fix; where nothing is known of them, 2d is what is certain.
    """
    if (gga := best.get("GGA")) is not None:
        if (word := _BY_QUALITY.get(gga.number("quality"))) is not None:
            return word
    else:
        modes = "".join(best[kind].word("posMode") for kind in ("GNS", "RMC", "GLL") if kind in best)
        for letter, word in _BY_MODE:
            if letter in modes:
                return word
    dimensions = max((gsa.number("navMode") or 0 for gsa in building.of("GSA")), default=0)
    if dimensions in (2, 3):
        return "3d" if dimensions == 3 else "2d"
    return "3d" if (satellites or 0) >= 4 else "2d"


def _satellites(sentence: Sentence) -> int | None:
    number = sentence.number("numSV")
    return None if number is None or not 0 <= number <= 200 else int(number)


def _hdop(building: _Building, counting: Sentence | None) -> float | None:
    """Return the HDOP of the sentence that counts the satellites, else the best talker's GSA."""
    for sentence in (counting, building.best("GSA")):
        number = None if sentence is None else sentence.number("HDOP")
        if number is not None and 0 < number < NO_HDOP:
            return number
    return None


def _speed(building: _Building, rmc: Sentence | None) -> float | None:
    vtg = building.best("VTG")
    for sentence, name, factor in ((rmc, "spd", KMH_PER_KNOT), (vtg, "sogk", 1.0), (vtg, "sogn", KMH_PER_KNOT)):
        number = None if sentence is None else sentence.number(name)
        if number is not None and 0 <= number * factor <= 2000:
            return round(number * factor, 3)
    return None


def _position(best: dict[str, Sentence], flags: list[str]) -> tuple[float | None, float | None]:
    """Return latitude and longitude of the first sentence that has believable ones, GGA first."""
    for kind in ("GGA", "RMC", "GNS", "GLL"):
        if kind not in best:
            continue
        sentence = best[kind]
        latitude, longitude = sentence.number("lat"), sentence.number("lon")
        if latitude is None or longitude is None:
            continue
        if _possible(sentence, latitude, longitude):
            return latitude, longitude
        flags.append(f"withheld gnss.latitude: {kind} gives an impossible position")
    return None, None


def _possible(sentence: Sentence, latitude: float, longitude: float) -> bool:
    """Return whether the position can be one: in range, with hemispheres, minutes under 60, and not 0 0."""
    first = sentence.fields.index(sentence.word("NS")) - 1 if sentence.word("NS") in ("N", "S") else -1
    if first < 0 or sentence.word("EW") not in ("E", "W") or (latitude == 0 and longitude == 0):
        return False
    minutes = [(_number(sentence.fields[place]) or 0.0) % 100 for place in (first, first + 2)]
    return abs(latitude) <= 90 and abs(longitude) <= 180 and max(minutes) < 60


def _time_words(text: str) -> str | None:
    """Return ``HH:MM:SS[.f]`` of a raw time field without trailing zeros, None if it is no time of a day."""
    found = _TIME.match(text)
    if found is None:
        return None
    fraction = (found[4] or "").rstrip("0")
    return f"{found[1]}:{found[2]}:{found[3]}" + (f".{fraction}" if fraction else "")


def _date(building: _Building, time: str | None) -> tuple[datetime.date | None, list[datetime.date]]:
    """Return the believable date of the epoch, of RMC first and then of ZDA, and the dates that are impossible."""
    impossible = []
    for kind in ("RMC", "ZDA"):
        for sentence in sorted((s for s in building.of(kind) if s.read is not None), key=_rank, reverse=True):
            date = sentence.date()
            if date is None:
                continue
            if not EARLIEST_DATE <= date <= LATEST_DATE:
                impossible.append(date)
                continue
            return (date if kind == "RMC" else _date_at(date, sentence, time)), impossible
    return None, impossible


def _date_at(date: datetime.date, zda: Sentence, time: str | None) -> datetime.date:
    """Return the date of the epoch's ``time``: a ZDA printed first in its second stands in the epoch that ends."""
    printed = _time_words(zda.fields[0]) if zda.fields else None
    if time is None or printed is None:
        return date
    later = _seconds(time) - _seconds(printed)
    return date - datetime.timedelta(days=round(later / _DAY))


def _seconds(time: str) -> float:
    hours, minutes, seconds = time.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
